"""The trials of a tuned job: asks the search, trains side by side, and tells the search what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.automl import steps
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.trials import OUT_OF_TIME, OVER_LIMIT
from pilothouse.automl.tuned import told
from pilothouse.automl.tuned.engineering import Engineering, Ready
from pilothouse.automl.tuned.ledger import Ledger
from pilothouse.automl.tuned.listener import Listener
from pilothouse.automl.tuned.room import Room
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.catalog.tuning_jobs import Definition, TuningJob
from pilothouse.launch.slots import memory_room, memory_share
from pilothouse.problems.tabular import memory, plan, ranges, tuned
from pilothouse.problems.tabular.costs import CandidatePlan, Facts
from pilothouse.training import task
from pilothouse.training.task import Outcome
from pilothouse.tuning.search import Before, Search, seed_of
from pilothouse.tuning.stopping import Advice
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_NO_MEMORY = (
    "Training this candidate is expected to need {need:.1f} GiB of memory, and this host has {room:.1f} GiB for it. "
    "Use fewer rows or columns, or a host with more memory."
)
_SHARE = 0.35
"""Of the time that is left, what one trial may take: it ends itself with the model that it has by then."""

_WORTH = 0.5
"""A trial is not begun in less than this share of the time that the quickest so far has taken."""

_MARGIN = 0.5


class Trials:
    """The search of one job, with as many trials at once as there are slots."""

    def __init__(
        self,
        job: Job,
        spec: TabularJob,
        board: Board,
        budget: Budget,
        facts: dict[str, Any],
        dataset: Path,
        engineering: Engineering,
        ready: Sequence[Ready],
        tuning: TuningJob,
        ledger: Ledger,
        suggested: dict[int, Before],
    ) -> None:
        self._job, self._spec, self._board, self._budget = job, spec, board, budget
        self._facts, self._dataset = facts, dataset
        self._engineering, self._ready, self._tuning, self._ledger = engineering, ready, tuning, ledger
        self._lock = threading.RLock()
        self._room = Room(memory_room(job.settings))
        seed = seed_of(tuning, f"{job.resource.arn} {job.resource.seq} {job.resource.created_at!r}")
        self._search = Search.restored(tuning, seed, ledger.trials, suggested)
        self._resumed = [trial for trial in ledger.trials if trial.status == "InProgress"]
        self._quickest: float | None = None
        self._exhausted = False

    @property
    def has_all(self) -> bool:
        """Whether there are as many candidates as asked for."""
        return len(self._ledger) >= (self._tuning.limits.jobs or 1)

    def run(self) -> bool:
        """Trains candidates until there are as many as asked for. False if the job's time was over before."""
        workers = self._tuning.limits.parallel
        with ThreadPoolExecutor(workers, thread_name_prefix="trial") as pool:
            working = [pool.submit(self._work) for _ in range(workers)]
        for each in working:
            each.result()
        return self._exhausted or self.has_all

    def _work(self) -> None:
        try:
            while (trial := self._next()) is not None:
                self._train(trial)
        except BaseException:
            self._exhausted = True  # nobody else need begin another
            raise

    def _next(self) -> Trial | None:
        """The next trial, recorded; those that an earlier process left come first."""
        with self._lock:
            if self._job.stop_requested:
                raise task.StopRequested
            if self._resumed:
                return self._resumed.pop(0)
            if self._exhausted or self.has_all or not self._has_time():
                return None
            trial = self._search.ask()
            if trial is None:
                self._exhausted = True
            else:
                self._ledger.open(trial)
            return trial

    def _has_time(self) -> bool:
        seconds = self._seconds_left()
        return seconds is None or seconds > _WORTH * (self._quickest or 0.0)

    def _seconds_left(self) -> float | None:
        seconds = self._budget.training_seconds()
        return None if seconds is None else seconds - _MARGIN

    def _train(self, trial: Trial) -> None:
        """Trains a candidate to its terminal row, and tells the search."""
        name, sizes = self._ledger.name(trial), self._sizes(trial)
        directory = self._job.directory / "trials" / name
        directory.mkdir(parents=True, exist_ok=True)
        listener = Listener(directory / tuned.REPORTS, lambda step, loss: self._report(trial, step, loss))
        planned = self._planned(trial, sizes.rows)
        fitted = memory.fitted(planned, sizes, self._room.size)
        if fitted is not None and "max_rows" in fitted.params:  # penalties go by the rows that are learnt from
            penalised = self._planned(trial, fitted.params["max_rows"])
            fitted = replace(fitted, params={**fitted.params, **penalised.params})
        if fitted is None:
            need, room = memory.peak(planned, sizes) / 2**30, self._room.size / 2**30
            self._settle(trial, listener, Outcome(reason=_NO_MEMORY.format(need=need, room=room)), "Stopped")
            return
        need = memory.peak(fitted, sizes)
        with self._room.hold(need, lambda: self._job.stop_requested or self._budget.training_is_over()):
            begun = time.monotonic()
            outcome = self._attempt(trial, fitted, directory, listener, need)
            if outcome.result is not None:
                self._quickest = min(self._quickest or float("inf"), time.monotonic() - begun)
        stopped = outcome.late or listener.stopped or steps.stopped(self._job, steps.TRAINING, name)
        self._settle(trial, listener, outcome, "Stopped" if stopped else "Failed")

    def _attempt(self, trial: Trial, fitted: CandidatePlan, directory: Path, listener: Listener, need: int) -> Outcome:
        name, spec = self._ledger.name(trial), self._ready[trial.definition].spec
        limit, left, ends_at = self._spec.max_runtime_per_trial, self._seconds_left(), self._budget.training_ends_at()
        limits = [seconds for seconds in (limit, None if left is None else left * _SHARE) if seconds is not None]
        arguments = {
            "trial": fitted.trial(name, self._board.metric, self._threads(trial)),
            "dataset": str(self._dataset),
            "matrix": str(self._engineering.matrix(spec)),
            "stage": str(self._engineering.stage(spec)),
            "model_uri": self._model_uri(name),
            "step": self._step(trial),
            "seconds": min(limits, default=None),
            "ends_at": None if ends_at is None else ends_at - _MARGIN,
        }
        outcome = task.attempt(
            self._job,
            "pilothouse.automl.tuned.tasks:train",
            directory,
            arguments,
            seconds=limit,
            deadline=self._budget.training_deadline(),
            memory=max(memory_share(self._job.settings), 2 * need),
            cut=lambda: listener.cut() or steps.stopped(self._job, steps.TRAINING, name),
        )
        if outcome.late and self._budget.training_is_over():
            return replace(outcome, reason=OUT_OF_TIME)
        over_limit = outcome.late and limit is not None and min(limits) >= limit
        return replace(outcome, reason=OVER_LIMIT.format(limit)) if over_limit else outcome

    def _model_uri(self, name: str) -> str:
        row = self._job.store.get(steps.TRAINING, name)
        assert row is not None
        return TrainingJob.of(row.request).model_uri

    def _planned(self, trial: Trial, rows: int) -> CandidatePlan:
        definition, algorithm = self._definition(trial), self._ready[trial.definition].spec.algorithm
        values = {**self._tunable(trial).static, **trial.values}
        params = ranges.params(algorithm, values, rows)
        return CandidatePlan(definition.name or "", algorithm, params, tuned.folds(self._facts), seed=trial.number)

    def _sizes(self, trial: Trial) -> Facts:
        """What the trial's memory goes by: the rows of the data, and the columns of its matrix."""
        facts, columns = self._facts, self._ready[trial.definition].columns
        return Facts(
            facts["train_rows"],
            columns,
            facts["problem_type"],
            len(facts["classes"] or []),
            numeric=columns,
            all_rows=facts["rows"],
        )

    def _threads(self, trial: Trial) -> int:
        waiting = (self._tuning.limits.jobs or 1) - len(self._ledger) + self._tuning.limits.parallel - 1
        return plan.trial_threads(self._sizes(trial), others=waiting, slots=self._job.settings.slots)

    def _told(self, trial: Trial, listener: Listener, outcome: Outcome) -> Iterator[str]:
        values = {**self._definition(trial).static, **trial.values}
        directory = self._job.directory / "trials" / self._ledger.name(trial)
        return told.of_trial(values, self._step(trial), listener.losses, outcome, directory)

    def _step(self, trial: Trial) -> int | None:
        """After how many rounds each it reports, if trials can be stopped for that."""
        return self._tunable(trial).step if self._tuning.resources is not None else None

    def _tunable(self, trial: Trial) -> ranges.Tunable:
        return ranges.tunable(self._ready[trial.definition].spec.algorithm, self._board.problem_type)

    def _definition(self, trial: Trial) -> Definition:
        return self._tuning.definitions[trial.definition]

    def _report(self, trial: Trial, step: int, loss: float) -> Advice:
        with self._lock:
            return self._search.report(trial.number, step, self._as_value(trial, loss))

    def _as_value(self, trial: Trial, loss: float) -> float:
        """A loss in the direction of the objective, by which the search compares what trials report."""
        objective = self._definition(trial).objective
        return -loss if objective is not None and objective.direction == "Maximize" else loss

    def _settle(self, trial: Trial, listener: Listener, outcome: Outcome, status: str) -> None:
        """Ends the candidate's row with what the search needs to know of it, and tells the search."""
        name = self._ledger.name(trial)
        value = None if outcome.result is None else outcome.result["ranking"]
        listener.cut()
        steps.tell(self._job, name, self._told(trial, listener, outcome))
        with self._lock:
            kept = self._ledger.closing(value, [self._as_value(trial, loss) for loss in listener.losses])
            if outcome.result is not None:
                # The best of a search is the one with the best objective, as AWS has it, with no regard to luck.
                self._board.complete(name, {**outcome.result, "standing": value, "noise": 0.0}, also=kept)
            else:
                self._board.fail(name, outcome.reason, status=status, also=kept)
            self._search.tell(trial.number, value)
