"""The main job as a user of boto3 and the AWS CLI runs it: create, watch, read the leaderboard, deploy, predict."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_classification, make_regression

pytestmark = pytest.mark.slow

BUCKET = "sagemaker-us-east-1-000000000000"
ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
METRICS = {
    "BinaryClassification": {
        "Accuracy",
        "AUC",
        "BalancedAccuracy",
        "F1",
        "Precision",
        "Recall",
        "LogLoss",
        "InferenceLatency",
    },
    "MulticlassClassification": {
        "Accuracy",
        "BalancedAccuracy",
        "F1macro",
        "PrecisionMacro",
        "RecallMacro",
        "LogLoss",
        "InferenceLatency",
    },
    "Regression": {"MSE", "MAE", "RMSE", "R2", "InferenceLatency"},
}


def table(x: np.ndarray, names: list[str], y: list[str], target: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*names, target])
    writer.writerows([*row, label] for row, label in zip(x.tolist(), y, strict=True))
    return out.getvalue()


def binary() -> str:
    data = load_breast_cancer()
    names, labels = [str(n) for n in data.feature_names[:10]], [str(data.target_names[i]) for i in data.target]
    return table(data.data[:, :10], names, labels, "diagnosis")


def kinds() -> tuple[np.ndarray, list[str]]:
    x, y = make_classification(n_samples=600, n_features=6, n_informative=4, n_classes=3, random_state=3)
    return x, [f"kind {i}" for i in y]


def multiclass() -> str:
    x, y = kinds()
    return table(x, [f"x{i}" for i in range(6)], y, "kind")


def regression() -> str:
    x, y = make_regression(n_samples=700, n_features=6, n_informative=4, noise=60.0, random_state=7)
    return table(x, [f"x{i}" for i in range(6)], [str(v) for v in y], "y")


@pytest.fixture(scope="module")
def sagemaker(shared_server: Any) -> Iterator[Any]:
    s3 = shared_server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for name, text in (("binary", binary()), ("multiclass", multiclass()), ("regression", regression())):
        s3.put_object(Bucket=BUCKET, Key=f"data/{name}.csv", Body=text.encode())
    return shared_server.client("sagemaker")


def request(name: str, key: str, target: str, **changes: Any) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{key}"}}
    return {
        "AutoMLJobName": name,
        "InputDataConfig": [{"DataSource": source, "TargetAttributeName": target}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "AutoMLJobConfig": {"CompletionCriteria": {"MaxCandidates": 3}},
        "RoleArn": ROLE,
        **changes,
    }


def wait(sagemaker: Any, name: str, seconds: float = 300) -> dict[str, Any]:
    """The job's description once it is terminal."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        job = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
        if job["AutoMLJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"{name} is still {job['AutoMLJobStatus']}/{job['AutoMLJobSecondaryStatus']}")


def finished(sagemaker: Any, document: dict[str, Any]) -> dict[str, Any]:
    sagemaker.create_auto_ml_job(**document)
    job = wait(sagemaker, document["AutoMLJobName"])
    assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")
    return job


def metrics(candidate: dict[str, Any], part: str = "Validation") -> dict[str, float]:
    return {
        m["MetricName"]: m["Value"] for m in candidate["CandidateProperties"]["CandidateMetrics"] if m["Set"] == part
    }


ENCRYPTED = {"S3OutputPath": f"s3://{BUCKET}/out", "KmsKeyId": "alias/ours"}
INFERRED: dict[str, tuple[str, dict[str, Any]]] = {
    "binary": ("diagnosis", {"ModelDeployConfig": {"AutoGenerateEndpointName": True}}),
    "multiclass": ("kind", {"OutputDataConfig": ENCRYPTED}),
    "regression": ("y", {}),
}
"""Of each data set the target, and what a job for it is told besides."""


@pytest.fixture(scope="module")
def inferred(sagemaker: Any) -> Callable[[str], dict[str, Any]]:
    """The job for a data set that is told no problem type, once it is completed; the same to all that ask for it."""

    @cache
    def job(kind: str) -> dict[str, Any]:
        target, members = INFERRED[kind]
        return finished(sagemaker, request(f"infer-{kind}", f"data/{kind}.csv", target, **members))

    return job


@pytest.mark.parametrize(
    ("kind", "problem_type", "objective"),
    [
        ("binary", "BinaryClassification", "F1"),
        ("multiclass", "MulticlassClassification", "Accuracy"),
        ("regression", "Regression", "MSE"),
    ],
)
def test_a_job_finds_out_its_problem_and_reports_every_metric(
    sagemaker: Any, inferred: Callable[[str], dict[str, Any]], kind: str, problem_type: str, objective: str
) -> None:
    job = inferred(kind)
    resolved = job["ResolvedAttributes"]
    assert resolved["ProblemType"] == problem_type
    assert resolved["AutoMLJobObjective"] == {"MetricName": objective}
    assert resolved["CompletionCriteria"]["MaxCandidates"] == 3
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=job["AutoMLJobName"])["Candidates"]
    assert len(listed) == 3
    for candidate in listed:
        assert candidate["CandidateStatus"] == "Completed", candidate.get("FailureReason")
        assert set(metrics(candidate)) == METRICS[problem_type]
        assert set(metrics(candidate, "Train")) == METRICS[problem_type] - {"InferenceLatency"}
        step = candidate["CandidateSteps"][0]
        described = sagemaker.describe_processing_job(ProcessingJobName=step["CandidateStepName"])
        assert described["ProcessingJobArn"] == step["CandidateStepArn"]
        assert described["ProcessingJobStatus"] == "Completed"
        assert described["AutoMLJobArn"] == job["AutoMLJobArn"]
    values = [c["FinalAutoMLJobObjectiveMetric"]["Value"] for c in listed]
    best = job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]
    top = min(values) if best["Type"] == "Minimize" else max(values)
    noise = 0.001 * (max(values) - min(values)) if problem_type == "Regression" else 0.03
    assert best["Value"] == pytest.approx(top, abs=noise)
    for candidate in listed:
        parts = [metrics(candidate, part)[objective] for part in ("Train", "Validation")]
        assert min(parts) - 1e-9 <= candidate["FinalAutoMLJobObjectiveMetric"]["Value"] <= max(parts) + 1e-9


def test_one_click_deployment_answers_with_the_labels_asked_for(
    shared_server: Any, sagemaker: Any, inferred: Callable[[str], dict[str, Any]]
) -> None:
    name = inferred("binary")["ModelDeployResult"]["EndpointName"]
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    rows = load_breast_cancer().data[:20, :10]
    body = "\n".join(",".join(map(str, row)) for row in rows)
    runtime = shared_server.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)
    labels = answer["Body"].read().decode().split()
    truth = [str(load_breast_cancer().target_names[i]) for i in load_breast_cancer().target[:20]]
    assert len(labels) == 20
    assert sum(a == b for a, b in zip(labels, truth, strict=True)) >= 18


def test_the_containers_of_any_candidate_can_be_deployed_by_hand_though_they_are_encrypted(
    shared_server: Any, sagemaker: Any, inferred: Callable[[str], dict[str, Any]]
) -> None:
    job = inferred("multiclass")
    assert job["OutputDataConfig"] == ENCRYPTED
    s3 = shared_server.client("s3")
    made = [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"out/{job['AutoMLJobName']}/")["Contents"]]
    assert len(made) >= 3
    assert {s3.head_object(Bucket=BUCKET, Key=key).get("SSEKMSKeyId") for key in made} == {
        "arn:aws:kms:us-east-1:000000000000:alias/ours"
    }
    candidate = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=job["AutoMLJobName"])["Candidates"][0]
    container = candidate["InferenceContainers"][0]
    container["Environment"]["SAGEMAKER_INFERENCE_OUTPUT"] = "predicted_label, probability, probabilities, labels"
    sagemaker.create_model(ModelName="hand", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "all", "ModelName": "hand", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="hand", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="hand", EndpointConfigName="hand")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="hand", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    body = ",".join(map(str, kinds()[0][0]))
    runtime = shared_server.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName="hand", ContentType="text/csv", Body=body)
    label, probability, probabilities, labels = next(csv.reader([answer["Body"].read().decode().strip()]))
    assert label in labels
    assert len(json.loads(probabilities)) == 3
    assert float(probability) == pytest.approx(max(json.loads(probabilities)))
    assert job["BestCandidate"]["InferenceContainers"][0]["Image"] == container["Image"]


def test_only_the_algorithms_asked_for_are_trained(sagemaker: Any) -> None:
    generation = {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["linear-learner", "extra-trees"]}]}
    config = {"Mode": "ENSEMBLING", "CandidateGenerationConfig": generation, "CompletionCriteria": {"MaxCandidates": 2}}
    finished(sagemaker, request("chosen", "data/regression.csv", "y", AutoMLJobConfig=config))
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="chosen")["Candidates"]
    assert sorted(c["CandidateName"].split("-", 1)[1].rsplit("-", 1)[0] for c in listed) == [
        "extra-trees",
        "linear-learner",
    ]


def test_a_stopped_job_keeps_its_finished_candidates(sagemaker: Any) -> None:
    config = {"CompletionCriteria": {"MaxCandidates": 60}}
    sagemaker.create_auto_ml_job(**request("stopped", "data/multiclass.csv", "kind", AutoMLJobConfig=config))
    give_up = time.monotonic() + 180
    while "BestCandidate" not in sagemaker.describe_auto_ml_job(AutoMLJobName="stopped"):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    sagemaker.stop_auto_ml_job(AutoMLJobName="stopped")
    job = wait(sagemaker, "stopped")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Stopped", "Stopped")
    assert job["BestCandidate"]["CandidateStatus"] == "Completed"
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="stopped")["Candidates"]
    assert {c["CandidateStatus"] for c in listed} <= {"Completed", "Stopped"}


def test_a_job_out_of_time_completes_with_what_it_has(sagemaker: Any) -> None:
    criteria = {"MaxCandidates": 200, "MaxAutoMLJobRuntimeInSeconds": 20}
    document = request("short", "data/multiclass.csv", "kind", AutoMLJobConfig={"CompletionCriteria": criteria})
    job = finished(sagemaker, document)
    assert job["BestCandidate"]["CandidateStatus"] == "Completed"
    assert (job["EndTime"] - job["CreationTime"]).total_seconds() < 60


def test_a_trial_past_its_time_is_stopped_and_the_job_goes_on(sagemaker: Any) -> None:
    criteria = {"MaxCandidates": 4, "MaxRuntimePerTrainingJobInSeconds": 1}
    document = request("impatient", "data/multiclass.csv", "kind", AutoMLJobConfig={"CompletionCriteria": criteria})
    sagemaker.create_auto_ml_job(**document)
    job = wait(sagemaker, "impatient")
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="impatient")["Candidates"]
    ended = {c["CandidateStatus"] for c in listed}
    assert ended <= {"Completed", "Stopped"}
    assert all("FailureReason" in c for c in listed if c["CandidateStatus"] == "Stopped")
    assert job["AutoMLJobStatus"] == ("Completed" if "Completed" in ended else "Failed")


def upload(shared_server: Any, key: str, body: bytes) -> None:
    shared_server.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


BAD_DATA: dict[str, tuple[bytes, dict[str, str], str]] = {
    "few-rows": ("\n".join(binary().splitlines()[:200]).encode(), {}, "500"),
    "one-class": ("\n".join(["x,diagnosis", *["1,yes"] * 600]).encode(), {}, "at least two different"),
    "not-gzip": (binary().encode(), {"CompressionType": "Gzip"}, "(?i)gzip"),
    "unique-target": (
        "\n".join(["x,diagnosis", *(f"{i},key-{i}" for i in range(600))]).encode(),
        {},
        "600 different labels in 600 rows. Set ProblemType",
    ),
    "ragged": (binary().replace("\n", "\n1,2,3\n", 300).encode(), {}, "(?i)column"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_unusable_data_fails_the_job_with_a_reason(shared_server: Any, sagemaker: Any, case: str) -> None:
    body, channel, sentence = BAD_DATA[case]
    upload(shared_server, f"bad/{case}/data.csv", body)
    document = request(f"bad-{case}", f"bad/{case}/", "diagnosis")
    document["InputDataConfig"][0].update(channel)
    sagemaker.create_auto_ml_job(**document)
    job = wait(sagemaker, document["AutoMLJobName"])
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Failed", "Failed")
    assert "Traceback" not in job["FailureReason"]
    assert re.search(sentence, job["FailureReason"]), job["FailureReason"]


def test_validation_columns_that_differ_fail_the_job_with_a_reason(shared_server: Any, sagemaker: Any) -> None:
    upload(shared_server, "bad/other.csv", b"radius,diagnosis\n1,benign\n")
    document = request("bad-validation", "data/binary.csv", "diagnosis")
    document["InputDataConfig"] += request("", "bad/other.csv", "diagnosis")["InputDataConfig"]
    document["InputDataConfig"][1]["ChannelType"] = "validation"
    sagemaker.create_auto_ml_job(**document)
    job = wait(sagemaker, "bad-validation")
    assert job["AutoMLJobStatus"] == "Failed"
    assert "columns of the validation data must equal those of the training data" in job["FailureReason"]


def test_more_classes_than_rows_allow_fail_the_job_with_a_reason(shared_server: Any, sagemaker: Any) -> None:
    rows = "".join(f"{i / 7:.3f},key-{i % 400}\n" for i in range(600))
    upload(shared_server, "bad/classes.csv", f"x,key\n{rows}".encode())
    kind = {"ProblemType": "MulticlassClassification", "AutoMLJobObjective": {"MetricName": "Accuracy"}}
    sagemaker.create_auto_ml_job(**request("bad-classes", "bad/classes.csv", "key", **kind))
    job = wait(sagemaker, "bad-classes")
    assert job["AutoMLJobStatus"] == "Failed"
    assert "400 classes in 600 rows, too many to learn" in job["FailureReason"]


def test_the_aws_command_runs_the_same_job(shared_aws: Callable[..., Any], sagemaker: Any, tmp_path: Path) -> None:
    aws = shared_aws
    created = aws(
        "sagemaker",
        "create-auto-ml-job",
        "--auto-ml-job-name",
        "from-cli",
        "--input-data-config",
        f"DataSource={{S3DataSource={{S3DataType=S3Prefix,S3Uri=s3://{BUCKET}/data/binary.csv}}}},TargetAttributeName=diagnosis",
        "--output-data-config",
        f"S3OutputPath=s3://{BUCKET}/cli",
        "--auto-ml-job-config",
        "CompletionCriteria={MaxCandidates=1}",
        "--role-arn",
        ROLE,
    )
    assert created["AutoMLJobArn"].endswith(":automl-job/from-cli")
    job = wait(sagemaker, "from-cli")
    assert job["AutoMLJobStatus"] == "Completed"
    aws("s3", "cp", job["BestCandidate"]["InferenceContainers"][0]["ModelDataUrl"], str(tmp_path / "model.tar.gz"))
    assert (tmp_path / "model.tar.gz").stat().st_size > 1000
