"""Training jobs as the API shows them."""

from __future__ import annotations

from pilothouse.catalog import built_in_training, training_images
from pilothouse.catalog.training_jobs import DEFAULT_MAX_RUNTIME, Document, TrainingJob
from pilothouse.operations.views import learnt, merged
from pilothouse.store.store import Resource

FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
_STOPPING = {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME}
_CHANNEL = {"CompressionType": "None", "RecordWrapperType": "None"}


def described(row: Resource) -> Document:
    """The row as DescribeTrainingJob answers, with the defaults that AWS fills in."""
    job = TrainingJob.of(row.request)
    document = {**dict.fromkeys(FLAGS, False), **merged(row)}
    document.update(TrainingJobArn=row.arn, TrainingJobStatus=row.status)
    document["ModelArtifacts"] = {"S3ModelArtifacts": job.model_uri}
    document["StoppingCondition"] = _STOPPING | document.get("StoppingCondition", {})
    document["OutputDataConfig"] = {"KmsKeyId": "", "CompressionType": "GZIP", **document["OutputDataConfig"]}
    document["AlgorithmSpecification"] = algorithm(job, document.get("AlgorithmSpecification", {}))
    if "InputDataConfig" in document:
        document["InputDataConfig"] = [channel(one) for one in document["InputDataConfig"]]
    return document


def summary(row: Resource) -> Document:
    """The row as ListTrainingJobs shows it."""
    return {**learnt(row), "TrainingJobName": row.name, "TrainingJobArn": row.arn, "TrainingJobStatus": row.status}


def algorithm(job: TrainingJob, given: Document) -> Document:
    """An AlgorithmSpecification, with the metrics of a built-in algorithm."""
    own = built_in_training.metric_definitions(training_images.mode(job))
    shown = {"EnableSageMakerMetricsTimeSeries": False, **given}
    if own:
        shown["MetricDefinitions"] = [{"Name": name, "Regex": regex} for name, regex in own]
    return shown


def channel(given: Document) -> Document:
    """A Channel, with the defaults that AWS fills in."""
    source = dict(given["DataSource"])
    if "S3DataSource" in source:
        source["S3DataSource"] = {"S3DataDistributionType": "FullyReplicated", **source["S3DataSource"]}
    return {**_CHANNEL, **given, "DataSource": source}
