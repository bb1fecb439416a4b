"""What a warm start asks of a tuning job and its parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog.tuning_jobs import Definition, TuningJob
from pilothouse.errors import ValidationError

MOST_PARENTS = 5
MOST_TRAINING_JOBS = 500
MOST_CHANGES = 10
TERMINAL = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Parent:
    """A tuning job to start from: its request, its status, and how many training jobs it launched."""

    job: TuningJob
    status: str
    training_jobs: int


def check(job: TuningJob, parents: Sequence[Parent]) -> None:
    """`ValidationError` for the first rule that the job breaks with these parents, which its WarmStartConfig names."""
    names = [parent.job.name for parent in parents]
    if not 1 <= len(names) <= MOST_PARENTS or len(set(names)) < len(names):
        raise ValidationError(
            f"ParentHyperParameterTuningJobs must name at least 1 and at most {MOST_PARENTS} different tuning jobs."
        )
    for parent in parents:
        if parent.status not in TERMINAL:
            raise ValidationError(
                f"The parent tuning job '{parent.job.name}' has status {parent.status}; it must have ended. "
                "Wait for it, or stop it."
            )
    _total(job, parents)
    for parent in parents:
        for definition in job.definitions:
            _alike(definition, parent.job, job)


def _total(job: TuningJob, parents: Sequence[Parent]) -> None:
    total = (job.limits.jobs or 0) + sum(parent.training_jobs for parent in parents)
    if total > MOST_TRAINING_JOBS:
        raise ValidationError(
            f"The training jobs of the parents and MaxNumberOfTrainingJobs add up to {total}; "
            f"with a warm start it can be at most {MOST_TRAINING_JOBS}. "
            "Lower MaxNumberOfTrainingJobs, or name fewer parents."
        )


def _alike(definition: Definition, parent: TuningJob, job: TuningJob) -> None:
    before = next((each for each in parent.definitions if each.name == definition.name), None)
    if before is None:
        raise ValidationError(
            f"The parent tuning job '{parent.name}' has no training job definition named '{definition.name}'. "
            "Give the definitions the names that they have there."
        )
    if before.objective != definition.objective:
        raise ValidationError(
            f"The objective metric must be the same as that of the parent tuning job '{parent.name}', "
            f"{_shown(before)}; it is {_shown(definition)}."
        )
    _hyperparameters(definition, before, parent.name)
    if job.warm_start is not None and job.warm_start.kind == "IdenticalDataAndAlgorithm":
        _identical(definition, before, parent.name)


def _hyperparameters(definition: Definition, before: Definition, parent: str) -> None:
    now_tuned, then_tuned = ({each.name: each for each in one.ranges} for one in (definition, before))
    now, then = len(now_tuned) + len(definition.static), len(then_tuned) + len(before.static)
    if now != then:
        raise ValidationError(
            "The number of static and tunable hyperparameters must be the same as in the parent tuning job "
            f"'{parent}', {then}; it is {now}."
        )
    for name in now_tuned.keys() & then_tuned.keys():
        if now_tuned[name].kind != then_tuned[name].kind:
            raise ValidationError(
                f"Hyperparameter '{name}' is {now_tuned[name].kind}, but {then_tuned[name].kind} in the parent "
                f"tuning job '{parent}'. Its type can't change."
            )
    changes = len(now_tuned.keys() ^ then_tuned.keys()) + sum(
        before.static[name] != value for name, value in definition.static.items() if name in before.static
    )
    if changes > MOST_CHANGES:
        raise ValidationError(
            f"{changes} hyperparameters have turned static, turned tunable or changed their static value since the "
            f"parent tuning job '{parent}'; at most {MOST_CHANGES} can."
        )


def _identical(definition: Definition, before: Definition, parent: str) -> None:
    for what, member in (("input data", _data), ("training image", _algorithm)):
        if member(definition) != member(before):
            raise ValidationError(
                f"The {what} must be the same as in the parent tuning job '{parent}' when WarmStartType is "
                "IdenticalDataAndAlgorithm. Use TransferLearning."
            )


def _data(definition: Definition) -> Any:
    channels = definition.document.get("InputDataConfig", [])
    return {channel["ChannelName"]: channel.get("DataSource") for channel in channels}


def _algorithm(definition: Definition) -> Any:
    algorithm = definition.document["AlgorithmSpecification"]
    return algorithm.get("TrainingImage"), algorithm.get("AlgorithmName")


def _shown(definition: Definition) -> str:
    objective = definition.objective
    return f"{objective.direction} {objective.metric}" if objective else "not specified"
