"""kill -9 of the job process around each step, of the program, and of the server: a training job ends all the same."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil
import pytest

from tests.acceptance.conftest import children_named, volumes_of

pytestmark = pytest.mark.slow

BUCKET = "drill"
POINTS = [f"{step}:{point}" for step in ("train", "upload") for point in ("before", "unrecorded", "after")]
QUICK = """
import os, pathlib, uuid
folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
(folder / uuid.uuid4().hex).touch()
print("runs=%d" % len(list(folder.iterdir())))
pathlib.Path(os.environ["SM_MODEL_DIR"], "model").write_text("made")
"""
SLOW = (
    QUICK
    + """
import time
if len(list(folder.iterdir())) == 1:
    time.sleep(600)
"""
)


def create(server: Any, name: str, script: str, resources: Mapping[str, str] = {}, **changes: Any) -> None:
    s3 = server.client("s3")
    if all(bucket["Name"] != BUCKET for bucket in s3.list_buckets()["Buckets"]):
        s3.create_bucket(Bucket=BUCKET)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script.encode()))
    s3.put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=out.getvalue())
    server.client("sagemaker").create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": "pilothouse/script:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "runs", "Regex": "runs=([0-9]+)"}],
        },
        HyperParameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{BUCKET}/{name}.tar.gz"},
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, **resources},
        StoppingCondition={"MaxRuntimeInSeconds": 300},
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
        **changes,
    )


def wait(server: Any, name: str, true: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    sagemaker = server.client("sagemaker")
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up:
        job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
        if (true or (lambda j: j["TrainingJobStatus"] not in ("InProgress", "Stopping")))(job):
            return job
        time.sleep(0.15)
    raise AssertionError(f"{name} is still {job['SecondaryStatus']}\n{server.log.read_text()[-5000:]}")


def runs(job: dict[str, Any]) -> float | None:
    return next((m["Value"] for m in job.get("FinalMetricDataList", [])), None)


def must_have_completed(server: Any, name: str) -> dict[str, Any]:
    job = wait(server, name)
    assert job["TrainingJobStatus"] == "Completed", job
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    body = server.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames() == ["model"]
    return job


def programs(server: Any) -> list[psutil.Process]:
    """The processes of the training program itself."""
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "train.py" in process.cmdline() and process.name() not in ("bwrap", "unshare", "sh"):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def server(killable: Any) -> Any:
    """In place of the fixture of this name: all tests of this module kill the same one, and parts of it."""
    return killable


def test_a_job_process_killed_around_each_step_goes_on_from_there(server_with: Callable[..., Any]) -> None:
    server = server_with(PILOTHOUSE_FAILPOINT=",".join(POINTS))
    create(server, "drilled", QUICK)
    job = must_have_completed(server, "drilled")
    assert runs(job) == 1  # the program itself is not run again
    assert server.log.read_text().count("ended unexpectedly") == len(POINTS)


def test_a_killed_program_fails_its_job_in_words(server: Any) -> None:
    create(server, "program", SLOW)
    wait(server, "program", lambda job: runs(job) == 1)
    [program] = programs(server)
    program.kill()
    job = wait(server, "program")
    assert job["TrainingJobStatus"] == "Failed"
    assert "exit code: 137" in job["FailureReason"]


def test_the_killed_process_around_a_program_fails_its_job_in_words(server: Any) -> None:
    create(server, "around", SLOW)
    wait(server, "around", lambda job: runs(job) == 1)
    [program] = programs(server)
    keeper = program
    while keeper.parent() is not None and keeper.name() != "around":
        keeper = keeper.parent()
    keeper.kill()
    job = wait(server, "around")
    assert job["TrainingJobStatus"] == "Failed"
    assert "was killed by signal 9" in job["FailureReason"]
    assert not psutil.pid_exists(program.pid)


@pytest.mark.parametrize("victim", ["job", "light", "nursery", "server", "told-to-end"])
def test_a_program_begins_again_from_its_checkpoints(server: Any, victim: str) -> None:
    name = f"of-{victim}"
    create(server, name, SLOW, CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/{victim}"})
    wait(server, name, lambda job: runs(job) == 1)
    [program] = programs(server)
    nursery = psutil.Process(server.process.pid).children()[0]
    if victim == "job":
        [process] = children_named(name, nursery)
        process.kill()
    elif victim == "light":
        [light] = [process for process in nursery.children() if program in process.children(recursive=True)]
        light.kill()
    elif victim == "nursery":
        nursery.kill()
    elif victim == "server":
        server.kill()
        server.start()
    else:
        assert server.stop() == 0
        server.start()
    job = must_have_completed(server, name)
    assert runs(job) == 2
    statuses = [t["Status"] for t in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Interrupted", *statuses[1:3], "Uploading", "Completed"]
    assert not psutil.pid_exists(program.pid)
    logs = server.client("logs")
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/algo")
    assert len(streams["logStreams"]) == 2


def test_a_volume_with_a_key_is_in_memory_survives_its_server_and_is_gone_with_its_job(server: Any) -> None:
    create(server, "keyed", SLOW, {"VolumeKmsKeyId": "alias/ours"})
    wait(server, "keyed", lambda job: runs(job) == 1)
    volume = volumes_of(server) / "training-job" / "keyed"
    assert (volume / "algo-1" / "ml" / "code" / "train.py").read_text() == SLOW
    assert volumes_of(server).stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (server.home / "work" / "training-job" / "keyed").iterdir()] == ["job.log"]
    server.kill()
    [checkpoint] = (volume / "algo-1" / "ml" / "checkpoints").iterdir()
    server.start()
    job = must_have_completed(server, "keyed")
    assert runs(job) == 2, f"{checkpoint} was lost"
    give_up = time.monotonic() + 60
    while volume.exists():
        assert time.monotonic() < give_up, list(volume.rglob("*"))
        time.sleep(0.05)
    create(server, "next", QUICK, {"VolumeKmsKeyId": "alias/ours"})
    must_have_completed(server, "next")
    [said] = said_first(server, "next")
    assert said.startswith("Keys of volumes, as this job has one, are honoured in memory, in /dev/shm")


def said_first(server: Any, name: str) -> list[str]:
    logs, group = server.client("logs"), "/aws/sagemaker/TrainingJobs"
    [stream] = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/algo")["logStreams"]
    found = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], limit=1, startFromHead=True)
    return [event["message"] for event in found["events"]]
