"""What a tuning job's row shows of its trials: counters, the best, and what Describe tells about its course."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.catalog import training_jobs
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.store.store import Resource, Store
from pilothouse.tuning import completion, warmstart
from pilothouse.tuning.ledger import Ledger, trial_of
from pilothouse.tuning.trial import Trial

if TYPE_CHECKING:
    from pilothouse.work.job import Job


@dataclass(frozen=True)
class Parent:
    """A tuning job of a warm start: its request, its trials, and the names of their training jobs by number."""

    job: TuningJob
    trials: Sequence[Trial]
    names: Mapping[int, str]


def counted(spec: TuningJob, trials: Sequence[Trial], name: Callable[[int], str]) -> dict[str, Any]:
    """What Describe shows of `trials`; `name` has a training job's name for the number of a trial."""
    best = completion.best(spec, trials)
    return {
        "TrainingJobStatusCounters": completion.training_counters(trials),
        "ObjectiveStatusCounters": completion.objective_counters(trials),
        "TuningJobCompletionDetails": {
            "NumberOfTrainingJobsObjectiveNotImproving": completion.not_improving(spec, trials)
        },
        "_best": {"job": name(best.number)} if best else None,
    }


def aftermath(store: Store, row: Resource) -> dict[str, Any]:
    """The state of the tuning job `row` when its process has failed, by the rows of its training jobs."""
    children = store.children(training_jobs.KIND, (row.kind, row.name))
    trials = [trial_of(child) for child in children]
    names = {trial.number: child.name for trial, child in zip(trials, children, strict=True)}
    return counted(TuningJob.of(row.request), trials, names.__getitem__)


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
        state = counted(self._spec, trials, self._ledger.name)
        if converged_at is not None:
            state["TuningJobCompletionDetails"]["ConvergenceDetectedTime"] = converged_at
        return {
            **state,
            "ConsumedResources": {"RuntimeInSeconds": int(clock.now() - self._started)},
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
