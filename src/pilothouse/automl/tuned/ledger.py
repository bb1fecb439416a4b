"""The ledger of a tuned job: its trials, each of which is a candidate with a training job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pilothouse import names
from pilothouse.automl import steps
from pilothouse.automl.candidates import Board
from pilothouse.automl.opening import Opening
from pilothouse.automl.tuned import requests
from pilothouse.automl.tuned.engineering import Ready
from pilothouse.automl.tuned.places import Places
from pilothouse.catalog import tuning_trials
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.catalog.tuning_trials import OBJECTIVE, TRIAL
from pilothouse.errors import ResourceInUse
from pilothouse.tuning.ledger import trial_of
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_ATTEMPTS = 5


class Ledger:
    """Read once from the candidates' rows: each has its trial before it is launched, its value once it has ended.

    `open` and `closing` are for one thread at a time.
    """

    def __init__(self, job: Job, board: Board, places: Places, ready: Sequence[Ready], tuning: TuningJob) -> None:
        self._job, self._board, self._places, self._ready, self._tuning = job, board, places, ready, tuning
        rows = [row for row in board.rows() if TRIAL in row.state]
        self.trials = [trial_of(row) for row in rows]
        self._names = {trial.number: row.name for trial, row in zip(self.trials, rows, strict=True)}
        self._ended = 1 + max((trial.ended for trial in self.trials if trial.ended is not None), default=-1)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, trial: Trial) -> str:
        """The name of the candidate, and of its training job."""
        return self._names[trial.number]

    def open(self, trial: Trial) -> None:
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

    def closing(self, value: float | None, reports: Sequence[float]) -> dict[str, Any]:
        """What a candidate's row keeps when it ends: what the search is told."""
        kept: dict[str, Any] = {"value": value, "ended": self._ended}
        self._ended += 1
        if self._tuning.resources is not None:
            kept["reports"] = list(reports)
        return {OBJECTIVE: kept}

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
