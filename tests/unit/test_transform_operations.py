"""Transform jobs as an AutoML job's process writes them: described with the service's defaults, and listed in pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import ValidationError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import transform
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/"}}
JOB = "arn:aws:sagemaker:us-east-1:000000000000:automl-job/churn"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
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
        store.insert(transform.KIND, name, request, status=status, state=state)
    yield Context(settings, store, DirectoryObjects(settings.objects_root))
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
