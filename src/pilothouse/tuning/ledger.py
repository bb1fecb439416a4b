"""The ledger of a tuning job: its trials, each a training job whose row has the tuning job as its parent."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from pilothouse import clock, names
from pilothouse.catalog import training_jobs, tuning_trials
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.catalog.tuning_trials import OBJECTIVE, TRIAL
from pilothouse.errors import ResourceInUse
from pilothouse.store.store import Resource
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_ENDED = ("Completed", "Failed", "Stopped")
_ATTEMPTS = 5


class Ledger:
    """All trials of `job`, read once from their rows and kept in step with them from there on. Any thread may use it.

    `open` writes a trial's row before anybody launches it; what `closing` answers is written along with the row's
    terminal status. So a trial is in the rows once, whenever the process dies.
    """

    def __init__(self, job: Job, spec: TuningJob) -> None:
        self._job, self._spec = job, spec
        self._lock = threading.Lock()
        self._trials: dict[int, Trial] = {}
        self._names: dict[int, str] = {}
        for row in job.store.children(training_jobs.KIND, (tuning_trials.KIND, job.name)):
            trial = trial_of(row)
            self._trials[trial.number], self._names[trial.number] = trial, row.name
        self._ended = 1 + max((t.ended for t in self._trials.values() if t.ended is not None), default=-1)

    @property
    def trials(self) -> Sequence[Trial]:
        """All of them, in the order of their numbers."""
        with self._lock:
            return list(self._trials.values())

    @property
    def running(self) -> list[Trial]:
        """Those that have not ended."""
        return [trial for trial in self.trials if trial.status == "InProgress"]

    def name(self, number: int) -> str:
        """The name of a trial's training job."""
        return self._names[number]

    def open(self, trial: Trial) -> None:
        """Records a trial that is to be launched. Trials are opened in the order of their numbers."""
        self._job.failpoint("open", "before")
        for left in reversed(range(_ATTEMPTS)):
            name = f"{self._job.name}-{trial.number + 1:03d}-{names.token()}"
            try:
                self._insert(trial, name)
                break
            except ResourceInUse:
                if not left:
                    raise
        with self._lock:
            self._trials[trial.number], self._names[trial.number] = trial, name
        self._job.failpoint("open", "after")

    def closing(self, reports: Sequence[float]) -> dict[str, Any]:
        """What a trial's row keeps of the objective's values when it ends; the next to ask has ended later."""
        with self._lock:
            ended, self._ended = self._ended, self._ended + 1
        kept: dict[str, Any] = {"value": reports[-1] if reports else None, "ended": ended}
        if self._spec.early_stopping or self._spec.resources is not None:
            kept["reports"] = list(reports)
        return {OBJECTIVE: kept}

    def close(self, number: int, row: Resource) -> Trial:
        """Takes a trial's row as it ended; the trial."""
        trial = trial_of(row)
        with self._lock:
            self._trials[number] = trial
        return trial

    def _insert(self, trial: Trial, name: str) -> None:
        job, definition = self._job, self._spec.definitions[trial.definition]
        state = {
            **training_jobs.first_state(clock.now()),
            "TuningJobArn": job.resource.arn,
            **tuning_trials.trial_state(definition, trial.definition, trial.number, trial.values),
        }
        job.store.insert(
            training_jobs.KIND,
            name,
            tuning_trials.training_request(self._spec, definition, name, trial.values),
            status="InProgress",
            state=state,
            parent=(tuning_trials.KIND, job.name),
            tags=job.store.tags(job.resource.arn),
            lease=job.lease,
        )


def trial_of(row: Resource) -> Trial:
    """The trial that a training job's row records."""
    kept, objective = row.state[TRIAL], row.state.get(OBJECTIVE, {})
    trial = Trial(kept["number"], kept["definition"], kept["values"])
    if row.status not in _ENDED:
        return trial
    status = cast(Literal["Completed", "Failed", "Stopped"], row.status)
    return replace(
        trial,
        status=status,
        reports=tuple(objective.get("reports", ())),
        value=objective.get("value"),
        retryable=str(row.state.get("FailureReason", "")).startswith(tuning_trials.INTERNAL),
        ended=objective.get("ended", 0),
    )
