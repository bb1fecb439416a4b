"""Tuning jobs and their training jobs as the API shows them."""

from __future__ import annotations

import math

from pilothouse.catalog import training_jobs, tuning_trials
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.catalog.tuning_jobs import OBJECTIVE_KEY, Definition, Document, TuningJob
from pilothouse.operations import training_views
from pilothouse.operations.views import merged
from pilothouse.store.store import Resource, Store

_ENDED = ("Completed", "Failed", "Stopped")
_CONFIG = {"TrainingJobEarlyStoppingType": "Off"}


def described(store: Store, row: Resource) -> Document:
    """The row as DescribeHyperParameterTuningJob answers, with the defaults that AWS fills in."""
    job, document = TuningJob.of(row.request), merged(row)
    document.update(HyperParameterTuningJobArn=row.arn, HyperParameterTuningJobStatus=row.status)
    document["HyperParameterTuningJobConfig"] = _CONFIG | document["HyperParameterTuningJobConfig"]
    shown = [_definition(job, definition) for definition in job.definitions]
    if "TrainingJobDefinition" in document:
        document["TrainingJobDefinition"] = shown[0]
    else:
        document["TrainingJobDefinitions"] = shown
    for member, place in (("BestTrainingJob", "_best"), ("OverallBestTrainingJob", "_overall_best")):
        best = store.get(training_jobs.KIND, row.state[place]["job"]) if place in row.state else None
        if best is not None:
            document[member] = _owned(trial(best), row.state[place].get("parent"))
    return document


def summary(row: Resource) -> Document:
    """The row as ListHyperParameterTuningJobs shows it."""
    config = row.request["HyperParameterTuningJobConfig"]
    return {
        **merged(row),
        "HyperParameterTuningJobName": row.name,
        "HyperParameterTuningJobArn": row.arn,
        "HyperParameterTuningJobStatus": row.status,
        "Strategy": config["Strategy"],
        "ResourceLimits": config["ResourceLimits"],
    }


def trial(row: Resource) -> Document:
    """The row of a training job as a HyperParameterTrainingJobSummary."""
    kept = row.state[tuning_trials.TRIAL]
    document = {
        **merged(row),
        "TrainingJobName": row.name,
        "TrainingJobArn": row.arn,
        "TrainingJobStatus": row.status,
        "TunedHyperParameters": kept["values"],
        "ObjectiveStatus": "Failed" if row.status in _ENDED else "Pending",
    }
    if "name" in kept:
        document["TrainingJobDefinitionName"] = kept["name"]
    if tuning_trials.OBJECTIVE in row.state:
        value = row.state[tuning_trials.OBJECTIVE].get("value")
        measured = value is not None and math.isfinite(value)
        document["ObjectiveStatus"] = "Succeeded" if measured and row.status != "Failed" else "Failed"
        if measured:
            document["FinalHyperParameterTuningJobObjectiveMetric"] = {**kept["objective"], "Value": value}
    return document


def _owned(best: Document, parent: str | None) -> Document:
    return {**best, "TuningJobName": parent} if parent else best


def _definition(job: TuningJob, definition: Definition) -> Document:
    document = {**dict.fromkeys(training_views.FLAGS, False), **definition.document}
    metric = definition.objective.metric if definition.objective else ""
    document["StaticHyperParameters"] = {**document.get("StaticHyperParameters", {}), OBJECTIVE_KEY: metric}
    document["ResourceConfig"] = tuning_trials.resources(document)
    document["OutputDataConfig"] = {"KmsKeyId": "", "CompressionType": "GZIP", **document["OutputDataConfig"]}
    training = TrainingJob.of(tuning_trials.training_request(job, definition, job.name, {}))
    document["AlgorithmSpecification"] = training_views.algorithm(training, document["AlgorithmSpecification"])
    if "InputDataConfig" in document:
        document["InputDataConfig"] = [training_views.channel(one) for one in document["InputDataConfig"]]
    return document
