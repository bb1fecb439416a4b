"""What a tuning job and its training jobs are to each other: names, requests, and what is kept in their rows.

A trial is a training job whose row has the tuning job as its parent. Two members of its state are the tuning job's:
`_trial` from the start (number, definition, values, and the objective as the wire has it), and `_objective` from its
end (the last value or None, all values where the search needs them, which place it took among those that ended).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.catalog.tuning_jobs import Definition, Document, TuningJob

KIND = "hyper-parameter-tuning-job"
LOG_GROUP = "/aws/sagemaker/HyperParameterTuningJobs"
TRIAL, OBJECTIVE = "_trial", "_objective"
INTERNAL = "InternalServerError"
"""How the FailureReason of a training job begins that failed for no fault of its own."""

_COUNTERS = {
    "TrainingJobStatusCounters": ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"),
    "ObjectiveStatusCounters": ("Succeeded", "Pending", "Failed"),
}
_OTHERS = (
    "DefinitionName", "TuningObjective", "HyperParameterRanges", "StaticHyperParameters",
    "HyperParameterTuningResourceConfig",
)  # fmt: skip
"""The members of a definition that a training job does not have; it has all others."""


def first_state() -> Document:
    """The state of a tuning job that was created just now."""
    return {member: dict.fromkeys(names, 0) for member, names in _COUNTERS.items()}


def training_request(job: TuningJob, definition: Definition, name: str, values: Mapping[str, str]) -> Document:
    """The request of the training job `name` that tries these values.

    Checkpoints go to a folder of its own below the definition's, lest a trial goes on from another's.
    """
    document = {member: value for member, value in definition.document.items() if member not in _OTHERS}
    document["TrainingJobName"] = name
    document["HyperParameters"] = definition.hyperparameters(values)
    document["ResourceConfig"] = resources(definition.document)
    if "CheckpointConfig" in document:
        config = document["CheckpointConfig"]
        document["CheckpointConfig"] = {**config, "S3Uri": f"{config['S3Uri'].rstrip('/')}/{name}"}
    if retries := job.retries(definition):
        document["RetryStrategy"] = {"MaximumRetryAttempts": retries}
    return document


def resources(definition: Document) -> Document:
    """The ResourceConfig of a definition's training jobs; the first of InstanceConfigs, which go by priority."""
    if "ResourceConfig" in definition:
        given: Document = definition["ResourceConfig"]
        return given
    config = definition.get("HyperParameterTuningResourceConfig", {})
    first: Document = next(iter(config.get("InstanceConfigs", ())), {})
    shared = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")
    return {**{member: config[member] for member in shared if member in config}, **first}


def trial_state(definition: Definition, place: int, number: int, values: Mapping[str, str]) -> Document:
    """The member `_trial` of a trial of the definition at `place`."""
    objective = definition.objective
    kept: dict[str, Any] = {"number": number, "definition": place, "values": dict(values)}
    if objective is not None:
        kept["objective"] = {"Type": objective.direction, "MetricName": objective.metric}
    if definition.name is not None:
        kept["name"] = definition.name
    return {TRIAL: kept}
