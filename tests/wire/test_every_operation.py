"""Every operation served, called by boto3; its answer is held against botocore's own output shape."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import Shape

from pilothouse.catalog import hosting, images
from pilothouse.clock import now
from pilothouse.operations.table import SERVED

ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
JOB_ARN = "arn:aws:sagemaker:us-east-1:000000000000:automl-job/one"
SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://oracle/data"}}
OBJECTIVE = {"Type": "Minimize", "MetricName": "train:rmse"}
OUTPUT = {"S3OutputPath": "s3://oracle/out"}
CONTAINER = {"Image": images.TABULAR_INFERENCE, "ModelDataUrl": "s3://oracle/model.tar.gz", "Environment": {"A": "b"}}
VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
MEASURED = {
    "Namespace": "/aws/sagemaker/TrainingJobs",
    "MetricName": "train:rmse",
    "Dimensions": [{"Name": "TrainingJobName", "Value": "other"}],
}
DAY = {"StartTime": datetime.fromtimestamp(now() - 3000), "EndTime": datetime.fromtimestamp(now() + 3000)}

CALLS: dict[str, dict[str, dict[str, Any]]] = {
    "sagemaker": {
        "CreateAutoMLJob": {
            "AutoMLJobName": "one",
            "InputDataConfig": [{"DataSource": SOURCE, "TargetAttributeName": "y"}],
            "OutputDataConfig": OUTPUT,
            "RoleArn": ROLE,
            "Tags": [{"Key": "team", "Value": "a"}],
        },
        "CreateAutoMLJobV2": {
            "AutoMLJobName": "two",
            "AutoMLJobInputDataConfig": [{"DataSource": SOURCE, "ChannelType": "training"}],
            "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
            "OutputDataConfig": OUTPUT,
            "RoleArn": ROLE,
        },
        "DescribeAutoMLJob": {"AutoMLJobName": "two"},
        "DescribeAutoMLJobV2": {"AutoMLJobName": "one"},
        "ListAutoMLJobs": {"NameContains": "o", "CreationTimeAfter": datetime(2020, 1, 1)},
        "ListCandidatesForAutoMLJob": {"AutoMLJobName": "one"},
        "DescribeProcessingJob": {"ProcessingJobName": "one-a"},
        "ListProcessingJobs": {},
        "DescribeTransformJob": {"TransformJobName": "one-a-transform"},
        "ListTransformJobs": {"StatusEquals": "Completed"},
        "CreateTrainingJob": {
            "TrainingJobName": "train",
            "AlgorithmSpecification": {"TrainingImage": "sagemaker-xgboost:1.7-1", "TrainingInputMode": "File"},
            "HyperParameters": {"num_round": "3"},
            "InputDataConfig": [{"ChannelName": "train", "DataSource": SOURCE, "ContentType": "text/csv"}],
            "OutputDataConfig": OUTPUT,
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            "RoleArn": ROLE,
        },
        "DescribeTrainingJob": {"TrainingJobName": "train"},
        "ListTrainingJobs": {"StatusEquals": "Completed"},
        "StopTrainingJob": {"TrainingJobName": "other"},
        "DeleteTrainingJob": {"TrainingJobName": "train"},
        "CreateHyperParameterTuningJob": {
            "HyperParameterTuningJobName": "tune",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": OBJECTIVE,
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
                "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0", "MaxValue": "1"}]},
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": {"num_round": "3"},
                "AlgorithmSpecification": {"TrainingImage": "sagemaker-xgboost:1.7-1", "TrainingInputMode": "File"},
                "InputDataConfig": [{"ChannelName": "train", "DataSource": SOURCE, "ContentType": "text/csv"}],
                "OutputDataConfig": OUTPUT,
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                "RoleArn": ROLE,
            },
        },
        "DescribeHyperParameterTuningJob": {"HyperParameterTuningJobName": "tune"},
        "ListHyperParameterTuningJobs": {"StatusEquals": "Completed"},
        "ListTrainingJobsForHyperParameterTuningJob": {
            "HyperParameterTuningJobName": "tune",
            "SortBy": "FinalObjectiveMetricValue",
        },
        "DeleteHyperParameterTuningJob": {"HyperParameterTuningJobName": "tune"},
        "StopHyperParameterTuningJob": {"HyperParameterTuningJobName": "other"},
        "AddTags": {"ResourceArn": JOB_ARN, "Tags": [{"Key": "stage", "Value": "b"}]},
        "ListTags": {"ResourceArn": JOB_ARN},
        "DeleteTags": {"ResourceArn": JOB_ARN, "TagKeys": ["stage"]},
        "CreateModel": {"ModelName": "m", "PrimaryContainer": CONTAINER, "ExecutionRoleArn": ROLE},
        "CreateTransformJob": {
            "TransformJobName": "score",
            "ModelName": "m",
            "TransformInput": {"DataSource": SOURCE, "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": "s3://oracle/out"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
        "StopTransformJob": {"TransformJobName": "score"},
        "DescribeModel": {"ModelName": "m"},
        "ListModels": {},
        "CreateEndpointConfig": {"EndpointConfigName": "c", "ProductionVariants": [VARIANT]},
        "DescribeEndpointConfig": {"EndpointConfigName": "c"},
        "ListEndpointConfigs": {},
        "CreateEndpoint": {"EndpointName": "e", "EndpointConfigName": "c"},
        "DescribeEndpoint": {"EndpointName": "e"},
        "ListEndpoints": {},
        "UpdateEndpoint": {"EndpointName": "served", "EndpointConfigName": "c"},
        "UpdateEndpointWeightsAndCapacities": {
            "EndpointName": "adjusted",
            "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredWeight": 2.0}],
        },
        "DeleteEndpoint": {"EndpointName": "e"},
        "DeleteEndpointConfig": {"EndpointConfigName": "c"},
        "DeleteModel": {"ModelName": "m"},
        "StopAutoMLJob": {"AutoMLJobName": "one"},
    },
    "logs": {
        "DescribeLogGroups": {},
        "DescribeLogStreams": {"logGroupName": "/aws/sagemaker/AutoMLJobs"},
        "FilterLogEvents": {"logGroupName": "/aws/sagemaker/AutoMLJobs"},
        "GetLogEvents": {"logGroupName": "/aws/sagemaker/AutoMLJobs", "logStreamName": "one/job"},
    },
    "cloudwatch": {
        "GetMetricStatistics": {**MEASURED, "Period": 60, "Statistics": ["Average"], **DAY},
        "GetMetricData": {
            "MetricDataQueries": [{"Id": "q", "MetricStat": {"Metric": MEASURED, "Period": 60, "Stat": "Average"}}],
            **DAY,
        },
    },
    "sts": {"GetCallerIdentity": {}},
    "iam": {
        "GetRole": {"RoleName": "someone"},
        "SimulatePrincipalPolicy": {"PolicySourceArn": ROLE, "ActionNames": ["s3:GetObject", "logs:PutLogEvents"]},
    },
}
IN_ORDER = [(service, operation) for service, calls in CALLS.items() for operation in calls]
EXTENDED = ("LogLoss", "InferenceLatency")
"""Metrics that AWS's enum of MetricName lacks; candidates report them under both names all the same."""


@pytest.fixture(scope="module", autouse=True)
def data(api: Any) -> None:
    """Data, an archive, and what a job process would have written by now."""
    objects, store = api.context.objects, api.context.store
    objects.create_bucket("oracle")
    objects.put("oracle", "data/train.csv", io.BytesIO(b"x,y\n1,a\n"))
    objects.put("oracle", "model.tar.gz", b"archive")
    store.logs.append("/aws/sagemaker/AutoMLJobs", "one/job", ["Starting"])
    store.logs.append("/aws/sagemaker/TrainingJobs", "other/algo-1", ["[0]#011train-rmse:0.5"])


def written_by_the_job(store: Any) -> None:
    """A finished candidate and its step, as the job process writes them."""
    step = {
        "ProcessingJobName": "one-a",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 50}
        },
        "AppSpecification": {"ImageUri": images.TABULAR_TRAINING},
        "RoleArn": ROLE,
    }
    transform = {
        "TransformJobName": "one-a-transform",
        "ModelName": "one-a",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://oracle/data"}}},
        "TransformOutput": {"S3OutputPath": "s3://oracle/transformed"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    store.insert("transform-job", "one-a-transform", transform, status="Completed", state={"TransformEndTime": now()})
    row = store.insert("processing-job", "one-a", step, status="Completed", state={"ProcessingEndTime": now()})
    metric = {"MetricName": "F1", "StandardMetricName": "F1", "Value": 0.5}
    state = {
        "ObjectiveStatus": "Succeeded",
        "FinalAutoMLJobObjectiveMetric": {"Type": "Maximize", **metric},
        "CandidateSteps": [
            {
                "CandidateStepType": "AWS::SageMaker::ProcessingJob",
                "CandidateStepArn": row.arn,
                "CandidateStepName": "one-a",
            }
        ],
        "InferenceContainers": [CONTAINER],
        "CandidateProperties": {"CandidateMetrics": [{**metric, "Set": "Validation"}]},
        "EndTime": now(),
    }
    store.insert("candidate", "one-a", {}, status="Completed", state=state, parent=("automl-job", "one"))
    resolved = {"ProblemType": "BinaryClassification", "AutoMLJobObjective": {"MetricName": "F1"}}
    store.update("automl-job", "one", state={"_best": "one-a", "ResolvedAttributes": resolved})


def faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Where `value`, an answer as botocore parsed it, is not what `shape` promises."""
    if shape.type_name == "structure":
        yield from (f"{path}.{name} is missing" for name in shape.required_members if name not in value)
        yield from (f"{path}.{name} is not in the model" for name in value if name not in shape.members)
        for name, member in value.items():
            if name in shape.members:
                yield from faults(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for i, member in enumerate(value):
            yield from faults(shape.member, member, f"{path}[{i}]")
    elif getattr(shape, "enum", None) and value not in [*shape.enum, *EXTENDED]:
        yield f"{path} is {value!r}, none of {shape.enum}"
    elif shape.type_name == "timestamp" and abs(value.timestamp() - now()) > 3600 and "iam" not in path:
        yield f"{path} is {value}"


def trained(store: Any) -> None:
    """An ended training job, as its job process leaves it, and another that runs."""
    one = {"Status": "Completed", "StartTime": now(), "EndTime": now(), "StatusMessage": "Training job completed"}
    state = {
        "SecondaryStatus": "Completed",
        "SecondaryStatusTransitions": [one],
        "TrainingStartTime": now(),
        "TrainingEndTime": now(),
        "TrainingTimeInSeconds": 1,
        "BillableTimeInSeconds": 1,
        "FinalMetricDataList": [{"MetricName": "train:rmse", "Value": 0.5, "Timestamp": now()}],
        "_private": "is not shown",
    }
    row = store.update("training-job", "train", status="Completed", state=state)
    store.insert("training-job", "other", {**row.request, "TrainingJobName": "other"}, status="InProgress")


def tuned(store: Any) -> None:
    """An ended tuning job with a trial, as its job process leaves it, and another that runs."""
    kind, trial = "hyper-parameter-tuning-job", {"number": 0, "definition": 0, "values": {"eta": "0.5"}}
    store.insert(
        "training-job",
        "tune-001-0123abcd",
        {},
        status="Completed",
        state={
            "_trial": {**trial, "objective": OBJECTIVE},
            "_objective": {"value": 0.5, "ended": 0},
            "TrainingStartTime": now(),
            "TrainingEndTime": now(),
        },
        parent=(kind, "tune"),
    )
    state = {
        "_best": {"job": "tune-001-0123abcd"},
        "_overall_best": {"job": "tune-001-0123abcd", "parent": "before"},
        "HyperParameterTuningEndTime": now(),
        "TuningJobCompletionDetails": {
            "NumberOfTrainingJobsObjectiveNotImproving": 0,
            "ConvergenceDetectedTime": now(),
        },
        "ConsumedResources": {"RuntimeInSeconds": 1},
    }
    row = store.update(kind, "tune", status="Completed", state=state)
    store.insert(kind, "other", {**row.request, "HyperParameterTuningJobName": "other"}, status="InProgress")


def deployed(store: Any) -> None:
    """An endpoint in service, as the reconciler leaves it, and two more."""
    row = store.get("endpoint", "e")
    state = row.state | hosting.described_variants(row.state["_variants"], now())
    store.update("endpoint", "e", status="InService", state=state)
    for name in ("served", "adjusted"):
        store.insert("endpoint", name, row.request, status="InService", state=state)


def method(client: Any, operation: str) -> Callable[..., Any]:
    names = {api_name: python for python, api_name in client.meta.method_to_api_mapping.items()}
    return getattr(client, names[operation])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("service", "operation"), IN_ORDER)
def test_an_answer_is_what_the_service_model_promises(api: Any, service: str, operation: str) -> None:
    client = api.client(service)
    answer = method(client, operation)(**CALLS[service][operation])
    if operation == "CreateAutoMLJob":
        written_by_the_job(api.context.store)
    if operation == "CreateTrainingJob":
        trained(api.context.store)
    if operation == "CreateHyperParameterTuningJob":
        tuned(api.context.store)
    if operation == "CreateEndpoint":
        deployed(api.context.store)
    assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    shape = client.meta.service_model.operation_model(operation).output_shape
    if shape is None:
        assert answer == {}
    else:
        assert list(faults(shape, answer, f"{service}.{operation}")) == []


def test_every_operation_served_is_judged() -> None:
    assert set(IN_ORDER) == {(service, operation) for service in SERVED for operation in SERVED[service]}


def test_each_kind_takes_tags_when_it_is_made_and_later(api: Any) -> None:
    sagemaker, store = api.client("sagemaker"), api.context.store
    for operation in ("CreateModel", "CreateEndpointConfig"):
        method(sagemaker, operation)(**CALLS["sagemaker"][operation])
    given, more = [{"Key": "team", "Value": "a"}], [{"Key": "stage", "Value": "b"}]
    arns = [store.get("processing-job", "one-a").arn]
    store.add_tags(arns[0], given)
    for number, (operation, request) in enumerate(CALLS["sagemaker"].items()):
        if operation.startswith("Create"):
            named = {next(iter(request)): f"tagged-{number}"}
            answer = method(sagemaker, operation)(**{**request, **named, "Tags": given})
            arns.append(next(value for member, value in answer.items() if member.endswith("Arn")))
    assert len({arn.split(":")[5].split("/")[0] for arn in arns}) == 8
    for arn in arns:
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == given
        assert sagemaker.add_tags(ResourceArn=arn, Tags=more)["Tags"] == more + given
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == more


@pytest.mark.parametrize("keys", [("aws:own",), ("AWS:own",), ("twice", "twice")])
def test_tags_that_cannot_be_are_refused_when_something_is_made(api: Any, keys: tuple[str, ...]) -> None:
    sagemaker, request = api.client("sagemaker"), {**CALLS["sagemaker"]["CreateModel"], "ModelName": "untagged"}
    with pytest.raises(ClientError, match=r"aws: are reserved|the key twice twice"):
        sagemaker.create_model(**request, Tags=[{"Key": key, "Value": "v"} for key in keys])
    assert api.context.store.get("model", "untagged") is None
