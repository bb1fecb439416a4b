"""Hyperparameter tuning mode through boto3: candidates, their steps and containers, and what survives kill -9."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_regression

from pilothouse.problems.evaluate import labels
from pilothouse.problems.tabular.stages import AlgorithmStage, FeatureStage, LabelStage
from tests.acceptance.conftest import reboot

pytestmark = pytest.mark.slow

BUCKET = "tuned"
TYPES = ["ProcessingJob", "TrainingJob", "TransformJob", "TrainingJob"]
QUICK = ("xgboost", "linear-learner")
COLOURS = ["red", "green", "blue"]


def text(x: np.ndarray, names: list[str], y: list[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*names, "colour", "y"])
    colours = (COLOURS[i % 3] for i in range(len(x)))
    writer.writerows([*row, colour, label] for row, colour, label in zip(x.tolist(), colours, y, strict=True))
    return out.getvalue().encode()


def binary() -> bytes:
    data = load_breast_cancer()
    return text(data.data, [str(name) for name in data.feature_names], [str(data.target_names[i]) for i in data.target])


def regression() -> bytes:
    x, y = make_regression(n_samples=600, n_features=5, n_informative=4, noise=2.0, random_state=7)
    return text(x, [f"x{i}" for i in range(5)], [str(value) for value in y])


def fill(server: Any) -> Any:
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for name, content in (("binary", binary()), ("regression", regression())):
        s3.put_object(Bucket=BUCKET, Key=f"data/{name}.csv", Body=content)
    return s3


def create(
    sagemaker: Any,
    name: str,
    data: str,
    candidates: int = 3,
    algorithms: tuple[str, ...] = (),
    mode: str = "HYPERPARAMETER_TUNING",
    config: Mapping[str, Any] = {},
    **members: Any,
) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/{data}.csv"}}
    sagemaker.create_auto_ml_job(
        AutoMLJobName=name,
        InputDataConfig=[{"DataSource": source, "TargetAttributeName": "y"}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out", "KmsKeyId": "alias/ours"},
        AutoMLJobConfig={
            "Mode": mode,
            "CompletionCriteria": {"MaxCandidates": candidates},
            "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(algorithms)}]},
            **config,
        },
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
        **members,
    )


def wait(sagemaker: Any, name: str, until: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    """The job's description once it is terminal, or `until` says so."""
    give_up = time.monotonic() + 900
    while time.monotonic() < give_up:
        job = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
        if job["AutoMLJobStatus"] not in ("InProgress", "Stopping") or (until and until(job)):
            return dict(job)
        time.sleep(0.2)
    raise AssertionError(f"{name} is still {job['AutoMLJobStatus']}/{job['AutoMLJobSecondaryStatus']}")


def listed(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    return list(sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"])


def unpacked(s3: Any, uri: str, folder: Path) -> Path:
    key = uri.removeprefix(f"s3://{BUCKET}/")
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    assert answer["ServerSideEncryption"] == "aws:kms"
    body = answer["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def clients(shared_server: Any) -> tuple[Any, Any]:
    s3, sagemaker = fill(shared_server), shared_server.client("sagemaker")
    for name in ("binary", "regression"):
        create(sagemaker, f"tuned-{name}", name, ModelDeployConfig={"EndpointName": f"tuned-{name}"})
    return sagemaker, s3


def test_the_training_jobs_of_a_candidate_have_logs(shared_server: Any, clients: tuple[Any, Any]) -> None:
    sagemaker, _ = clients
    wait(sagemaker, "tuned-binary")
    candidate, logs = listed(sagemaker, "tuned-binary")[0], shared_server.client("logs")
    told = []
    for step in candidate["CandidateSteps"][1::2]:
        group, prefix = "/aws/sagemaker/TrainingJobs", f"{step['CandidateStepName']}/"
        [stream] = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
        assert re.fullmatch(re.escape(prefix) + r"algo-1-\d{10}", stream["logStreamName"])
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
        told.append([event["message"] for event in events["events"]])
    pipeline, algorithm = told
    assert any(line.startswith("columns=") for line in pipeline)
    assert any(line.startswith("data_processor=dpp") for line in algorithm)
    metrics = {m["MetricName"] for m in candidate["CandidateProperties"]["CandidateMetrics"]}
    assert {line.partition("=")[0] for line in algorithm} >= {f"validation:{name}" for name in metrics}


@pytest.mark.parametrize("mode", ["HYPERPARAMETER_TUNING", "ENSEMBLING"])
def test_definitions_alone_are_described_and_nothing_is_trained(clients: tuple[Any, Any], mode: str) -> None:
    sagemaker, s3 = clients
    name = f"defined-{mode[0].lower()}"
    create(sagemaker, name, "binary", algorithms=QUICK, mode=mode, GenerateCandidateDefinitionsOnly=True)
    job = wait(sagemaker, name)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "CandidateDefinitionsGenerated")
    assert job["GenerateCandidateDefinitionsOnly"] is True
    assert job["ResolvedAttributes"]["ProblemType"] == "BinaryClassification"
    assert "BestCandidate" not in job
    assert listed(sagemaker, name) == []
    [found] = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"out/{name}/sagemaker-automl-candidates/")["Contents"]
    described = json.loads(s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
    assert {each["algorithm"] for each in described} - {"ensemble"} == set(QUICK)
    wanted = "HyperParameterRanges" if mode == "HYPERPARAMETER_TUNING" else "hyperparameters"
    assert all(wanted in each for each in described)
    steps = sagemaker.list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    assert [step["ProcessingJobStatus"] for step in steps] == ["Completed"] * (mode == "HYPERPARAMETER_TUNING")


@pytest.mark.parametrize(("data", "metric"), [("binary", "F1"), ("regression", "MSE")])
def test_as_many_candidates_as_asked_for_each_of_four_steps(clients: tuple[Any, Any], data: str, metric: str) -> None:
    sagemaker, _ = clients
    name = f"tuned-{data}"
    job = wait(sagemaker, name)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed"), job
    assert job["ResolvedAttributes"]["CompletionCriteria"]["MaxCandidates"] == 3
    found = listed(sagemaker, name)
    assert len(found) == 3
    algorithms = set()
    for number, candidate in enumerate(found, 1):
        assert candidate["CandidateStatus"] == "Completed", candidate.get("FailureReason")
        assert re.fullmatch(rf"{name}-{number:03d}-[0-9a-f]{{8}}", candidate["CandidateName"])
        assert candidate["FinalAutoMLJobObjectiveMetric"]["MetricName"] == metric
        steps = candidate["CandidateSteps"]
        assert [step["CandidateStepType"].split("::")[2] for step in steps] == TYPES
        analysis = sagemaker.describe_processing_job(ProcessingJobName=steps[0]["CandidateStepName"])
        assert analysis["ProcessingJobStatus"] == "Completed"
        transform = sagemaker.describe_transform_job(TransformJobName=steps[2]["CandidateStepName"])
        assert (transform["TransformJobStatus"], transform["AutoMLJobArn"]) == ("Completed", job["AutoMLJobArn"])
        assert sagemaker.describe_model(ModelName=transform["ModelName"])["PrimaryContainer"]["Image"]
        for step in (steps[1], steps[3]):
            training = sagemaker.describe_training_job(TrainingJobName=step["CandidateStepName"])
            assert training["TrainingJobArn"] == step["CandidateStepArn"]
            assert training["AutoMLJobArn"] == job["AutoMLJobArn"]
            assert training["TrainingJobStatus"] == training["SecondaryStatus"] == "Completed"
            assert training["TrainingStartTime"] <= training["TrainingEndTime"]
        algorithms.add(training["HyperParameters"]["algorithm"])
        measured = {each["MetricName"]: each["Value"] for each in training["FinalMetricDataList"]}
        assert measured["ObjectiveMetric"] == candidate["FinalAutoMLJobObjectiveMetric"]["Value"]
        assert training["ModelArtifacts"]["S3ModelArtifacts"] == candidate["InferenceContainers"][1]["ModelDataUrl"]
    assert algorithms == {"xgboost", "linear-learner", "mlp"}
    objectives = {each["CandidateName"]: each["FinalAutoMLJobObjectiveMetric"]["Value"] for each in found}
    best = max if metric == "F1" else min
    assert objectives[job["BestCandidate"]["CandidateName"]] == pytest.approx(best(objectives.values()), rel=2e-3)


def test_a_classifier_is_three_containers_that_classify(clients: tuple[Any, Any], tmp_path: Path) -> None:
    sagemaker, s3 = clients
    containers = wait(sagemaker, "tuned-binary")["BestCandidate"]["InferenceContainers"]
    images = [container["Image"].rpartition(":")[0].rpartition("-")[2] for container in containers]
    assert images == ["transform", "algorithm", "transform"]
    environments = [container["Environment"] for container in containers]
    assert [each.get("AUTOML_TRANSFORM_MODE") for each in environments] == [
        "feature-transform",
        None,
        "inverse-label-transform",
    ]
    assert environments[2]["SAGEMAKER_INFERENCE_SUPPORTED"] == "predicted_label,probability,labels,probabilities"
    folders = [unpacked(s3, each["ModelDataUrl"], tmp_path / str(i)) for i, each in enumerate(containers)]
    first, second = FeatureStage.load(folders[0]), AlgorithmStage.load(folders[1])
    classes = LabelStage.load(folders[2]).classes
    rows = list(csv.reader(io.StringIO(binary().decode())))[1:]
    found = labels(second.predict(first.transform([row[:-1] for row in rows])), second.threshold)
    assert np.mean([classes[i] == row[-1] for i, row in zip(found, rows, strict=True)]) > 0.93


def test_a_regression_is_two_containers_that_predict(clients: tuple[Any, Any], tmp_path: Path) -> None:
    sagemaker, s3 = clients
    containers = wait(sagemaker, "tuned-regression")["BestCandidate"]["InferenceContainers"]
    assert len(containers) == 2
    assert "SAGEMAKER_INFERENCE_SUPPORTED" not in containers[1]["Environment"]
    folders = [unpacked(s3, each["ModelDataUrl"], tmp_path / str(i)) for i, each in enumerate(containers)]
    first, second = FeatureStage.load(folders[0]), AlgorithmStage.load(folders[1])
    rows = list(csv.reader(io.StringIO(regression().decode())))[1:]
    y = np.array([float(row[-1]) for row in rows])
    errors = second.predict(first.transform([row[:-1] for row in rows])) - y
    assert (errors**2).mean() < 0.2 * y.var()


def waves() -> list[list[str]]:
    """Rows of a sequence, which alone tells the label, a number, and the label."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(520):
        fast = number % 2 == 0
        turns = np.arange(24) * (0.4 if fast else 0.1) + rng.random()
        values = rng.uniform(0.5, 3) * np.sin(2 * np.pi * turns) + 0.1 * rng.normal(size=24)
        rows.append([",".join(f"{value:.3f}" for value in values), f"{rng.normal():.3f}", "fast" if fast else "slow"])
    return rows


def written(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def test_a_column_that_is_declared_a_sequence_is_learnt_from_and_predicted_with(
    clients: tuple[Any, Any], user: Any
) -> None:
    sagemaker, s3 = clients
    rows, specification = waves(), {"FeatureDataTypes": {"wave": "sequence"}}
    s3.put_object(Bucket=BUCKET, Key="data/waves.csv", Body=written([["wave", "x", "y"], *rows]).encode())
    s3.put_object(Bucket=BUCKET, Key="features.json", Body=json.dumps(specification).encode())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/waves.csv"}}
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName="tuned-waves",
        AutoMLJobInputDataConfig=[{"ChannelType": "training", "DataSource": source}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
        AutoMLProblemTypeConfig={
            "TabularJobConfig": {
                "Mode": "HYPERPARAMETER_TUNING",
                "TargetAttributeName": "y",
                "FeatureSpecificationS3Uri": f"s3://{BUCKET}/features.json",
                "CompletionCriteria": {"MaxCandidates": 1},
                "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["linear-learner"]}]},
            }
        },
    )
    job = wait(sagemaker, "tuned-waves")
    assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.95
    user.wait(user.serve("waves", job["BestCandidate"]["InferenceContainers"]))
    answers = user.ask("waves", written([row[:-1] for row in rows[:100]])).split()
    assert np.mean([answer == row[-1] for answer, row in zip(answers, rows, strict=False)]) > 0.95


def asked_for(containers: list[dict[str, Any]], keys: str) -> list[dict[str, Any]]:
    """The containers as the SageMaker SDK changes them for `inference_response_keys`."""
    changes = (
        {},
        {"SAGEMAKER_INFERENCE_OUTPUT": keys},
        {f"SAGEMAKER_INFERENCE_{way}": keys for way in ("INPUT", "OUTPUT")},
    )
    return [
        {**container, "Environment": {**container["Environment"], **change}}
        for container, change in zip(containers, changes, strict=False)
    ]


def test_a_classifier_answers_the_probability_of_the_positive_class(clients: tuple[Any, Any], user: Any) -> None:
    containers = wait(clients[0], "tuned-binary")["BestCandidate"]["InferenceContainers"]
    user.wait(user.serve("classes", asked_for(containers, "predicted_label,probability")))
    rows = [row.rpartition(",") for row in binary().decode().splitlines()[1:]]
    answers = [line.split(",") for line in user.ask("classes", "\n".join(row for row, _, _ in rows)).split()]
    assert np.mean([label == truth for (label, _), (_, _, truth) in zip(answers, rows, strict=True)]) > 0.93
    probabilities = {label: [float(p) for found, p in answers if found == label] for label in ("benign", "malignant")}
    assert max(probabilities["malignant"]) > 0.9 > 0.1 > min(probabilities["benign"])


@pytest.mark.parametrize("data", ["binary", "regression"])
def test_the_deployed_candidate_answers_as_its_stages_do(
    clients: tuple[Any, Any], shared_server: Any, tmp_path: Path, data: str
) -> None:
    sagemaker, s3 = clients
    job = wait(sagemaker, f"tuned-{data}")
    assert job["ModelDeployResult"] == {"EndpointName": f"tuned-{data}"}
    uris = [each["ModelDataUrl"] for each in job["BestCandidate"]["InferenceContainers"]]
    folders = [unpacked(s3, uri, tmp_path / str(i)) for i, uri in enumerate(uris)]
    rows = list(csv.reader(io.StringIO({"binary": binary, "regression": regression}[data]().decode())))[1:31]
    body = "\n".join(",".join(row[:-1]) for row in rows)
    answered = shared_server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=f"tuned-{data}", ContentType="text/csv", Body=body
    )
    answers = answered["Body"].read().decode().splitlines()
    second = AlgorithmStage.load(folders[1])
    predicted = second.predict(FeatureStage.load(folders[0]).transform([row[:-1] for row in rows]))
    if data == "regression":
        assert [float(answer) for answer in answers] == pytest.approx(predicted.tolist())
    else:
        classes = LabelStage.load(folders[2]).classes
        assert answers == [classes[i] for i in labels(predicted, second.threshold)]


def test_artifacts_lie_where_the_service_puts_them(clients: tuple[Any, Any]) -> None:
    sagemaker, s3 = clients
    wait(sagemaker, "tuned-binary")
    prefix = "out/tuned-binary/"
    keys = [each["Key"].removeprefix(prefix) for each in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
    for pattern, count in (
        (r"data-processor-models/tuned-binary-dpp[0-2]-1-\w{8}/output/model.tar.gz", 3),
        (r"data-processor-models/tuned-binary-labels-1-\w{8}/output/model.tar.gz", 1),
        (r"tuning/tuned-binary-dpp\d-(xgb|ll|mlp)/tuned-binary-\d{3}-\w{8}/output/model.tar.gz", 3),
        (r"transformed-data/dpp[0-2]/(train|validation)/matrix.npy", 6),
    ):
        assert len([key for key in keys if re.fullmatch(pattern, key)]) == count, (pattern, keys)


def test_a_stopped_job_keeps_its_finished_candidates(clients: tuple[Any, Any]) -> None:
    sagemaker, _ = clients
    create(sagemaker, "tuned-stop", "binary", 50, QUICK)
    wait(sagemaker, "tuned-stop", lambda job: "BestCandidate" in job)
    sagemaker.stop_auto_ml_job(AutoMLJobName="tuned-stop")
    job = wait(sagemaker, "tuned-stop")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Stopped", "Stopped")
    found = listed(sagemaker, "tuned-stop")
    assert {candidate["CandidateStatus"] for candidate in found} <= {"Completed", "Stopped"}
    assert job["BestCandidate"]["CandidateStatus"] == "Completed"
    for candidate in found:
        own = sagemaker.describe_training_job(TrainingJobName=candidate["CandidateSteps"][3]["CandidateStepName"])
        assert own["TrainingJobStatus"] == candidate["CandidateStatus"]


def test_a_machine_that_goes_down_in_mid_job_resumes_with_the_same_candidates(killable: Any) -> None:
    server = killable
    fill(server)
    in_memory = {"SecurityConfig": {"VolumeKmsKeyId": "alias/ours"}}
    create(server.client("sagemaker"), "tuned-kill", "binary", 4, QUICK, config=in_memory)
    wait(server.client("sagemaker"), "tuned-kill", lambda job: "BestCandidate" in job)
    before = listed(server.client("sagemaker"), "tuned-kill")
    reboot(server)
    sagemaker = server.client("sagemaker")
    job = wait(sagemaker, "tuned-kill")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed"), job
    found = listed(sagemaker, "tuned-kill")
    assert [candidate["CandidateStatus"] for candidate in found] == ["Completed"] * 4
    assert [each["CandidateName"] for each in found[: len(before)]] == [each["CandidateName"] for each in before]
    completed = [each for each in before if each["CandidateStatus"] == "Completed"]
    ends = {each["CandidateName"]: each["EndTime"] for each in found}
    assert completed
    assert all(ends[each["CandidateName"]] == each["EndTime"] for each in completed)


STEPS = ("mode", "pipelines", "labels", "matrices")


def test_a_job_killed_around_each_of_its_steps_completes(start_server: Callable[..., Any]) -> None:
    points = ("before", "unrecorded", "after")
    server = start_server(PILOTHOUSE_FAILPOINT=",".join(f"{step}:{point}" for step in STEPS for point in points))
    fill(server)
    sagemaker = server.client("sagemaker")
    create(sagemaker, "tuned-drill", "binary", 2, QUICK)
    job = wait(sagemaker, "tuned-drill")
    assert job["AutoMLJobStatus"] == "Completed", job
    assert [candidate["CandidateStatus"] for candidate in listed(sagemaker, "tuned-drill")] == ["Completed"] * 2
    trained = sagemaker.list_training_jobs(NameContains="tuned-drill", MaxResults=100)["TrainingJobSummaries"]
    assert sorted(each["TrainingJobStatus"] for each in trained) == ["Completed"] * 4
