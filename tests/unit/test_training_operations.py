"""What CreateTrainingJob refuses, and in which words; what Describe, List, Stop and Delete answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse import composition
from pilothouse.config import Settings
from pilothouse.errors import ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.operations import training
from pilothouse.operations.context import Context

ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
ECR = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    context = Context(settings, composition.store(settings), composition.objects(settings))
    context.store.migrate()
    context.objects.create_bucket("box")
    context.objects.put("box", "data/a.csv", b"1,2\n")
    context.objects.put("box", "source.tar.gz", b"archive")
    yield context
    context.store.close()


def channel(name: str = "train", **source: Any) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://box/data/", **source}},
    }


def request(name: str = "job", **changes: Any) -> dict[str, Any]:
    document = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": f"{ECR}/sagemaker-scikit-learn:1.2-1-cpu-py3",
            "TrainingInputMode": "File",
        },
        "HyperParameters": {"sagemaker_program": "a.py", "sagemaker_submit_directory": "s3://box/source.tar.gz"},
        "InputDataConfig": [channel()],
        "OutputDataConfig": {"S3OutputPath": "s3://box/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "RoleArn": ROLE,
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def algorithm(image: str = "pytorch-training:2.1", **changes: Any) -> dict[str, Any]:
    return {"TrainingImage": image, "TrainingInputMode": "File", **changes}


def resources(**changes: Any) -> dict[str, Any]:
    merged = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, **changes}
    return {name: value for name, value in merged.items() if value is not None}


GROUPS = [
    {"InstanceGroupName": name, "InstanceType": "ml.m5.large", "InstanceCount": count}
    for name, count in (("a", 1), ("b", 2))
]


def grouped(*groups: dict[str, Any]) -> dict[str, Any]:
    return resources(InstanceType=None, InstanceCount=None, InstanceGroups=list(groups))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"AlgorithmSpecification": None}, "AlgorithmSpecification is required"),
    ({"ResourceConfig": None}, "ResourceConfig is required"),
    ({"StoppingCondition": None}, "StoppingCondition is required"),
    ({"ServerlessJobConfig": {}}, "ServerlessJobConfig is not served"),
    ({"AlgorithmSpecification": algorithm("busybox:latest")}, "busybox:latest cannot run here"),
    ({"AlgorithmSpecification": algorithm("evil.example/pytorch-training:2")}, "cannot run here"),
    ({"AlgorithmSpecification": {"AlgorithmName": "x", "TrainingInputMode": "File"}}, "needs TrainingImage"),
    ({"HyperParameters": {}}, "name it in the hyperparameter sagemaker_program"),
    ({"HyperParameters": {"sagemaker_program": "a.py"}}, "needs sagemaker_submit_directory"),
    (
        {"HyperParameters": {"sagemaker_program": "../a.py", "sagemaker_submit_directory": "s3://box/source.tar.gz"}},
        "not the path of a file in the source archive",
    ),
    (
        {"HyperParameters": {"sagemaker_program": "a.py", "sagemaker_submit_directory": "s3://box/none.tar.gz"}},
        "Could not find the source archive at s3://box/none.tar.gz",
    ),
    (
        {"HyperParameters": {"sagemaker_program": "a.py", "sagemaker_submit_directory": "/etc"}},
        "must be an S3 URI or a path below /opt/ml",
    ),
    ({"AlgorithmSpecification": algorithm(MetricDefinitions=[{"Name": "m", "Regex": "x"}])}, "no capturing group"),
    ({"AlgorithmSpecification": algorithm(MetricDefinitions=[{"Name": "m", "Regex": "(?=x)()"}])}, "no lookaround"),
    (
        {
            "AlgorithmSpecification": algorithm("xgboost:1", MetricDefinitions=[{"Name": "m", "Regex": "(x)"}]),
            "HyperParameters": {"num_round": "1"},
        },
        "You can't override the metric definitions",
    ),
    ({"InputDataConfig": [channel(), channel()]}, "two channels named train"),
    ({"InputDataConfig": [channel("..")]}, "cannot be the name of a channel"),
    ({"InputDataConfig": [channel(S3Uri="s3://box/none")]}, 'No S3 objects found under S3 URL "s3://box/none"'),
    ({"InputDataConfig": [channel(S3Uri="s3://none/x")]}, 'No S3 objects found under S3 URL "s3://none/x"'),
    ({"InputDataConfig": [channel(S3DataType="AugmentedManifestFile")]}, "Use S3Prefix or ManifestFile"),
    (
        {
            "InputDataConfig": [
                {**channel(), "InputMode": "Pipe", "CompressionType": "Gzip", "RecordWrapperType": "RecordIO"}
            ]
        },
        "cannot be combined",
    ),
    (
        {"InputDataConfig": [{**channel(), "InputMode": "Pipe"}, {**channel(), "ChannelName": "train_0"}]},
        "has the name of a pipe of another channel",
    ),
    (
        {
            "AlgorithmSpecification": algorithm("xgboost:1", TrainingInputMode="Pipe"),
            "HyperParameters": {},
            "InputDataConfig": [{**channel(), "CompressionType": "Gzip"}],
        },
        "not for built-in algorithms",
    ),
    (
        {"InputDataConfig": [{**channel(), "CompressionType": "Gzip"}]},
        "CompressionType Gzip, which is for Pipe mode only",
    ),
    ({"InputDataConfig": [{**channel(), "RecordWrapperType": "RecordIO"}]}, "RecordWrapperType RecordIO, which is for"),
    ({"InputDataConfig": [{"ChannelName": "a", "DataSource": {"FileSystemDataSource": {}}}]}, "has no S3DataSource"),
    ({"ResourceConfig": resources(InstanceType=None)}, "ResourceConfig needs InstanceType"),
    ({"ResourceConfig": resources(VolumeSizeInGB=None)}, "ResourceConfig needs VolumeSizeInGB"),
    ({"ResourceConfig": resources(InstanceCount=0)}, "Set it to between 1 and 100"),
    ({"ResourceConfig": resources(InstanceCount=2), "EnableNetworkIsolation": True}, "could not reach each other"),
    ({"ResourceConfig": resources(InstanceGroups=GROUPS)}, "has both InstanceGroups and InstanceType"),
    ({"ResourceConfig": grouped(*GROUPS[:1] * 2)}, "two groups named a"),
    ({"ResourceConfig": grouped({**GROUPS[0], "InstanceCount": 0})}, "Set it to between 1 and 100"),
    (
        {"ResourceConfig": grouped(*GROUPS), "InputDataConfig": [channel(InstanceGroupNames=["c"])]},
        "for the instance group c, which is none",
    ),
    ({"InputDataConfig": [channel(InstanceGroupNames=["a"])]}, "for the instance group a, which is none"),
    ({"ResourceConfig": grouped(*GROUPS), "EnableNetworkIsolation": True}, "the hosts could not reach"),
    (
        {
            "AlgorithmSpecification": algorithm("xgboost:1"),
            "HyperParameters": {},
            "ResourceConfig": grouped(*GROUPS),
        },
        "A built-in algorithm has no InstanceGroups",
    ),
    ({"OutputDataConfig": {"S3OutputPath": "s3://none/out"}}, 'The bucket "none" of S3OutputPath does not exist'),
    ({"CheckpointConfig": {"S3Uri": "s3://none/c"}}, 'The bucket "none" of CheckpointConfig.S3Uri'),
    ({"CheckpointConfig": {"S3Uri": "s3://box/c", "LocalPath": "/etc"}}, "must lie below /opt/ml"),
    (
        {"CheckpointConfig": {"S3Uri": "s3://box/c", "LocalPath": "/opt/ml/model"}},
        "not where input, model, output or code",
    ),
    ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds must be given"),
    ({"StoppingCondition": {"MaxRuntimeInSeconds": 9, "MaxWaitTimeInSeconds": 9}}, "must be left out unless"),
    ({"Environment": {"A": "a\x00b"}}, "NUL"),
    ({"AlgorithmSpecification": algorithm("xgboost:1"), "HyperParameters": {"a\x00": "b"}}, "NUL"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_create_refuses_in_words(context: Context, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        training.create_training_job(context, request(**changes))
    assert reason in refused.value.message
    assert context.store.count("training-job") == 0


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (f"{ECR}/sagemaker-xgboost:1.7-1", {"num_round": "1"}),
        ("sagemaker-xgboost:latest", {"num_round": "1"}),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1", {"num_round": "1"}),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.1-cpu-py310@sha256:ab", None),
        ("pilothouse/script:1", None),
    ],
)
def test_awss_images_and_our_own_are_taken(context: Context, image: str, given: dict[str, str] | None) -> None:
    changes = {"HyperParameters": given} if given else {}
    training.create_training_job(context, request(AlgorithmSpecification=algorithm(image), **changes))


def test_json_quoted_hyperparameters_are_read_as_bare_ones_are(context: Context) -> None:
    given = {"sagemaker_program": '"a.py"', "sagemaker_submit_directory": '"s3://box/source.tar.gz"'}
    training.create_training_job(context, request(HyperParameters=given))
    assert training.describe_training_job(context, {"TrainingJobName": "job"})["HyperParameters"] == given


def test_a_name_is_taken_whatever_its_case(context: Context) -> None:
    training.create_training_job(context, request("Job"))
    with pytest.raises(ResourceInUse, match="a training job with this name already exists"):
        training.create_training_job(context, request("jOB"))


def test_describe_fills_in_what_aws_fills_in(context: Context) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    training.create_training_job(context, request(Tags=tags))
    job = training.describe_training_job(context, {"TrainingJobName": "JOB"})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("InProgress", "Starting")
    assert job["EnableNetworkIsolation"] is job["EnableManagedSpotTraining"] is False
    assert job["OutputDataConfig"]["KmsKeyId"] == ""
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": "s3://box/out/job/output/model.tar.gz"}
    assert job["InputDataConfig"][0]["CompressionType"] == "None"
    assert "Tags" not in job
    assert context.store.tags(job["TrainingJobArn"]) == {"a": "b"}


def test_a_built_in_algorithm_lists_its_metrics(context: Context) -> None:
    specification = algorithm("xgboost:1")
    training.create_training_job(
        context, request(AlgorithmSpecification=specification, HyperParameters={"num_round": "1"})
    )
    shown = training.describe_training_job(context, {"TrainingJobName": "job"})["AlgorithmSpecification"]
    assert "validation:auc" in [d["Name"] for d in shown["MetricDefinitions"]]


def test_jobs_are_listed_by_creation_and_filtered(context: Context) -> None:
    for name in ("b", "a", "c"):
        training.create_training_job(context, request(name))
    context.store.update("training-job", "c", status="Completed")

    def listed(**asked: Any) -> list[str]:
        return [job["TrainingJobName"] for job in training.list_training_jobs(context, asked)["TrainingJobSummaries"]]

    assert listed() == ["b", "a", "c"]
    assert listed(SortBy="Name", SortOrder="Descending") == ["c", "b", "a"]
    assert listed(StatusEquals="Completed") == ["c"]
    assert listed(WarmPoolStatusEquals="InUse") == []
    page = training.list_training_jobs(context, {"MaxResults": 2})
    assert len(page["TrainingJobSummaries"]) == 2
    assert listed(NextToken=page["NextToken"], MaxResults=2) == ["c"]


def test_only_a_job_that_has_not_ended_can_be_stopped_and_only_an_ended_one_deleted(context: Context) -> None:
    named = {"TrainingJobName": "job"}
    training.create_training_job(context, request())
    with pytest.raises(ResourceInUse, match="Stop it, and delete it once it has ended"):
        training.delete_training_job(context, named)
    training.stop_training_job(context, named)
    training.stop_training_job(context, named)  # a second time is no error
    assert training.describe_training_job(context, named)["TrainingJobStatus"] == "Stopping"
    context.store.update("training-job", "job", status="Stopped")
    with pytest.raises(ValidationError, match="has ended with status Stopped"):
        training.stop_training_job(context, named)
    training.delete_training_job(context, named)
    for operation in (training.describe_training_job, training.stop_training_job):
        with pytest.raises(ValidationError, match="Requested resource not found"):
            operation(context, named)
    with pytest.raises(ResourceNotFound):
        training.delete_training_job(context, named)
