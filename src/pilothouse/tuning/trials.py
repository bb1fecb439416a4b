"""Runs the trials of a tuning job: asks the search, trains side by side, and tells the search what came of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from pilothouse import clock
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.errors import StoreAway
from pilothouse.training.job import Training
from pilothouse.tuning import completion
from pilothouse.tuning.completion import Ending
from pilothouse.tuning.ledger import Ledger
from pilothouse.tuning.listener import Listener
from pilothouse.tuning.search import Search
from pilothouse.tuning.stopping import Advice
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_LOOK = 0.25


class Trials:
    """The trials of one job, which began at `started`, epoch seconds. `changed` is called about four times a second,
    from the thread of `run`, while something happens.

    A worker thread for each trial that may run at once: MaxParallelTrainingJobs, but no more than there are slots,
    since a point that waits for a slot would have been chosen without knowing the results of those it waits for.
    """

    def __init__(
        self, job: Job, spec: TuningJob, ledger: Ledger, search: Search, started: float, changed: Callable[[], None]
    ) -> None:
        self._job, self._spec, self._ledger, self._search = job, spec, ledger, search
        self._started, self._changed = started, changed
        self._lock = threading.RLock()
        self._resumed = ledger.running
        self._halted = self._leaving = self._is_dirty = False
        self.workers = max(1, min(spec.limits.parallel, job.settings.slots, spec.limits.jobs or spec.limits.parallel))
        self.ending: Ending | None = None

    def run(self) -> None:
        """Runs trials until the job ends, is stopped, or has nothing left to try; all have ended then.

        If the store can't be reached, none begins any more, and those that run still finish, for nobody has asked for
        their end; limits and criteria hold for them meanwhile. `StoreAway` is raised then.
        """
        away: StoreAway | None = None
        with ThreadPoolExecutor(self.workers, thread_name_prefix="trial") as pool:
            working = {pool.submit(self._work) for _ in range(self.workers)}
            try:
                while working:
                    done, working = wait(working, _LOOK, FIRST_EXCEPTION)
                    for step in (*(each.result for each in done), self._look):
                        try:
                            step()
                        except StoreAway as error:
                            away = error
                            self._leaving = self._is_dirty = True
            finally:
                self._halted = True
        if away is not None:
            raise away

    def _look(self) -> None:
        with self._lock:
            self._check()
            dirty, self._is_dirty = self._is_dirty, False
        if dirty:
            self._changed()

    def _work(self) -> None:
        while (trial := self._next()) is not None:
            self._train(trial)

    def _next(self) -> Trial | None:
        """The next trial, recorded; those that an earlier process left come first, if only to be ended."""
        with self._lock:
            if self._leaving:
                return None
            if self._resumed:
                return self._resumed.pop(0)
            if self._is_over() or self._check() is not None:
                return None
            trial = self._search.ask()
            if trial is not None:
                self._ledger.open(trial)
                self._is_dirty = True
            return trial

    def _check(self) -> Ending | None:
        """Whether a limit or criterion is met by now; those that run are stopped if it says so."""
        if self.ending is None or not self.ending.stops_running:
            met = completion.ending(self._spec, self._ledger.trials, clock.now() - self._started)
            if met is not None:
                self.ending = met
                self._halted = self._halted or met.stops_running
        return self.ending

    def _train(self, trial: Trial) -> None:
        name = self._ledger.name(trial.number)
        directory = self._job.directory / "trials" / name
        objective = self._spec.definitions[trial.definition].objective
        listener = Listener(
            directory,
            objective.metric if objective else "",
            lambda step, value: self._reported(trial.number, step, value),
            self._job.failpoint,
        )
        training = Training(
            self._job,
            name,
            directory,
            once=listener.once,
            stopped=lambda: listener.stopped or self._is_over(),
            on_begin=listener.began,
            on_point=listener.heard,
            closing=lambda: self._ledger.closing(listener.reports),
            inputs=self._job.directory / "inputs",
            threads=max(1, len(os.sched_getaffinity(0)) // self.workers),
        )
        self._job.failpoint("trial", "before")
        training.run()
        self._job.failpoint("trial", "after")
        with self._lock:
            ended = self._ledger.close(trial.number, training.record.row)
            self._search.tell(trial.number, None if ended.status == "Failed" else ended.value)
            self._is_dirty = True
            self._check()
        shutil.rmtree(directory, ignore_errors=True)

    def _reported(self, number: int, step: int, value: float) -> Advice:
        with self._lock:
            return self._search.report(number, step, value)

    def _is_over(self) -> bool:
        return self._halted or self._job.stop_requested
