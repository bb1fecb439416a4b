"""What CreateHyperParameterTuningJob refuses; what Describe, the lists, Stop and Delete of tuning jobs answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pilothouse import composition
from pilothouse.config import Settings
from pilothouse.errors import LeaseLost, ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.operations import training, tuning
from pilothouse.operations.context import Context
from pilothouse.work.failure import fail
from pilothouse.work.kinds import KINDS

KIND = "hyper-parameter-tuning-job"
SCRIPT = {"sagemaker_program": "a.py", "sagemaker_submit_directory": "s3://box/source.tar.gz"}
DEFINITIONS = [{"Name": "acc", "Regex": "acc=(.*)"}]


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


def objective(metric: str = "acc") -> dict[str, str]:
    return {"Type": "Maximize", "MetricName": metric}


def config(metric: str = "acc", **changes: Any) -> dict[str, Any]:
    document = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": objective(metric),
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "1"}]},
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def algorithm(image: str = "pytorch-training:2.1", definitions: Any = DEFINITIONS) -> dict[str, Any]:
    given = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": definitions}
    return {name: value for name, value in given.items() if value is not None}


def definition(**changes: Any) -> dict[str, Any]:
    document = {
        "StaticHyperParameters": SCRIPT,
        "AlgorithmSpecification": algorithm(),
        "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
        "OutputDataConfig": {"S3OutputPath": "s3://box/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def request(name: str = "tune", **changes: Any) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config(),
        "TrainingJobDefinition": definition(),
        **changes,
    }


def trained(context: Context, number: int, value: float | None, status: str = "Completed") -> str:
    """A trial, as the job process leaves it."""
    name = f"tune-{number:03d}-0123abcd"
    kept = {"number": number - 1, "definition": 0, "values": {"lr": "0.5"}, "objective": objective()}
    state = {"_trial": kept, "_objective": {"value": value, "ended": number - 1}}
    row = {**definition(), "TrainingJobName": name}
    context.store.insert("training-job", name, row, status=status, state=state, parent=(KIND, "tune"))
    return name


@pytest.fixture
def failed(context: Context) -> dict[str, Any]:
    """The description of a job that is given up while one of its two trials runs."""
    tuning.create_hyper_parameter_tuning_job(context, request())
    trained(context, 1, 0.75)
    trained(context, 2, None, "InProgress")
    lease = context.store.leases.claim([KIND], owner="test", ttl=60)
    assert lease is not None
    fail(context.store, KINDS[KIND], lease, "The job process ended unexpectedly.")
    return tuning.describe_hyper_parameter_tuning_job(context, {"HyperParameterTuningJobName": "tune"})


BUILT_IN = {"StaticHyperParameters": {"num_round": "3"}, "AlgorithmSpecification": algorithm("xgboost:1", None)}
WARM = {"WarmStartType": "TransferLearning", "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "old"}]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"TrainingJobDefinition": definition(ResourceConfig=None)}, "Exactly one of ResourceConfig and"),
    (
        {"TrainingJobDefinition": definition(HyperParameterTuningResourceConfig={"InstanceCount": 1})},
        "Exactly one of ResourceConfig and",
    ),
    ({"TrainingJobDefinition": definition(AlgorithmSpecification=algorithm("busybox"))}, "busybox cannot run here"),
    ({"TrainingJobDefinition": definition(StaticHyperParameters={})}, "name it in the hyperparameter"),
    (
        {"TrainingJobDefinition": definition(AlgorithmSpecification=algorithm(definitions=None))},
        "'acc' needs a MetricDefinition",
    ),
    (
        {
            "TrainingJobDefinition": definition(
                AlgorithmSpecification=algorithm(definitions=[{"Name": "acc", "Regex": "x"}])
            )
        },
        "no capturing group",
    ),
    ({"HyperParameterTuningJobConfig": config("loss")}, "'loss' is not one of its MetricDefinitions: acc"),
    ({"TrainingJobDefinition": definition(**BUILT_IN)}, "not one of the metrics that the built-in algorithm emits"),
    (
        {
            "TrainingJobDefinition": definition(
                InputDataConfig=[
                    {
                        "ChannelName": "train",
                        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://box/none"}},
                    }
                ]
            )
        },
        'No S3 objects found under S3 URL "s3://box/none"',
    ),
    ({"HyperParameterTuningJobConfig": config(Strategy="Grid")}, "supports only categorical hyperparameters"),
    ({"WarmStartConfig": WARM}, "The parent tuning job 'old' does not exist"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_create_refuses_in_words(context: Context, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        tuning.create_hyper_parameter_tuning_job(context, request(**changes))
    assert reason in refused.value.message
    assert context.store.count(KIND) == 0


def test_a_parent_that_runs_cannot_be_started_from(context: Context) -> None:
    tuning.create_hyper_parameter_tuning_job(context, request("old"))
    with pytest.raises(ValidationError, match="has status InProgress; it must have ended"):
        tuning.create_hyper_parameter_tuning_job(context, request(WarmStartConfig=WARM))
    context.store.update(KIND, "old", status="Completed")
    tuning.create_hyper_parameter_tuning_job(context, request(WarmStartConfig=WARM))


def test_a_name_is_taken_whatever_its_case(context: Context) -> None:
    tuning.create_hyper_parameter_tuning_job(context, request("Tune"))
    with pytest.raises(ResourceInUse, match="a tuning job with this name already exists"):
        tuning.create_hyper_parameter_tuning_job(context, request("tUNE"))


def test_describe_shows_the_objective_among_the_static_hyperparameters(context: Context) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    tuning.create_hyper_parameter_tuning_job(context, request(Tags=tags))
    job = tuning.describe_hyper_parameter_tuning_job(context, {"HyperParameterTuningJobName": "TUNE"})
    assert job["TrainingJobDefinition"]["StaticHyperParameters"] == {**SCRIPT, "_tuning_objective_metric": "acc"}
    assert job["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] == "Off"
    assert job["HyperParameterTuningJobStatus"] == "InProgress"
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0
    assert "Tags" not in job
    assert context.store.tags(job["HyperParameterTuningJobArn"]) == {"a": "b"}


def test_describe_shows_resources_and_the_metrics_of_a_built_in_algorithm(context: Context) -> None:
    prioritized = {
        "AllocationStrategy": "Prioritized",
        "InstanceConfigs": [{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 2}],
    }
    one = definition(**BUILT_IN, ResourceConfig=None, HyperParameterTuningResourceConfig=prioritized)
    changes = {"HyperParameterTuningJobConfig": config("validation:auc"), "TrainingJobDefinition": one}
    tuning.create_hyper_parameter_tuning_job(context, request(**changes))
    job = tuning.describe_hyper_parameter_tuning_job(context, {"HyperParameterTuningJobName": "tune"})
    shown = job["TrainingJobDefinition"]
    assert shown["ResourceConfig"]["VolumeSizeInGB"] == 2
    assert "validation:auc" in [metric["Name"] for metric in shown["AlgorithmSpecification"]["MetricDefinitions"]]


def test_tuning_jobs_are_listed_by_name_and_filtered(context: Context) -> None:
    for name in ("b", "a", "c"):
        tuning.create_hyper_parameter_tuning_job(context, request(name))
    context.store.update(KIND, "c", status="Completed")

    def listed(**asked: Any) -> list[str]:
        answer = tuning.list_hyper_parameter_tuning_jobs(context, asked)
        return [job["HyperParameterTuningJobName"] for job in answer["HyperParameterTuningJobSummaries"]]

    assert listed() == ["a", "b", "c"]
    assert listed(SortBy="CreationTime", SortOrder="Descending") == ["c", "a", "b"]
    assert listed(StatusEquals="Completed") == ["c"]
    assert listed(NameContains="B") == ["b"]


def test_training_jobs_are_listed_by_name_or_by_the_objective(context: Context) -> None:
    tuning.create_hyper_parameter_tuning_job(context, request())
    first, second, third = trained(context, 1, 0.5), trained(context, 2, 0.9), trained(context, 3, None)
    stopped, diverged = trained(context, 4, 0.7, "Stopped"), trained(context, 5, float("nan"))

    def listed(**asked: Any) -> list[str]:
        asked["HyperParameterTuningJobName"] = "tune"
        answer = tuning.list_training_jobs_for_hyper_parameter_tuning_job(context, asked)
        return [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]]

    assert listed() == [first, second, third, stopped, diverged]
    assert listed(SortBy="FinalObjectiveMetricValue") == [first, stopped, second]
    assert listed(SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=2) == [second, stopped]
    assert listed(StatusEquals="Stopped") == [stopped]
    all_of_them = tuning.list_training_jobs_for_hyper_parameter_tuning_job(
        context, {"HyperParameterTuningJobName": "tune"}
    )["TrainingJobSummaries"]
    assert [job["ObjectiveStatus"] for job in all_of_them] == [
        "Succeeded",
        "Succeeded",
        "Failed",
        "Succeeded",
        "Failed",
    ]
    assert all_of_them[0]["TunedHyperParameters"] == {"lr": "0.5"}
    with pytest.raises(ResourceNotFound):
        tuning.list_training_jobs_for_hyper_parameter_tuning_job(context, {"HyperParameterTuningJobName": "none"})


def test_delete_takes_the_record_and_leaves_the_training_jobs(context: Context) -> None:
    named = {"HyperParameterTuningJobName": "tune"}
    tuning.create_hyper_parameter_tuning_job(context, request())
    child = trained(context, 1, 0.5)
    with pytest.raises(ResourceInUse, match="Stop it, and delete it once it has ended"):
        tuning.delete_hyper_parameter_tuning_job(context, named)
    with pytest.raises(ResourceInUse, match="belongs to hyper-parameter-tuning-job tune"):
        training.delete_training_job(context, {"TrainingJobName": child})
    tuning.stop_hyper_parameter_tuning_job(context, named)
    tuning.stop_hyper_parameter_tuning_job(context, named)  # a second time is no error
    context.store.update(KIND, "tune", status="Stopped")
    with pytest.raises(ValidationError, match="has ended with status Stopped"):
        tuning.stop_hyper_parameter_tuning_job(context, named)
    tuning.delete_hyper_parameter_tuning_job(context, named)
    for operation in (
        tuning.describe_hyper_parameter_tuning_job,
        tuning.stop_hyper_parameter_tuning_job,
        tuning.delete_hyper_parameter_tuning_job,
    ):
        with pytest.raises(ResourceNotFound):
            operation(context, named)
    assert training.describe_training_job(context, {"TrainingJobName": child})["TrainingJobStatus"] == "Completed"
    training.delete_training_job(context, {"TrainingJobName": child})


def test_a_job_that_was_given_up_shows_nothing_under_way(context: Context, failed: dict[str, Any]) -> None:
    assert failed["HyperParameterTuningJobStatus"] == "Failed"
    assert failed["FailureReason"] == "The job process ended unexpectedly."
    counted = failed["TrainingJobStatusCounters"] | failed["ObjectiveStatusCounters"]
    assert {name: count for name, count in counted.items() if count} == {
        "Completed": 1, "RetryableError": 1, "Succeeded": 1, "Failed": 1,
    }  # fmt: skip
    assert failed["BestTrainingJob"]["TrainingJobName"] == "tune-001-0123abcd"
    assert failed["HyperParameterTuningEndTime"] > 0
    answer = tuning.list_training_jobs_for_hyper_parameter_tuning_job(context, {"HyperParameterTuningJobName": "tune"})
    second = answer["TrainingJobSummaries"][1]
    assert (second["TrainingJobStatus"], second["ObjectiveStatus"]) == ("Failed", "Failed")
    assert second["FailureReason"].startswith("InternalServerError: ")
    assert second["TrainingEndTime"] > 0


def test_who_lost_the_lease_ends_nothing(context: Context) -> None:
    tuning.create_hyper_parameter_tuning_job(context, request())
    name = trained(context, 1, None, "InProgress")
    lease = context.store.leases.claim([KIND], owner="test", ttl=60)
    assert lease is not None
    with pytest.raises(LeaseLost):
        fail(context.store, KINDS[KIND], replace(lease, token="another's"), "It failed.")
    for kind, row in ((KIND, "tune"), ("training-job", name)):
        found = context.store.get(kind, row)
        assert found is not None
        assert found.status == "InProgress"
