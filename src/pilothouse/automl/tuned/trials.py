"""The trials of a tuned job: asks the search, trains side by side, and tells the search what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse import names
from pilothouse.automl import steps
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.opening import Opening
from pilothouse.automl.tuned import requests
from pilothouse.automl.tuned.engineering import Engineering, Ready
from pilothouse.automl.tuned.listener import Listener
from pilothouse.automl.tuned.places import Places
from pilothouse.automl.tuned.room import Room
from pilothouse.catalog import tuning_trials
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.catalog.tuning_trials import OBJECTIVE
from pilothouse.errors import ResourceInUse
from pilothouse.launch.slots import memory_room, memory_share
from pilothouse.problems.tabular import memory, plan, ranges, tuned
from pilothouse.problems.tabular.costs import CandidatePlan, Facts
from pilothouse.training import task
from pilothouse.training.task import Outcome
from pilothouse.tuning.ledger import trial_of
from pilothouse.tuning.search import Before, Search, seed_of
from pilothouse.tuning.stopping import Advice
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job

OUT_OF_TIME = "The AutoML job reached MaxAutoMLJobRuntimeInSeconds before this candidate was finished."
_OVER_LIMIT = (
    "The candidate was stopped at MaxRuntimePerTrainingJobInSeconds ({} s). Allow more, or choose faster algorithms."
)
_NO_MEMORY = (
    "Training this candidate is expected to need {need:.1f} GiB of memory, and this host has {room:.1f} GiB for it. "
    "Use fewer rows or columns, or a host with more memory."
)
_ASKED = "was stopped on request"
_ATTEMPTS = 5
_LEAST_SHARE = 0.35
"""Of the time that is left, which one trial may take: it ends itself with the model that it has by then."""

_WORTH = 0.5
"""A trial is not begun in less than this share of the time that the quickest so far has taken."""

_MARGIN = 0.5


class TunedTrials:
    """The candidates' rows are the record: each has its trial before it is launched, its value once it has ended."""

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
        suggested: dict[int, Before],
    ) -> None:
        self._job, self._spec, self._board, self._budget = job, spec, board, budget
        self._facts, self._dataset = facts, dataset
        self._engineering, self._ready, self._tuning = engineering, ready, tuning
        self._places = Places.of(job, spec)
        self._lock = threading.RLock()
        self._room = Room(memory_room(job.settings))
        rows = [row for row in board.rows() if tuning_trials.TRIAL in row.state]
        self._names = {trial_of(row).number: row.name for row in rows}
        trials = [trial_of(row) for row in rows]
        seed = seed_of(tuning, f"{job.resource.arn} {job.resource.seq} {job.resource.created_at!r}")
        self._search = Search.restored(tuning, seed, trials, suggested)
        self._resumed = [trial for trial in trials if trial.status == "InProgress"]
        self._ended = 1 + max((trial.ended for trial in trials if trial.ended is not None), default=-1)
        self._quickest: float | None = None
        self._exhausted = False

    @property
    def count(self) -> int:
        """How many candidates there are."""
        return len(self._names)

    @property
    def _most(self) -> int:
        return self._tuning.limits.jobs or 1

    def run(self) -> bool:
        """Trains candidates until there are as many as asked for. False if the job's time was over before."""
        workers = self._tuning.limits.parallel
        with ThreadPoolExecutor(workers, thread_name_prefix="trial") as pool:
            working = [pool.submit(self._work) for _ in range(workers)]
        for each in working:
            each.result()
        return self._exhausted or self.count >= self._most

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
            if self._exhausted or self.count >= self._most or not self._has_time():
                return None
            trial = self._search.ask()
            if trial is None:
                self._exhausted = True
            else:
                self._open(trial)
            return trial

    def _has_time(self) -> bool:
        seconds = self._seconds_left()
        return seconds is None or seconds > _WORTH * (self._quickest or 0.0)

    def _seconds_left(self) -> float | None:
        seconds = self._budget.training_seconds()
        return None if seconds is None else seconds - _MARGIN

    def _open(self, trial: Trial) -> None:
        """Lists the candidate and its training job, under a name that nobody else is likely to have taken."""
        for left in reversed(range(_ATTEMPTS)):
            name = f"{self._job.name}-{trial.number + 1:03d}-{names.token()}"
            try:
                self._board.open(name, self._opening(trial, name))
                break
            except ResourceInUse:
                if not left:
                    raise
        self._names[trial.number] = name

    def _opening(self, trial: Trial, name: str) -> Opening:
        definition, pipeline = self._tuning.definitions[trial.definition], self._ready[trial.definition].spec.name
        request = tuning_trials.training_request(self._tuning, definition, name, trial.values)
        job = self._job
        return Opening(
            [
                steps.listed(job, steps.PROCESSING, self._places.analysis),
                steps.listed(job, steps.TRAINING, self._places.processor(pipeline)),
                steps.listed(job, steps.TRANSFORM, self._places.transform(pipeline)),
                steps.listed(job, steps.TRAINING, name),
            ],
            [steps.begun(job, steps.TRAINING, name, request)],
            requests.containers(self._places, pipeline, self._board.problem_type, TrainingJob.of(request).model_uri),
            tuning_trials.trial_state(definition, trial.definition, trial.number, trial.values),
        )

    def _train(self, trial: Trial) -> None:
        """Trains a candidate to its terminal row, and tells the search."""
        name = self._names[trial.number]
        planned = self._planned(trial)
        fitted = memory.fitted(planned, self._sizes(trial), self._room.size)
        directory = self._job.directory / "trials" / name
        directory.mkdir(parents=True, exist_ok=True)
        listener = Listener(directory / tuned.REPORTS, lambda step, loss: self._report(trial.number, step, loss))
        if fitted is None:
            need = memory.peak(planned, self._sizes(trial))
            reason = _NO_MEMORY.format(need=need / 2**30, room=self._room.size / 2**30)
            self._settle(trial, listener, Outcome(reason=reason), "Stopped")
            return
        need = memory.peak(fitted, self._sizes(trial))
        with self._room.hold(need, lambda: self._job.stop_requested or self._budget.training_is_over()):
            begun = time.monotonic()
            outcome = self._attempt(trial, fitted, directory, listener, need)
        with self._lock:
            if outcome.result is not None:
                self._quickest = min(self._quickest or float("inf"), time.monotonic() - begun)
        self._settle(trial, listener, outcome, self._status(name, listener, outcome))

    def _attempt(self, trial: Trial, fitted: CandidatePlan, directory: Path, listener: Listener, need: int) -> Outcome:
        ready, name = self._ready[trial.definition], self._names[trial.number]
        limit, left, ends_at = self._spec.max_runtime_per_trial, self._seconds_left(), self._budget.training_ends_at()
        limits = [seconds for seconds in (limit, None if left is None else left * _LEAST_SHARE) if seconds is not None]
        waiting = self._most - self.count + self._tuning.limits.parallel - 1
        threads = plan.trial_threads(self._sizes(trial), others=waiting, slots=self._job.settings.slots)
        tunable = ranges.tunable(fitted.algorithm, self._board.problem_type)
        row = self._job.store.get(steps.TRAINING, name)
        request = {} if row is None else row.request
        arguments = {
            "trial": fitted.trial(name, self._board.metric, threads),
            "dataset": str(self._dataset),
            "matrix": str(self._engineering.matrix(ready.spec)),
            "stage": str(self._engineering.stage(ready.spec)),
            "model_uri": TrainingJob.of(request).model_uri,
            "step": tunable.step if self._tuning.resources is not None else None,
            "seconds": min(limits, default=None),
            "ends_at": None if ends_at is None else ends_at - _MARGIN,
        }
        return task.attempt(
            self._job,
            "pilothouse.automl.tuned.tasks:train",
            directory,
            arguments,
            seconds=limit,
            deadline=self._budget.training_deadline(),
            memory=max(memory_share(self._job.settings), 2 * need),
            cut=lambda: listener.cut() or (_ASKED if steps.stop_asked(self._job, steps.TRAINING, name) else None),
        )

    def _planned(self, trial: Trial) -> CandidatePlan:
        ready = self._ready[trial.definition]
        values = self._tuning.definitions[trial.definition].hyperparameters(trial.values)
        own = {key: value for key, value in values.items() if key not in ("algorithm", "data_processor")}
        own.pop("_tuning_objective_metric", None)
        params = ranges.params(ready.spec.algorithm, own, self._facts["train_rows"])
        return CandidatePlan("", ready.spec.algorithm, params, tuned.folds(self._facts), seed=trial.number)

    def _sizes(self, trial: Trial) -> Facts:
        """What the trial's memory goes by: the rows of the data, and the columns of its matrix."""
        facts, columns = self._facts, self._ready[trial.definition].columns
        return Facts(facts["train_rows"], columns, facts["problem_type"], len(facts["classes"] or []), numeric=columns)

    def _report(self, number: int, step: int, loss: float) -> Advice:
        """The search compares what trials report by the direction of the objective."""
        value = -loss if self._tuning.definitions[0].objective.direction == "Maximize" else loss  # type: ignore[union-attr]
        with self._lock:
            return self._search.report(number, step, value)

    def _status(self, name: str, listener: Listener, outcome: Outcome) -> str:
        stopped = outcome.late or listener.stopped or steps.stop_asked(self._job, steps.TRAINING, name)
        return "Stopped" if stopped else "Failed"

    def _settle(self, trial: Trial, listener: Listener, outcome: Outcome, status: str) -> None:
        """Ends the candidate's row with what the search needs to know of it, and tells the search."""
        name, reason = self._names[trial.number], outcome.reason
        listener.cut()
        if outcome.late:
            limit = self._spec.max_runtime_per_trial
            reason = OUT_OF_TIME if self._budget.training_is_over() or limit is None else _OVER_LIMIT.format(limit)
        value = None if outcome.result is None else outcome.result["ranking"]
        with self._lock:
            kept: dict[str, Any] = {"value": value, "ended": self._ended}
            if self._tuning.resources is not None:
                kept["reports"] = self._values(listener)
            self._ended += 1
            if outcome.result is not None:
                self._board.complete(name, outcome.result, also={OBJECTIVE: kept})
            else:
                self._board.fail(name, reason, status=status, also={OBJECTIVE: kept})
            self._search.tell(trial.number, value)

    def _values(self, listener: Listener) -> list[float]:
        objective = self._tuning.definitions[0].objective
        sign = -1 if objective is not None and objective.direction == "Maximize" else 1
        return [sign * loss for loss in listener.losses]
