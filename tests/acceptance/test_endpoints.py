"""Endpoints as a user of boto3 has them: deploy a model, ask it, crash it, restart the server, delete it."""

from __future__ import annotations

import csv
import json
import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from pilothouse import engines
from pilothouse.catalog import images
from pilothouse.contract.pack import pack
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import profile
from pilothouse.engines.base import Task
from pilothouse.hosting.fleet import GRACE
from pilothouse.problems.tabular.archive import Member, write_manifest

pytestmark = pytest.mark.slow

BUCKET = "models"  # the user's
EVERYTHING = "predicted_label, probability, probabilities, labels"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small classifier and a small regressor, as AutoML jobs pack them."""
    rng = random.Random(3)
    rows = [(rng.uniform(18, 80), rng.choice(["Oslo", "Rome", "Bonn"])) for _ in range(400)]
    y = np.array([(age > 40) != (city == "Rome") for age, city in rows], np.int64)
    table = pa.table({"age": [f"{age:.1f}" for age, _ in rows], "city": [city for _, city in rows]})
    binary, regression = Task("BinaryClassification", 2, "F1"), Task("Regression", 0, "MSE")
    folder = tmp_path_factory.mktemp("archives")
    return {
        "binary": archive(folder / "binary", table, y, binary, ["no", "yes"]),
        "regression": archive(folder / "regression", table, y.astype(np.float64), regression, None),
    }


def archive(folder: Path, table: pa.Table, y: Any, task: Task, classes: list[str] | None) -> Path:
    pipeline = FeaturePipeline.fit(table, profile(table))
    model = engines.engine("lightgbm").fit(pipeline.transform(table), y, None, task, {}, rounds=300)
    for part in ("pipeline", "members/0"):
        (folder / part).mkdir(parents=True)
    pipeline.save(folder / "pipeline")
    model.save(folder / "members" / "0")
    dataset = {
        "problem_type": task.problem_type,
        "target": "y",
        "classes": classes,
        "columns": table.column_names,
        "profile": [asdict(column) for column in pipeline.columns],
    }
    threshold, members = 0.5 if classes else None, [Member("members/0", "lightgbm", 1.0)]
    write_manifest(folder, dataset, members, threshold=threshold, objective=task.metric, metrics={})
    target = folder.with_suffix(".tar.gz")
    pack(folder, target)
    return target


def refused(call: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return dict(caught.value.response)


def replicas(server: Any, endpoint: str) -> list[psutil.Process]:
    """The model server processes of an endpoint, known by their label."""
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # others end meanwhile
            if process.name() == f"serve {endpoint}" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_a_classifier_answers_as_its_environment_asks(user: Any, archives: dict[str, Path]) -> None:
    name = user.deploy("all", archives["binary"], SAGEMAKER_INFERENCE_OUTPUT=EVERYTHING)
    described = user.wait(name)
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    answer = user.runtime.invoke_endpoint(
        EndpointName=name, Body="30,Rome\n50.5,Rome\n", ContentType="text/csv", CustomAttributes="trace=1"
    )
    first, second = csv.reader(answer["Body"].read().decode().splitlines())
    assert first[0] == "yes"
    assert json.loads(first[2]) == [pytest.approx(1 - float(first[1])), float(first[1])]
    assert first[3] == "['no', 'yes']"
    assert second[0] == "no"
    assert answer["ContentType"].startswith("text/csv")
    assert answer["InvokedProductionVariant"] == "main"
    assert answer["CustomAttributes"] == "trace=1"


def test_json_is_read_and_written(user: Any, archives: dict[str, Path]) -> None:
    name = user.deploy("json", archives["binary"])
    user.wait(name)
    body = json.dumps({"instances": [{"city": "Rome", "age": 30}, {"features": [50.5, "Rome"]}, [20, "Oslo"]]})
    answer = user.ask(name, body, ContentType="application/json", Accept="application/json")
    assert json.loads(answer) == {"predictions": [{"predicted_label": label} for label in ("yes", "no", "no")]}


def test_a_regressor_answers_one_number_a_row(user: Any, archives: dict[str, Path]) -> None:
    name = user.deploy("numbers", archives["regression"])
    user.wait(name)
    assert [-0.5 < float(line) < 1.5 for line in user.ask(name, "30,Rome\n20,Oslo\n").splitlines()] == [True, True]


def test_the_models_own_refusals_come_back_as_model_errors(user: Any, archives: dict[str, Path]) -> None:
    name = user.deploy("errors", archives["binary"])
    user.wait(name)
    invoke = {"EndpointName": name, "Body": "30,Rome", "ContentType": "text/csv"}
    error = refused(user.runtime.invoke_endpoint, **{**invoke, "Body": "30"})
    assert error["Error"]["Code"] == "ModelError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == 400
    assert error["OriginalMessage"].startswith("Received data of unknown size. Expected number of columns is 2.")
    assert error["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{name}")
    error = refused(user.runtime.invoke_endpoint, **invoke, Accept="image/png")
    expected = "Received client error (406) from model with message \"Accept type 'image/png' is not supported."
    assert error["Error"]["Message"].startswith(expected)
    assert refused(user.runtime.invoke_endpoint, **{**invoke, "ContentType": "image/png"})["OriginalStatusCode"] == 415
    assert refused(user.runtime.invoke_endpoint, **{**invoke, "Body": b""})["OriginalStatusCode"] == 400
    missing = refused(user.runtime.invoke_endpoint, **{**invoke, "EndpointName": "missing"})["Error"]
    assert missing == {"Code": "ValidationError", "Message": "Endpoint missing of account 000000000000 not found."}


def test_no_request_fails_while_an_endpoint_is_updated(user: Any, archives: dict[str, Path]) -> None:
    """Clients ask without a pause while another model takes over, at once or in batches, and while weights change."""
    name = user.deploy("updated", archives["binary"])
    user.deploy("updated-to", archives["binary"], SAGEMAKER_INFERENCE_OUTPUT="labels")
    user.wait(name)
    answers, failures, done = set(), [], threading.Event()

    def hammer() -> None:
        while not done.is_set():
            try:
                answers.add(user.ask(name, "30,Rome"))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=hammer) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        size = {"Type": "CAPACITY_PERCENT", "Value": 50}
        routing = {"Type": "CANARY", "WaitIntervalInSeconds": 1, "CanarySize": size}
        deployment = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
        user.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName="updated-to", DeploymentConfig=deployment)
        assert user.wait(name)["EndpointConfigName"] == "updated-to"
        for count in (2, 1):
            change = {"VariantName": "main", "DesiredWeight": 3.0, "DesiredInstanceCount": count}
            user.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=name, DesiredWeightsAndCapacities=[change]
            )
            assert user.wait(name)["ProductionVariants"][0]["CurrentInstanceCount"] == count
            if count == 2:
                batch = {"Type": "INSTANCE_COUNT", "Value": 1}
                rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": 0}}
                again = {"EndpointConfigName": name, "RetainAllVariantProperties": True, "DeploymentConfig": rolling}
                user.sagemaker.update_endpoint(EndpointName=name, **again)
                described = user.wait(name)
                assert (described["EndpointConfigName"], described["LastDeploymentConfig"]) == (name, rolling)
        time.sleep(GRACE + 1)  # those that were replaced have been told to end
    finally:
        done.set()
        for client in clients:
            client.join()
    assert failures == []
    assert answers == {"yes\n", "\"['no', 'yes']\"\n"}


def test_variants_share_the_requests_by_weight_and_what_is_asked_is_captured(
    user: Any, archives: dict[str, Path]
) -> None:
    """Of three variants one has no weight and one is serverless; the capture is read from S3."""
    for name in ("shared", "spare"):
        container = user.container(images.TABULAR_INFERENCE, archives["binary"])
        user.sagemaker.create_model(ModelName=name, PrimaryContainer=container)
    instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variants = [
        {"VariantName": "all", "ModelName": "shared", **instances},
        {"VariantName": "none", "ModelName": "spare", "InitialVariantWeight": 0.0, **instances},
        {
            "VariantName": "serverless",
            "ModelName": "spare",
            "InitialVariantWeight": 0.0,
            "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
        },
    ]
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/captured",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
    user.sagemaker.create_endpoint_config(
        EndpointConfigName="shared", ProductionVariants=variants, DataCaptureConfig=capture
    )
    user.sagemaker.create_endpoint(EndpointName="shared", EndpointConfigName="shared")
    assert user.wait("shared")["DataCaptureConfig"]["CaptureStatus"] == "Started"
    request = {"EndpointName": "shared", "ContentType": "text/csv", "Body": "30,Rome"}
    drawn = [user.runtime.invoke_endpoint(**request)["InvokedProductionVariant"] for _ in range(5)]
    assert set(drawn) == {"all"}
    for target in ("none", "serverless"):
        answer = user.runtime.invoke_endpoint(**request, TargetVariant=target, InferenceId=f"to-{target}")
        assert answer["InvokedProductionVariant"] == target
    records = captured(user, f"captured/shared/serverless/{datetime.now(UTC):%Y/%m/}")
    assert [record["eventMetadata"]["inferenceId"] for record in records] == ["to-serverless"]
    data = records[0]["captureData"]
    assert (data["endpointInput"]["data"], data["endpointOutput"]["data"]) == ("30,Rome", "yes\n")


def test_a_shadow_is_asked_the_same_and_its_answers_are_only_captured(user: Any, archives: dict[str, Path]) -> None:
    container = user.container(images.TABULAR_INFERENCE, archives["binary"])
    other = {**container, "Environment": {"SAGEMAKER_INFERENCE_OUTPUT": "labels"}}
    user.sagemaker.create_model(ModelName="shadow", PrimaryContainer=other)
    instances = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    configuration = {
        "ShadowProductionVariants": [{"VariantName": "shadow", "ModelName": "shadow", **instances}],
        "DataCaptureConfig": {
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{BUCKET}/captured",
            "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    }
    described = user.wait(user.serve("shadowed", [container], configuration=configuration))
    assert [v["VariantName"] for v in described["ProductionVariants"]] == ["main"]
    assert [v["CurrentInstanceCount"] for v in described["ShadowProductionVariants"]] == [1]
    assert user.ask("shadowed", "30,Rome") == "yes\n"
    (record,) = captured(user, "captured/shadowed/shadow/")
    data = record["captureData"]
    assert (data["endpointInput"]["data"], data["endpointOutput"]["data"]) == ("30,Rome", "\"['no', 'yes']\"\n")


def captured(user: Any, prefix: str) -> list[dict[str, Any]]:
    """The captured records below a prefix, once there are some."""
    give_up = time.monotonic() + 120
    while not (found := user.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    bodies = [user.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def test_an_unknown_output_fails_the_endpoint_with_the_reason(user: Any, archives: dict[str, Path]) -> None:
    name = user.deploy("odd", archives["binary"], SAGEMAKER_INFERENCE_OUTPUT="certainty")
    described = user.wait(name, "Failed")
    assert "asks for 'certainty', which a classification model does not give" in described["FailureReason"]
    group = f"/aws/sagemaker/Endpoints/{name}"
    assert user.logs.describe_log_streams(logGroupName=group)["logStreams"]
    user.sagemaker.delete_endpoint(EndpointName=name)
    user.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300})


def test_a_deleted_endpoint_is_gone_with_its_processes(
    user: Any, shared_server: Any, archives: dict[str, Path]
) -> None:
    name = user.deploy("gone", archives["binary"])
    user.wait(name)
    assert len(replicas(shared_server, name)) == 1
    user.sagemaker.delete_model(ModelName=name)
    user.sagemaker.delete_endpoint_config(EndpointConfigName=name)
    assert user.ask(name, "30,Rome") == "yes\n"
    user.sagemaker.delete_endpoint(EndpointName=name)
    user.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    error = refused(user.sagemaker.describe_endpoint, EndpointName=name)["Error"]
    arn = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/gone"
    assert error == {"Code": "ValidationException", "Message": f'Could not find endpoint "{arn}".'}
    assert replicas(shared_server, name) == []


def test_a_killed_replica_comes_back_and_nobody_notices_while_another_lives(
    killable: Any, user_of: Callable[[Any], Any], archives: dict[str, Path]
) -> None:
    user = user_of(killable)
    name = user.deploy("pair", archives["binary"], instances=2)
    user.wait(name)
    before = {process.pid for process in replicas(killable, name)}
    assert len(before) == 2
    psutil.Process(min(before)).kill()
    for _ in range(20):
        assert user.ask(name, "30,Rome") == "yes\n"
    give_up = time.monotonic() + 300
    while len(now := {process.pid for process in replicas(killable, name)}) < 2 or now == before:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    user.sagemaker.delete_endpoint(EndpointName=name)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_replicas_come_back_with_the_server(
    killable: Any, user_of: Callable[[Any], Any], archives: dict[str, Path], end: str
) -> None:
    user = user_of(killable)
    name = user.deploy(f"back-{end}", archives["binary"])
    user.wait(name)
    old = replicas(killable, name)
    assert len(old) == 1
    getattr(killable, end)()
    _, alive = psutil.wait_procs(old, timeout=120)
    assert alive == []
    user = user_of(killable.start())
    assert user.ask_until_answered(name, "30,Rome") == "yes\n"
    assert user.wait(name)["EndpointStatus"] == "InService"
    user.sagemaker.delete_endpoint(EndpointName=name)


def test_asynchronous_requests_are_answered_in_s3_whoever_is_killed(
    killable: Any, user_of: Callable[[Any], Any], archives: dict[str, Path]
) -> None:
    """Each accepted request has an object in the end: the server is killed while most of them wait."""
    user, name = user_of(killable), "later"
    user.upload(archives["binary"])
    user.s3.put_object(Bucket=BUCKET, Key="in/rows.csv", Body=b"30,Rome\n50.5,Rome\n")
    user.s3.put_object(Bucket=BUCKET, Key="in/short.csv", Body=b"30\n")
    config = {
        "OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out", "S3FailurePath": f"s3://{BUCKET}/failed"},
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
    }
    container = user.container(images.TABULAR_INFERENCE, archives["binary"])
    user.serve(name, [container], configuration={"AsyncInferenceConfig": config})
    assert user.wait(name)["AsyncInferenceConfig"] == config
    refusal = refused(user.runtime.invoke_endpoint, EndpointName=name, Body="30,Rome", ContentType="text/csv")
    assert refusal["Error"]["Code"] == "ValidationError"

    def ask(key: str, number: int) -> dict[str, Any]:
        invoke = {"InputLocation": f"s3://{BUCKET}/in/{key}.csv", "ContentType": "text/csv"}
        return dict(user.runtime.invoke_endpoint_async(EndpointName=name, InferenceId=f"{key}-{number}", **invoke))

    first = ask("rows", 0)
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert first["OutputLocation"] == f"s3://{BUCKET}/out/rows-0.out"
    user.s3.get_waiter("object_exists").wait(Bucket=BUCKET, Key="out/rows-0.out", WaiterConfig={"Delay": 1})
    accepted = [ask(key, number) for number in range(1, 31) for key in ("rows", "short")]
    assert len(accepted) == 60
    killable.kill()
    user = user_of(killable.start())
    found: set[str] = set()
    give_up = time.monotonic() + 120
    while len(found) < 61 and time.monotonic() < give_up:
        listed = [user.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/") for prefix in ("out", "failed")]
        found = {entry["Key"] for page in listed for entry in page.get("Contents", [])}
        time.sleep(0.1)
    numbers = [str(number) for number in range(1, 31)]
    expected = {f"out/rows-{number}.out" for number in ["0", *numbers]}
    assert found == expected | {f"failed/short-{number}-error.out" for number in numbers}
    assert user.s3.get_object(Bucket=BUCKET, Key="out/rows-30.out")["Body"].read() == b"yes\nno\n"
    reason = user.s3.get_object(Bucket=BUCKET, Key="failed/short-30-error.out")["Body"].read().decode()
    assert reason.startswith('Received client error (400) from model with message "Received data of unknown size.')
    user.sagemaker.delete_endpoint(EndpointName=name)


def test_one_row_takes_milliseconds(user: Any, archives: dict[str, Path]) -> None:
    """Prints the latency; a busy machine must not fail the suite, so only a gross slowness does."""
    name = user.deploy("quick", archives["binary"])
    user.wait(name)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        user.ask(name, "30,Rome")
        times.append(time.perf_counter() - start)
    print(f"one row: p50 {statistics.median(times) * 1e3:.1f} ms")
    assert statistics.median(times) < 1
