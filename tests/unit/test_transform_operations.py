"""Transform jobs as rows: what is accepted, described with the service's defaults, listed in pages, stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import hosting, images
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import ResourceInUse, ValidationError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import transform
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/"}}
CONTAINER = {"Image": images.TABULAR_INFERENCE, "ModelDataUrl": "s3://bucket/model.tar.gz"}
JOB = "arn:aws:sagemaker:us-east-1:000000000000:automl-job/churn"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    objects = DirectoryObjects(settings.objects_root)
    objects.create_bucket("bucket")
    objects.put("bucket", "data/rows.csv", b"1,a\n")
    store.insert(hosting.MODEL, "m", hosting.model_request("m", [CONTAINER]))
    store.insert("automl-job", "Churn", {}, status="InProgress")
    for name, status in (("churn-dpp0", "Completed"), ("churn-dpp1", "Failed"), ("other", "InProgress")):
        request = {
            "TransformJobName": name,
            "ModelName": name,
            "TransformInput": {"DataSource": SOURCE, "ContentType": "text/csv", "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": "s3://bucket/transformed"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }
        state = {"AutoMLJobArn": JOB, "TransformStartTime": now()}
        if status == "Failed":
            state["FailureReason"] = "No columns are left."
        store.insert(transform.KIND, name, request, status=status, state=state, parent=("automl-job", "Churn"))
    yield Context(settings, store, objects)
    store.close()


def test_a_transform_job_is_described_with_the_services_defaults(context: Context) -> None:
    described = transform.describe_transform_job(context, {"TransformJobName": "Churn-DPP1"})
    assert described["TransformJobArn"] == "arn:aws:sagemaker:us-east-1:000000000000:transform-job/churn-dpp1"
    assert described["TransformJobStatus"] == "Failed"
    assert described["FailureReason"] == "No columns are left."
    assert described["AutoMLJobArn"] == JOB
    assert described["TransformInput"] == {
        "DataSource": SOURCE,
        "ContentType": "text/csv",
        "SplitType": "Line",
        "CompressionType": "None",
    }
    assert described["TransformOutput"]["KmsKeyId"] == ""
    assert described["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}


def test_a_missing_transform_job_is_a_validation_error(context: Context) -> None:
    with pytest.raises(ValidationError, match="Requested resource not found"):
        transform.describe_transform_job(context, {"TransformJobName": "ghost"})


def test_transform_jobs_are_filtered_sorted_and_paged(context: Context) -> None:
    def listed(**request: object) -> list[str]:
        answer = transform.list_transform_jobs(context, dict(request))
        return [summary["TransformJobName"] for summary in answer["TransformJobSummaries"]]

    assert listed() == ["other", "churn-dpp1", "churn-dpp0"]
    assert listed(NameContains="DPP", SortBy="Name", SortOrder="Ascending") == ["churn-dpp0", "churn-dpp1"]
    assert listed(StatusEquals="Failed") == ["churn-dpp1"]
    first = transform.list_transform_jobs(context, {"MaxResults": 2})
    assert listed(MaxResults=2, NextToken=first["NextToken"]) == ["churn-dpp0"]


def create(context: Context, name: str = "score", **members: Any) -> dict[str, Any]:
    """`source` and `target` are added to the members of TransformInput and TransformOutput."""
    request = {
        "TransformJobName": name,
        "ModelName": "m",
        "TransformInput": {"DataSource": SOURCE, "ContentType": "text/csv", **members.pop("source", {})},
        "TransformOutput": {"S3OutputPath": "s3://bucket/out", **members.pop("target", {})},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **members,
    }
    return transform.create_transform_job(context, request)


LINES = {"SplitType": "Line"}


def test_a_created_transform_job_pins_its_model(context: Context) -> None:
    arn = create(context, Tags=[{"Key": "a", "Value": "b"}])["TransformJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:transform-job/score"
    row = context.store.get(transform.KIND, "score")
    assert row is not None
    assert (row.status, row.state["_containers"], row.parent) == ("InProgress", [CONTAINER], None)
    with pytest.raises(ResourceInUse, match="already exists"):
        create(context, "SCORE")


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"ModelName": "gone"}, "Could not find model"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://gone/x"}}, 'The bucket "gone" of DestinationS3Uri'),
        (
            {
                "DataCaptureConfig": {"DestinationS3Uri": "s3://bucket/x", "GenerateInferenceId": True},
                "target": {"Accept": "application/x-recordio-protobuf"},
            },
            "GenerateInferenceId needs text/csv",
        ),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, "must not exceed 100"),
        ({"MaxPayloadInMB": 0, "MaxConcurrentTransforms": 2}, "must be 1"),
        ({"BatchStrategy": "SingleRecord"}, "BatchStrategy needs a SplitType"),
        ({"source": {"ContentType": "text/csv; charset=utf\u20118"}}, "ContentType must consist of printable US-ASCII"),
        ({"target": {"Accept": "text/csv\rx"}}, "Accept must consist of printable US-ASCII"),
        ({"source": {"SplitType": "TFRecord"}}, "No container here reads TFRecord"),
        ({"source": {**LINES, "ContentType": "text/csv; header=present"}}, "Files with a header can't be split"),
        ({"source": {**LINES, "ContentType": 'text/csv;Header="present"'}}, "Files with a header can't be split"),
        ({"source": {**LINES, "ContentType": 'text/csv; charset="UTF-16"'}}, "Lines can't be told apart"),
        ({"target": {"S3OutputPath": "s3://nowhere/x"}}, 'The bucket "nowhere" of S3OutputPath does not exist.'),
        (
            {"source": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/no"}}}},
            "No S3 obj",
        ),
        ({"DataProcessing": {"JoinSource": "Input"}}, "need SplitType Line"),
        (
            {"DataProcessing": {"JoinSource": "Input"}, "source": {"ContentType": "application/json"}},
            "SplitType None and application/json as both",
        ),
        ({"DataProcessing": {"InputFilter": "$..x"}, "source": LINES}, "no JSONPath that is served"),
        ({"DataProcessing": {"InputFilter": "$.x"}, "source": LINES}, "rows of CSV have places only"),
        (
            {"DataProcessing": {"JoinSource": "Input"}, "source": LINES, "target": {"Accept": "application/jsonlines"}},
            "the same format in ContentType and Accept",
        ),
        (
            {
                "DataProcessing": {"JoinSource": "Input"},
                "source": LINES,
                "Environment": {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/jsonlines"},
            },
            "the same format in ContentType and Accept, or as the container's default.",
        ),
    ],
)
def test_a_transform_job_that_could_not_be_done_is_refused_at_once(
    context: Context, members: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        create(context, **members)
    assert part in caught.value.message
    assert context.store.get(transform.KIND, "score") is None


def test_a_document_of_json_may_be_filtered_and_joined(context: Context) -> None:
    types = {"source": {"ContentType": "application/json"}, "target": {"Accept": "application/json"}}
    assert create(context, DataProcessing={"JoinSource": "Input", "InputFilter": "$.rows"}, **types)


def test_a_direct_model_has_no_answer_of_its_own(context: Context) -> None:
    direct = {"InferenceExecutionConfig": {"Mode": "Direct"}, "Containers": [{**CONTAINER, "ContainerHostname": "a"}]}
    context.store.insert(hosting.MODEL, "direct", {"ModelName": "direct", **direct})
    with pytest.raises(ValidationError, match="Mode is Direct"):
        create(context, ModelName="direct")


def test_stopping_asks_once_and_refuses_after_the_end(context: Context) -> None:
    create(context)
    for _ in range(2):
        transform.stop_transform_job(context, {"TransformJobName": "score"})
    described = transform.describe_transform_job(context, {"TransformJobName": "score"})
    assert described["TransformJobStatus"] == "Stopping"
    context.store.update(transform.KIND, "score", status="Stopped")
    with pytest.raises(ValidationError, match="ended with status Stopped"):
        transform.stop_transform_job(context, {"TransformJobName": "score"})


def test_a_step_of_an_automl_job_is_stopped_with_it(context: Context) -> None:
    with pytest.raises(ValidationError, match="is a step of automl-job Churn"):
        transform.stop_transform_job(context, {"TransformJobName": "other"})
