"""When a tuning job ends, which trial is its best, and the counters that Describe shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.tuning.trial import Trial

Reason = Literal["jobs", "runtime", "target", "not improving", "converged"]
ObjectiveStatus = Literal["Succeeded", "Pending", "Failed"]

LEAST_IMPROVEMENT = 0.01
"""Relative to the best value so far; AWS's own threshold."""

_LEAST_WITHOUT_IMPROVEMENT = 20
_PER_HYPERPARAMETER = 2


@dataclass(frozen=True)
class Ending:
    """Why no trial is started any more. `stops_running`: those that run are stopped, else they finish."""

    reason: Reason
    stops_running: bool


def ending(job: TuningJob, trials: Sequence[Trial], seconds: float = 0.0) -> Ending | None:
    """The first of the job's limits and criteria that is met after `seconds` of running; None if it goes on."""
    criteria, limits = job.criteria, job.limits
    if limits.seconds is not None and seconds >= limits.seconds:
        return Ending("runtime", True)
    if criteria.target is not None and _reached(job, trials, criteria.target):
        return Ending("target", True)
    if criteria.not_improving is not None and not_improving(job, trials) >= criteria.not_improving:
        return Ending("not improving", True)
    if criteria.on_convergence and has_converged(job, trials):
        return Ending("converged", True)
    if limits.jobs is not None and len(trials) >= limits.jobs:
        return Ending("jobs", False)
    return None


def best(job: TuningJob, trials: Sequence[Trial]) -> Trial | None:
    """The ended trial with the best last value of the objective, the earlier of equals; None if none has one."""
    losses = [(loss, trial.number, trial) for trial in trials if math.isfinite(loss := _loss(job, trial))]
    return min(losses, key=lambda each: each[:2])[2] if losses else None


def not_improving(job: TuningJob, trials: Sequence[Trial]) -> int:
    """NumberOfTrainingJobsObjectiveNotImproving: trials with an objective that ended since the best value last improved
    by 1 % or more.
    """
    return _improvements(job, trials)[1]


def has_converged(job: TuningJob, trials: Sequence[Trial]) -> bool:
    """Whether more trials are unlikely to help.

    AWS does not publish its criterion. Here: no improvement of 1 % in as many trials as it took to get there, in at
    least 20, and in at least two for each tuned hyperparameter.
    """
    until_best, since = _improvements(job, trials)
    sides = max((len(definition.ranges) for definition in job.definitions), default=0)
    return since >= max(_LEAST_WITHOUT_IMPROVEMENT, _PER_HYPERPARAMETER * sides, until_best)


def objective_status(trial: Trial) -> ObjectiveStatus:
    """Whether the trial's objective was used. One without a value, or with one that is not finite, has failed."""
    if trial.status == "InProgress":
        return "Pending"
    has_value = trial.status != "Failed" and trial.value is not None and math.isfinite(trial.value)
    return "Succeeded" if has_value else "Failed"


def objective_counters(trials: Sequence[Trial]) -> dict[str, int]:
    """ObjectiveStatusCounters."""
    counted = Counter(objective_status(trial) for trial in trials)
    return {status: counted[status] for status in ("Succeeded", "Pending", "Failed")}


def training_counters(trials: Sequence[Trial]) -> dict[str, int]:
    """TrainingJobStatusCounters."""
    counted = Counter(_counter(trial) for trial in trials)
    return {
        name: counted[name] for name in ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped")
    }


def failure(trials: Sequence[Trial]) -> str | None:
    """The FailureReason of a job that has ended with these trials; None if it has completed."""
    if not trials or any(objective_status(trial) != "Failed" for trial in trials):
        return None
    if all(trial.status == "Failed" for trial in trials):
        return "All training jobs failed. See the FailureReason and the log of one of them."
    return (
        "No training job emitted a finite value of the objective metric. "
        "Compare the Regex of its MetricDefinition with what the training jobs log."
    )


def _counter(trial: Trial) -> str:
    if trial.status != "Failed":
        return trial.status
    return "RetryableError" if trial.retryable else "NonRetryableError"


def _reached(job: TuningJob, trials: Sequence[Trial], target: float) -> bool:
    found = best(job, trials)
    objective = job.definitions[found.definition].objective if found else None
    return bool(found and objective and found.value is not None and objective.reaches(found.value, target))


def _improvements(job: TuningJob, trials: Sequence[Trial]) -> tuple[int, int]:
    """How many trials with an objective ended up to the last improvement of 1 %, and how many since."""
    ended = sorted((trial for trial in trials if trial.ended is not None), key=lambda trial: trial.ended or 0)
    least, until, count = math.inf, 0, 0
    for loss in (loss for trial in ended if math.isfinite(loss := _loss(job, trial))):
        count += 1
        if least - loss >= LEAST_IMPROVEMENT * abs(least) and loss < least:
            least, until = loss, count
    return until, count - until


def _loss(job: TuningJob, trial: Trial) -> float:
    objective = job.definitions[trial.definition].objective
    if objective is None or trial.value is None or objective_status(trial) != "Succeeded":
        return math.inf
    return objective.loss(trial.value)
