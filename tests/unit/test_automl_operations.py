"""AutoML operations over a real store and a directory of objects, without a server or a worker."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pilothouse.config import Settings
from pilothouse.errors import OperationNotServed, ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import automl, candidates, processing
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

HEADER = "age,city,weight,churn\n31,Ghent,1,yes\n"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    objects = DirectoryObjects(settings.objects_root)
    objects.create_bucket("bucket")
    objects.put("bucket", "data/train.csv", HEADER.encode())
    objects.put("bucket", "data/validation.csv", HEADER.encode())
    objects.put("bucket", "data/other.csv", b"age,city\n1,Ghent\n")
    objects.put("bucket", "data/twice.csv", b"churn;age;churn\nyes;1;no\n")
    return Context(settings, store, objects)


def v1(name: str = "churn", **changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "AutoMLJobName": name,
        "InputDataConfig": [channel("train.csv", TargetAttributeName="churn")],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
    }
    return {**request, **changes}


def v2(name: str = "churn", *, tabular: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "AutoMLJobName": name,
        "AutoMLJobInputDataConfig": [channel("train.csv")],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn", **(tabular or {})}},
        "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
    }
    return {**request, **changes}


def channel(key: str, **members: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/data/{key}"}
    return {"DataSource": {"S3DataSource": source}, **members}


def config(**members: Any) -> dict[str, Any]:
    return {"AutoMLJobConfig": members}


def test_a_created_job_is_described_as_it_was_asked_for(context: Context) -> None:
    request = v1(**config(CompletionCriteria={"MaxCandidates": 3}))
    answer = automl.create_auto_ml_job(context, copy.deepcopy(request))
    described = automl.describe_auto_ml_job(context, {"AutoMLJobName": "CHURN"})
    assert answer["AutoMLJobArn"] == described["AutoMLJobArn"]
    assert described["AutoMLJobConfig"] == request["AutoMLJobConfig"]
    assert (described["AutoMLJobStatus"], described["AutoMLJobSecondaryStatus"]) == ("InProgress", "Starting")
    assert described["InputDataConfig"][0]["ContentType"] == "text/csv;header=present"


def test_each_version_describes_jobs_of_the_other(context: Context) -> None:
    automl.create_auto_ml_job(
        context, v1("one", **config(Mode="ENSEMBLING", DataSplitConfig={"ValidationFraction": 0.3}))
    )
    automl.create_auto_ml_job_v2(
        context, v2("two", tabular={"Mode": "AUTO"}, DataSplitConfig={"ValidationFraction": 0.1})
    )
    one = automl.describe_auto_ml_job_v2(context, {"AutoMLJobName": "one"})
    two = automl.describe_auto_ml_job(context, {"AutoMLJobName": "two"})
    assert one["AutoMLProblemTypeConfigName"] == "Tabular"
    assert one["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"] == "churn"
    assert one["DataSplitConfig"] == {"ValidationFraction": 0.3}
    assert "TargetAttributeName" not in one["AutoMLJobInputDataConfig"][0]
    assert two["InputDataConfig"][0]["TargetAttributeName"] == "churn"
    assert two["AutoMLJobConfig"] == {"Mode": "AUTO", "DataSplitConfig": {"ValidationFraction": 0.1}}


def test_a_name_is_taken_whatever_its_case(context: Context) -> None:
    automl.create_auto_ml_job(context, v1("Churn"))
    with pytest.raises(ResourceInUse, match="already exists"):
        automl.create_auto_ml_job_v2(context, v2("cHURN"))


def test_only_tabular_problems_are_served(context: Context) -> None:
    request = v2(AutoMLProblemTypeConfig={"ImageClassificationJobConfig": {}})
    with pytest.raises(OperationNotServed, match="ImageClassificationJobConfig"):
        automl.create_auto_ml_job_v2(context, request)


def test_v2_wants_the_problem_type_and_the_objective_together(context: Context) -> None:
    with pytest.raises(ValidationError, match="together"):
        automl.create_auto_ml_job_v2(context, v2(AutoMLJobObjective={"MetricName": "F1"}))


def training_and_validation(**validation: Any) -> list[dict[str, Any]]:
    return [
        channel("train.csv", TargetAttributeName="churn", ChannelType="training"),
        {**channel("validation.csv", TargetAttributeName="churn", ChannelType="validation"), **validation},
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no target": (
        {"InputDataConfig": [channel("train.csv", TargetAttributeName="y")]},
        "^Target attribute name y does not exist in header.$",
    ),
    "target twice": (
        {"InputDataConfig": [channel("twice.csv", TargetAttributeName="churn")]},
        "^Target attribute name churn exists 2 times in header",
    ),
    "target missing from the validation data": (
        {"InputDataConfig": [training_and_validation()[0], training_and_validation(**channel("other.csv"))[1]]},
        "^Target attribute name churn does not exist in header",
    ),
    "a metric without its problem type": (
        {"ProblemType": "MulticlassClassification", "AutoMLJobObjective": {"MetricName": "AUC"}},
        "AUC is not supported for problem type MulticlassClassification",
    ),
    "no objects": (
        {"InputDataConfig": [channel("nothing", TargetAttributeName="churn")]},
        "No S3 objects found under S3 URL",
    ),
    "no bucket": ({"OutputDataConfig": {"S3OutputPath": "s3://elsewhere/out"}}, "elsewhere"),
    "long path": ({"OutputDataConfig": {"S3OutputPath": "s3://bucket/" + "x" * 512}}, "512 characters"),
    "weight": (
        {"InputDataConfig": [channel("train.csv", TargetAttributeName="churn", SampleWeightAttributeName="w")]},
        "weight attribute name w",
    ),
    "metric": ({"ProblemType": "Regression", "AutoMLJobObjective": {"MetricName": "F1"}}, "MSE, MAE, RMSE, R2"),
    "a metric alone": ({"AutoMLJobObjective": {"MetricName": "F1"}}, "AutoMLJobObjective needs a ProblemType"),
    "two trainings": ({"InputDataConfig": training_and_validation(ChannelType="training")}, "not a valid combination"),
    "content types": (
        {"InputDataConfig": training_and_validation(ContentType="x-application/vnd.amazon+parquet")},
        "same ContentType",
    ),
    "targets differ": (
        {"InputDataConfig": training_and_validation(TargetAttributeName="age")},
        "same TargetAttributeName",
    ),
    "content type": (
        {"InputDataConfig": [channel("train.csv", TargetAttributeName="churn", ContentType="text/html")]},
        "text/html",
    ),
    "no source": ({"InputDataConfig": [{"TargetAttributeName": "churn"}]}, "DataSource"),
    "split and channel": (
        {"InputDataConfig": training_and_validation(), **config(DataSplitConfig={"ValidationFraction": 0.2})},
        "cannot be combined",
    ),
    "whole split": (config(DataSplitConfig={"ValidationFraction": 1.0}), "less than 1"),
    "auto algorithms": (
        config(Mode="AUTO", CandidateGenerationConfig={"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}]}),
        "Mode is AUTO",
    ),
    "foreign algorithm": (
        config(Mode="ENSEMBLING", CandidateGenerationConfig={"AlgorithmsConfig": [{"AutoMLAlgorithms": ["mlp"]}]}),
        "mlp",
    ),
    "foreign algorithm of the other mode": (
        config(
            Mode="HYPERPARAMETER_TUNING",
            CandidateGenerationConfig={"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost", "catboost"]}]},
        ),
        "catboost are not available in mode HYPERPARAMETER_TUNING",
    ),
    "weights in the other mode": (
        {
            "InputDataConfig": [channel("train.csv", TargetAttributeName="churn", SampleWeightAttributeName="weight")],
            **config(Mode="HYPERPARAMETER_TUNING"),
        },
        "ENSEMBLING only",
    ),
    "runtimes": (
        config(CompletionCriteria={"MaxRuntimePerTrainingJobInSeconds": 60, "MaxAutoMLJobRuntimeInSeconds": 30}),
        "equal to or greater",
    ),
    "both names": ({"ModelDeployConfig": {"AutoGenerateEndpointName": True, "EndpointName": "e"}}, "cannot both"),
    "neither name": ({"ModelDeployConfig": {"AutoGenerateEndpointName": False}}, "either"),
    "definitions": (
        {"GenerateCandidateDefinitionsOnly": True, "ModelDeployConfig": {"AutoGenerateEndpointName": True}},
        "no model to deploy",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_contradicting_request_is_refused_and_leaves_nothing(context: Context, case: str) -> None:
    changes, sentence = REFUSED[case]
    with pytest.raises(ValidationError, match=sentence):
        automl.create_auto_ml_job(context, v1(**changes))
    assert automl.list_auto_ml_jobs(context, {})["AutoMLJobSummaries"] == []


BLANK = {"gzip": gzip.compress(b""), "gzip of blank lines": gzip.compress(b"\n\n"), "blank lines": b"\n\r\n"}


@pytest.mark.parametrize("blank", BLANK)
def test_the_header_is_looked_for_behind_blank_files(context: Context, blank: str) -> None:
    for number in range(3):
        context.objects.put("bucket", f"data/parts/part-{number:05}.csv", BLANK[blank])
    with_target = [channel("parts/", TargetAttributeName="churn")]
    automl.create_auto_ml_job(context, v1("blank", InputDataConfig=with_target))  # the job tells that all are
    context.objects.put("bucket", "data/parts/part-00003.csv", HEADER.encode())
    automl.create_auto_ml_job(context, v1(InputDataConfig=with_target))
    with pytest.raises(ValidationError, match=r"^Target attribute name y does not exist in header\.$"):
        automl.create_auto_ml_job(context, v1("y", InputDataConfig=[channel("parts/", TargetAttributeName="y")]))


def test_a_request_does_not_look_through_a_thousand_blank_files(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        context.objects.put("bucket", f"data/parts/part-{number:05}.csv", b"\n")
    opened: list[str] = []
    look = context.objects.open
    monkeypatch.setattr(context.objects, "open", lambda b, key, *rest: (opened.append(key), look(b, key, *rest))[1])
    monkeypatch.setattr("pilothouse.operations.automl_rules._MOST_BLANK", 3)
    automl.create_auto_ml_job(context, v1(InputDataConfig=[channel("parts/", TargetAttributeName="churn")]))
    assert len(opened) == 3


SPECIFICATIONS: dict[str, tuple[object, str]] = {
    "target": ({"FeatureAttributeNames": ["age", "churn"]}, "must not include the target"),
    "target's type": ({"FeatureDataTypes": {"churn": "text"}}, "FeatureDataTypes must not include the target"),
    "weight": (
        {"FeatureAttributeNames": ["age", "weight"]},
        r"^FeatureAttributeNames must not include the sample weight attribute weight\.$",
    ),
    "weight's type": (
        {"FeatureDataTypes": {"weight": "numeric"}},
        "FeatureDataTypes must not include the sample weight",
    ),
    "unknown": ({"FeatureAttributeNames": ["age", "shoe"]}, "shoe"),
    "repeated": ({"FeatureAttributeNames": ["age", "age"]}, "unique"),
    "type": ({"FeatureDataTypes": {"age": "tensor"}}, "tensor"),
    "sequence": ({"FeatureDataTypes": {"age": "sequence"}}, "HYPERPARAMETER_TUNING only"),
    "outside names": ({"FeatureAttributeNames": ["age"], "FeatureDataTypes": {"city": "text"}}, "city"),
    "empty": ({}, "neither"),
    "list": ([], "JSON object"),
}


@pytest.mark.parametrize("case", SPECIFICATIONS)
def test_a_feature_specification_must_fit_the_header(context: Context, case: str) -> None:
    document, sentence = SPECIFICATIONS[case]
    context.objects.put("bucket", "features.json", json.dumps(document).encode())
    generation = {"FeatureSpecificationS3Uri": "s3://bucket/features.json"}
    weighed = [channel("train.csv", TargetAttributeName="churn", SampleWeightAttributeName="weight")]
    with pytest.raises(ValidationError, match=sentence):
        automl.create_auto_ml_job(context, v1(InputDataConfig=weighed, **config(CandidateGenerationConfig=generation)))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe"])
def test_a_feature_specification_must_be_json(context: Context, body: bytes) -> None:
    context.objects.put("bucket", "features.json", body)
    generation = {"FeatureSpecificationS3Uri": "s3://bucket/features.json"}
    with pytest.raises(ValidationError, match="not a JSON document"):
        automl.create_auto_ml_job(context, v1(**config(CandidateGenerationConfig=generation)))


def test_a_feature_specification_that_is_nested_too_deeply_is_refused(context: Context) -> None:
    context.objects.put("bucket", "features.json", b"[" * 100_000)
    generation = {"FeatureSpecificationS3Uri": "s3://bucket/features.json"}
    with pytest.raises(ValidationError, match="nested too deeply"):
        automl.create_auto_ml_job(context, v1(**config(CandidateGenerationConfig=generation)))


def test_a_missing_job_is_not_found(context: Context) -> None:
    missing = {"AutoMLJobName": "ghost"}
    for operation in (
        automl.describe_auto_ml_job,
        automl.describe_auto_ml_job_v2,
        automl.stop_auto_ml_job,
        candidates.list_candidates_for_auto_ml_job,
    ):
        with pytest.raises(ResourceNotFound, match="ghost"):
            operation(context, missing)
    with pytest.raises(ValidationError, match="Requested resource not found"):
        processing.describe_processing_job(context, {"ProcessingJobName": "ghost"})


def test_stopping_asks_once_and_refuses_after_the_end(context: Context) -> None:
    automl.create_auto_ml_job(context, v1())
    automl.stop_auto_ml_job(context, {"AutoMLJobName": "churn"})
    automl.stop_auto_ml_job(context, {"AutoMLJobName": "churn"})
    assert automl.describe_auto_ml_job(context, {"AutoMLJobName": "churn"})["AutoMLJobStatus"] == "Stopping"
    context.store.update("automl-job", "churn", status="Stopped")
    with pytest.raises(ValidationError, match="cannot be stopped"):
        automl.stop_auto_ml_job(context, {"AutoMLJobName": "churn"})


def add_candidate(context: Context, name: str, status: str, value: float | None = None) -> None:
    state: dict[str, Any] = {"ObjectiveStatus": "Succeeded", "CandidateSteps": []}
    if value is not None:
        state["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "F1", "Value": value}
    context.store.insert("candidate", name, {}, status=status, state=state, parent=("automl-job", "churn"))


def test_candidates_are_filtered_sorted_and_paged(context: Context) -> None:
    automl.create_auto_ml_job(context, v1())
    for name, status, value in (
        ("a", "Completed", 0.5),
        ("b", "Failed", None),
        ("c", "Completed", 0.9),
        ("d", "Completed", 0.7),
    ):
        add_candidate(context, name, status, value)
    by_value = {"AutoMLJobName": "churn", "SortBy": "FinalObjectiveMetricValue", "SortOrder": "Descending"}

    def names(**request: Any) -> list[str]:
        answer = candidates.list_candidates_for_auto_ml_job(context, {"AutoMLJobName": "churn", **request})
        return [candidate["CandidateName"] for candidate in answer["Candidates"]]

    assert names() == ["a", "b", "c", "d"]
    assert names(**by_value) == ["c", "d", "a", "b"]
    assert names(StatusEquals="Failed") == ["b"]
    assert names(CandidateNameEquals="c") == ["c"]
    first = candidates.list_candidates_for_auto_ml_job(context, {**by_value, "MaxResults": 3})
    second = candidates.list_candidates_for_auto_ml_job(
        context, {**by_value, "MaxResults": 3, "NextToken": first["NextToken"]}
    )
    assert [c["CandidateName"] for c in second["Candidates"]] == ["b"]
    assert second["NextToken"] is None


def test_jobs_are_listed_by_name_descending(context: Context) -> None:
    for name in ("b", "A", "c"):
        automl.create_auto_ml_job(context, v1(name))
    listed = automl.list_auto_ml_jobs(context, {})["AutoMLJobSummaries"]
    assert [job["AutoMLJobName"] for job in listed] == ["c", "b", "A"]
