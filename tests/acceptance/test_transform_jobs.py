"""Batch transform through boto3, on a server that kills jobs behind their second object and behind their end."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from pilothouse.client.model import Model

pytestmark = pytest.mark.slow

LINES = ["0.5,red", "-1.25,green", ",violet", "1e3,"]
BUCKET = "batch"


@pytest.fixture(scope="module")
def server(server_with: Callable[..., Any]) -> Any:
    return server_with(PILOTHOUSE_FAILPOINT="object-1:unrecorded,store:unrecorded")


@pytest.fixture(scope="module")
def batch(server: Any, user_of: Callable[[Any], Any], candidates: dict[str, Path]) -> Any:
    """A user with the model "classes" and an empty bucket."""
    user = user_of(server)
    user.sagemaker.create_model(ModelName="classes", Containers=user.containers(candidates["classes"]))
    user.s3.create_bucket(Bucket=BUCKET)
    return user


def put(user: Any, **bodies: bytes | str) -> None:
    for name, body in bodies.items():
        user.s3.put_object(Bucket=BUCKET, Key=name.replace("__", "/"), Body=body)


def start(user: Any, name: str, prefix: str, *, source: Any = None, target: Any = None, **members: Any) -> None:
    location = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}}
    user.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName="classes",
        TransformInput={"DataSource": location, "ContentType": "text/csv", "SplitType": "Line", **(source or {})},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out/{name}", **(target or {})},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeKmsKeyId": "alias/ours"},
        **members,
    )


def ended(user: Any, name: str) -> dict[str, Any]:
    give_up = time.monotonic() + 240
    while (job := user.sagemaker.describe_transform_job(TransformJobName=name))["TransformJobStatus"] in (
        "InProgress",
        "Stopping",
    ):
        assert time.monotonic() < give_up, job
        time.sleep(0.2)
    return dict(job)


def output(user: Any, name: str) -> dict[str, str]:
    """The output of a job, by the keys below its path."""
    prefix = f"out/{name}/"
    listed = user.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    bodies = {one["Key"]: user.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}
    return {key.removeprefix(prefix): body.decode() for key, body in bodies.items()}


def labels(text: str) -> list[str]:
    return [row[0] for row in csv.reader(io.StringIO(text))]


def test_each_object_becomes_one_of_answers_though_the_job_is_killed(
    batch: Any, server: Any, candidates: dict[str, Path]
) -> None:
    put(batch, **{f"many__{number}.csv": "\n".join(LINES * 50) for number in range(3)})
    put(batch, many__deeper__last="\n".join(LINES))
    start(batch, "many", "many/", target={"AssembleWith": "Line"}, MaxConcurrentTransforms=2)
    job = ended(batch, "many")
    assert (job["TransformJobStatus"], job.get("FailureReason")) == ("Completed", None)
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert job["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    model = Model(candidates["classes"] / "stages")
    expected = model.predict([dict(zip(model.columns, line.split(","), strict=True)) for line in LINES])
    found = {key: labels(text) for key, text in output(batch, "many").items()}
    assert found == {
        **{f"{number}.csv.out": expected * 50 for number in range(3)},
        "deeper/last.out": expected,
    }
    assert "a job process ended unexpectedly" in server.log.read_text()
    streams = batch.logs.describe_log_streams(logGroupName="/aws/sagemaker/TransformJobs")["logStreams"]
    assert any(stream["logStreamName"].startswith("many/") for stream in streams)


def test_rows_are_filtered_joined_and_filtered(batch: Any) -> None:
    put(batch, joined="\n".join(f"id-{number},{line}" for number, line in enumerate(LINES)))
    processing = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,3]"}
    start(batch, "joined", "joined", DataProcessing=processing, BatchStrategy="SingleRecord")
    assert ended(batch, "joined")["TransformJobStatus"] == "Completed"
    keyed = {"KmsKeyId": "alias/ours"}
    start(batch, "plain", "joined", DataProcessing={"InputFilter": "$[1:]"}, target=keyed)
    assert ended(batch, "plain")["TransformJobStatus"] == "Completed"
    told = batch.s3.head_object(Bucket=BUCKET, Key="out/plain/joined.out")
    assert told["SSEKMSKeyId"] == "arn:aws:kms:us-east-1:000000000000:alias/ours"
    expected = labels(output(batch, "plain")["joined.out"])
    assert output(batch, "joined")["joined.out"] == "".join(f"id-{n},{label}\n" for n, label in enumerate(expected))


def peak(user: Any, server: Any, name: str) -> int:
    """The most memory that a process of a job has had by the end of the job, in MiB."""
    most = 0
    while user.sagemaker.describe_transform_job(TransformJobName=name)["TransformJobStatus"] == "InProgress":
        for pid in re.findall(rf"name={name} attempt=\d+ pid=(\d+)", server.log.read_text()):
            with suppress(OSError):  # this one has ended
                known = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                most = max([most, *(int(kib) >> 10 for kib in known)])
        time.sleep(0.05)
    return most


def test_an_object_of_100_mb_needs_hardly_more_memory_than_a_line(batch: Any, server: Any) -> None:
    """Neither it nor its answers, which are as large, are in the job's process as a whole."""
    line = b"0.5," + b"red " * 25_000 + b"\n"
    put(batch, little=line, large=line * 1000)
    peaks = {}
    for name in ("little", "large"):
        start(batch, name, name, DataProcessing={"JoinSource": "Input"}, MaxPayloadInMB=1)
        peaks[name] = peak(batch, server, name)
        assert ended(batch, name)["TransformJobStatus"] == "Completed"
    assert batch.s3.head_object(Bucket=BUCKET, Key="out/large/large.out")["ContentLength"] > len(line) * 1000
    assert 0 < peaks["large"] < peaks["little"] + 40


def test_gzip_goes_in_and_json_comes_out(batch: Any) -> None:
    put(batch, packed=gzip.compress(b"\n".join(line.encode() for line in LINES)))
    start(batch, "packed", "packed", source={"CompressionType": "Gzip"}, target={"Accept": "application/jsonlines"})
    assert ended(batch, "packed")["TransformJobStatus"] == "Completed"
    assert output(batch, "packed")["packed.out"].count('{"predicted_label": ') == len(LINES)


def test_utf_16_goes_in_line_by_line_and_what_was_done_is_captured(batch: Any) -> None:
    """Its lines have letters whose second byte is that of a newline (U+010A)."""
    wide = [f"\u010a{number},{line}" for number, line in enumerate(LINES)]
    put(batch, wide__le=codecs.BOM_UTF16_LE + "\n".join(wide).encode("utf-16-le"), wide__plain="\n".join(wide))
    start(
        *(batch, "wide", "wide/"),
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
        DataCaptureConfig={
            "DestinationS3Uri": f"s3://{BUCKET}/captured",
            "KmsKeyId": "alias/ours",
            "GenerateInferenceId": True,
        },
    )
    described = ended(batch, "wide")
    assert described["TransformJobStatus"] == "Completed", described
    assert described["DataCaptureConfig"]["GenerateInferenceId"]
    rows = {key: list(csv.reader(io.StringIO(text))) for key, text in output(batch, "wide").items()}
    assert [row[:2] for row in rows["le.out"]] == [row[:2] for row in rows["plain.out"]]
    assert [row[0] for row in rows["le.out"]] == [line.split(",")[0] for line in wide]
    started = described["TransformStartTime"].astimezone(UTC)
    assert {row[3] for made in rows.values() for row in made} == {f"{started:%Y-%m-%dT%H:%M:%SZ}"}
    assert len({row[2] for made in rows.values() for row in made}) == 2 * len(LINES)

    captured = {}
    for side in ("input", "output"):
        key = f"captured/{side}/{started:%Y/%m/%d/%H}/wide.jsonl"
        answer = batch.s3.get_object(Bucket=BUCKET, Key=key)
        assert answer["SSEKMSKeyId"].endswith(":alias/ours")
        captured[side] = json.load(answer["Body"])
    assert captured == {
        "input": [{"prefix": f"s3://{BUCKET}/wide/"}, "le", "plain"],
        "output": [{"prefix": f"s3://{BUCKET}/out/wide/"}, "le.out", "plain.out"],
    }


def test_what_was_done_before_a_failure_is_stored_and_the_object_is_named(batch: Any) -> None:
    put(batch, partly__1=LINES[0], partly__2="only one column")
    start(batch, "partly", "partly/")
    job = ended(batch, "partly")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        f"ClientError: s3://{BUCKET}/partly/2: The model answered 400: Received data"
    )
    assert list(output(batch, "partly")) == ["1.out"]


def test_a_model_that_does_not_load_fails_the_job(batch: Any, candidates: dict[str, Path]) -> None:
    mixed = [batch.containers(candidates["values"])[0], *batch.containers(candidates["classes"])[1:]]
    batch.sagemaker.create_model(ModelName="mixed", Containers=mixed)
    put(batch, whatever=LINES[0])
    location = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/whatever"}}
    batch.sagemaker.create_transform_job(
        TransformJobName="mixed",
        ModelName="mixed",
        TransformInput={"DataSource": location},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out/mixed"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    assert "They are of different models." in ended(batch, "mixed")["FailureReason"]


def test_a_stopped_job_stores_nothing(batch: Any) -> None:
    put(batch, endless="\n".join(LINES * 50_000))
    start(batch, "endless", "endless", BatchStrategy="SingleRecord")
    batch.sagemaker.stop_transform_job(TransformJobName="endless")
    assert ended(batch, "endless")["TransformJobStatus"] == "Stopped"
    assert output(batch, "endless") == {}
    listed = batch.sagemaker.list_transform_jobs(StatusEquals="Stopped")["TransformJobSummaries"]
    assert [job["TransformJobName"] for job in listed] == ["endless"]
