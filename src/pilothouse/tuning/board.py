"""What a tuning job's row shows of its trials: counters, the best, and what Describe tells about its course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.tuning import completion, warmstart
from pilothouse.tuning.ledger import Ledger
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job


@dataclass(frozen=True)
class Parent:
    """A tuning job of a warm start: its request, its trials, and the names of their training jobs by number."""

    job: TuningJob
    trials: Sequence[Trial]
    names: Mapping[int, str]


class Board:
    """Writes the row of `job`, which began at `started`, epoch seconds."""

    def __init__(self, job: Job, spec: TuningJob, ledger: Ledger, started: float, parents: Sequence[Parent]) -> None:
        self._job, self._spec, self._ledger, self._started = job, spec, ledger, started
        self._parents = parents

    def publish(self) -> None:
        """Writes what is to be seen of the trials by now."""
        self._job.update(state=self.state())

    def state(self, converged_at: float | None = None) -> dict[str, Any]:
        """That state."""
        trials = self._ledger.trials
        details: dict[str, Any] = {
            "NumberOfTrainingJobsObjectiveNotImproving": completion.not_improving(self._spec, trials)
        }
        if converged_at is not None:
            details["ConvergenceDetectedTime"] = converged_at
        best = completion.best(self._spec, trials)
        return {
            "TrainingJobStatusCounters": completion.training_counters(trials),
            "ObjectiveStatusCounters": completion.objective_counters(trials),
            "TuningJobCompletionDetails": details,
            "ConsumedResources": {"RuntimeInSeconds": int(clock.now() - self._started)},
            "_best": {"job": self._ledger.name(best.number)} if best else None,
            "_overall_best": self._overall_best(trials),
        }

    def _overall_best(self, trials: Sequence[Trial]) -> dict[str, Any] | None:
        if self._spec.warm_start is None or self._spec.warm_start.kind != "IdenticalDataAndAlgorithm":
            return None
        found = warmstart.overall_best(self._spec, trials, [(each.job, each.trials) for each in self._parents])
        if found is None:
            return None
        place, trial = found
        if place is None:
            return {"job": self._ledger.name(trial.number)}
        parent = self._parents[place]
        return {"job": parent.names[trial.number], "parent": parent.job.name}
