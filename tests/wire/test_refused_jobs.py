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


def v2(*channels: dict[str, Any], tabular: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """A V2 request, with `tabular` in its TabularJobConfig. Its channels don't name the target."""
    given = [dict(one) for one in channels or (channel(),)]
    for one in given:
        del one["TargetAttributeName"]
    config = {"TargetAttributeName": "churn", **(tabular or {})}
    return {"AutoMLJobInputDataConfig": given, "AutoMLProblemTypeConfig": {"TabularJobConfig": config}, **members}


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
    "metric without its problem type": (
        {"AutoMLJobObjective": {"MetricName": "F1"}},
        "AutoMLJobObjective needs a ProblemType",
    ),
    "target missing": (
        {"InputDataConfig": [channel() | {"TargetAttributeName": "Churn"}]},
        "Target attribute name Churn does not exist in header.",
    ),
}


V2: dict[str, tuple[dict[str, Any], str]] = {
    "weight column missing": (
        v2(tabular={"SampleWeightAttributeName": "heft"}),
        "Sample weight attribute name heft does not exist in header.",
    ),
    "weight that is the target": (
        v2(tabular={"SampleWeightAttributeName": "churn"}),
        "SampleWeightAttributeName must not be the target attribute.",
    ),
    "target in the feature list": (
        v2(tabular={"FeatureSpecificationS3Uri": SPECIFICATION}),
        "FeatureAttributeNames must not include the target attribute churn.",
    ),
    "fraction with a validation channel": (
        v2(*BOTH, DataSplitConfig={"ValidationFraction": 0.2}),
        "DataSplitConfig.ValidationFraction cannot be combined with a validation channel.",
    ),
    "two training channels": (
        v2(channel(), channel(ChannelType="training")),
        "Channel types ['training', 'training'] are not a valid combination.",
    ),
    "output path over its length": (
        v2(OutputDataConfig={"S3OutputPath": LONG}),
        "S3OutputPath must be 512 characters or less; it has 612.",
    ),
    "metric without its problem type": (
        v2(AutoMLJobObjective={"MetricName": "F1"}),
        "ProblemType and AutoMLJobObjective must be given together",
    ),
    "problem type without its metric": (
        v2(tabular={"ProblemType": "Regression"}),
        "ProblemType and AutoMLJobObjective must be given together",
    ),
    "metric of another problem": (
        v2(tabular={"ProblemType": "Regression"}, AutoMLJobObjective={"MetricName": "AUC"}),
        "Objective metric AUC is not supported for problem type Regression.",
    ),
    "runtimes": (
        v2(
            tabular={
                "CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 60, "MaxAutoMLJobRuntimeInSeconds": 30}
            }
        ),
        "MaxAutoMLJobRuntimeInSeconds (30) must be equal to or greater than MaxRuntimePerTrainingJobInSeconds (60).",
    ),
    "algorithm of the other mode": (
        v2(
            tabular={
                "Mode": "HYPERPARAMETER_TUNING",
                "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["catboost"]}]},
            }
        ),
        "Algorithms catboost are not available in mode HYPERPARAMETER_TUNING.",
    ),
    "definitions with a deployment": (
        v2(tabular={"GenerateCandidateDefinitionsOnly": True}, ModelDeployConfig={"AutoGenerateEndpointName": True}),
        "ModelDeployConfig cannot be combined with GenerateCandidateDefinitionsOnly",
    ),
    "target missing": (
        v2(tabular={"TargetAttributeName": "Churn"}),
        "Target attribute name Churn does not exist in header.",
    ),
}


@pytest.mark.parametrize("case", V1)
def test_a_job_that_contradicts_itself_is_refused_at_once(sagemaker: Any, case: str) -> None:
    changes, sentence = V1[case]
    _refused(sagemaker, sagemaker.create_auto_ml_job, sentence, {"InputDataConfig": [channel()], **changes})


@pytest.mark.parametrize("case", V2)
def test_so_is_one_of_the_second_version(sagemaker: Any, case: str) -> None:
    changes, sentence = V2[case]
    _refused(sagemaker, sagemaker.create_auto_ml_job_v2, sentence, changes)


def _refused(sagemaker: Any, create: Any, sentence: str, request: dict[str, Any]) -> None:
    output = {"S3OutputPath": "s3://bucket/out"}
    with pytest.raises(ClientError) as caught:
        create(**{"AutoMLJobName": "refused", "RoleArn": ROLE, "OutputDataConfig": output, **request})
    assert sagemaker.list_auto_ml_jobs()["AutoMLJobSummaries"] == []
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert answer["Error"]["Message"].startswith(sentence)
    assert answer["ResponseMetadata"]["RequestId"]
