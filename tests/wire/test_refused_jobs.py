"""AutoML jobs that contradict themselves, as boto3 hears of them: at once, in AWS's own form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
SPECIFICATION = "s3://bucket/features.json"


@pytest.fixture(scope="module")
def sagemaker(api: Any) -> Any:
    """A client of a server that holds a table with the columns age, weight and churn."""
    objects = api.context.objects
    objects.create_bucket("bucket")
    objects.put("bucket", "data/a.csv", b"age,weight,churn\n31,1,yes\n")
    objects.put("bucket", "features.json", json.dumps({"FeatureAttributeNames": ["age", "churn"]}).encode())
    return api.client("sagemaker")


def channel(uri: str = "s3://bucket/data/", **members: Any) -> dict[str, Any]:
    """A channel of a V1 request."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    return {"DataSource": source, "TargetAttributeName": "churn", **members}


def v2(**members: Any) -> dict[str, Any]:
    """A V2 request, but for its name."""
    given = channel()
    del given["TargetAttributeName"]
    return {
        "AutoMLJobInputDataConfig": [given],
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn"}},
        **members,
    }


BOTH = [channel(), channel(ChannelType="validation")]
LONG = "s3://bucket/" + "x" * 600

V1: dict[str, tuple[dict[str, Any], str]] = {
    "weight column missing": (
        {"InputDataConfig": [channel(SampleWeightAttributeName="heft")]},
        "Sample weight attribute name heft does not exist in header.",
    ),
    "target in the feature list": (
        {"AutoMLJobConfig": {"CandidateGenerationConfig": {"FeatureSpecificationS3Uri": SPECIFICATION}}},
        "FeatureAttributeNames must not include the target attribute churn.",
    ),
    "fraction with a validation channel": (
        {"InputDataConfig": BOTH, "AutoMLJobConfig": {"DataSplitConfig": {"ValidationFraction": 0.2}}},
        "DataSplitConfig.ValidationFraction cannot be combined with a validation channel.",
    ),
    "two training channels": (
        {"InputDataConfig": [channel(), channel(ChannelType="training")]},
        "Channel types ['training', 'training'] are not a valid combination.",
    ),
    "output path over its length": (
        {"OutputDataConfig": {"S3OutputPath": LONG}},
        "S3OutputPath must be 512 characters or less; it has 612.",
    ),
    "input path over its length": (
        {"InputDataConfig": [channel(LONG * 2)]},
        "1 validation error detected: Value 's3://bucket/",
    ),
    "metric of another problem": (
        {"ProblemType": "Regression", "AutoMLJobObjective": {"MetricName": "AUC"}},
        "Objective metric AUC is not supported for problem type Regression.",
    ),
    "target missing": (
        {"InputDataConfig": [channel() | {"TargetAttributeName": "Churn"}]},
        "Target attribute name Churn does not exist in header.",
    ),
}


@pytest.mark.parametrize("case", V1)
def test_a_job_that_contradicts_itself_is_refused_at_once(sagemaker: Any, case: str) -> None:
    changes, sentence = V1[case]
    request = {"InputDataConfig": [channel()], "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"}, **changes}
    _refused(sagemaker.create_auto_ml_job, sentence, request)
    assert sagemaker.list_auto_ml_jobs()["AutoMLJobSummaries"] == []


def test_a_metric_needs_its_problem_type(sagemaker: Any) -> None:
    request = v2(AutoMLJobObjective={"MetricName": "F1"}, OutputDataConfig={"S3OutputPath": "s3://bucket/out"})
    _refused(sagemaker.create_auto_ml_job_v2, "ProblemType and AutoMLJobObjective must be given together", request)
    first = {"InputDataConfig": [channel()], "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"}}
    objective = {"AutoMLJobObjective": {"MetricName": "F1"}}
    _refused(sagemaker.create_auto_ml_job, "AutoMLJobObjective needs a ProblemType", {**first, **objective})


def _refused(create: Any, sentence: str, request: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        create(AutoMLJobName="refused", RoleArn=ROLE, **request)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert answer["Error"]["Message"].startswith(sentence)
    assert answer["ResponseMetadata"]["RequestId"]
