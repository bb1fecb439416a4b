"""Training jobs as boto3 and the `aws` command run them: scripts under the container contract, metrics, logs, ends."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

BUCKET = "training"
ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
GROUP = "/aws/sagemaker/TrainingJobs"
LINE = (
    "GAN_loss=0.138318; Scaled_reg=2.654134; disc:[-0.017371,0.102429] real 93.3% gen 0.0% disc-combined=0.000000; "
    "disc_train_loss=1.374587; Loss = 16.020744; Iteration 0 took 0.704s; Elapsed=0s"
)
DEFINITIONS = [
    {"Name": "loss", "Regex": "Loss = (.*?);"},
    {"Name": "ganloss", "Regex": "GAN_loss=(.*?);"},
    {"Name": "discloss", "Regex": "disc_train_loss=(.*?);"},
    {"Name": "disc-combined", "Regex": "disc-combined=(.*?);"},
]


def archive(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


class Trainer:
    """A server with a bucket, and what a test does with it."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.s3 = server.client("s3")
        self.sagemaker = server.client("sagemaker")
        self.logs = server.client("logs")
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: bytes | str) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body if isinstance(body, bytes) else body.encode())
        return f"s3://{BUCKET}/{key}"

    def request(self, name: str, script: str | None = None, **changes: Any) -> dict[str, Any]:
        given = changes.pop("HyperParameters", {})
        if script is not None:
            source = self.put(f"{name}/sourcedir.tar.gz", archive({"train.py": script, **changes.pop("files", {})}))
            given = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source, **given}
        specification = {"TrainingImage": IMAGE, "TrainingInputMode": "File", **changes.pop("Algorithm", {})}
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": specification,
            "HyperParameters": given,
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            **changes,
        }
        return {member: value for member, value in request.items() if value != {}}

    def create(self, name: str, script: str | None = None, **changes: Any) -> None:
        self.sagemaker.create_training_job(**self.request(name, script, **changes))

    def describe(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_training_job(TrainingJobName=name)

    def wait(self, name: str, seconds: float = 240, true: Callable[[Any], bool] | None = None) -> dict[str, Any]:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            job = self.describe(name)
            if (true or (lambda j: j["TrainingJobStatus"] not in ("InProgress", "Stopping")))(job):
                return job
            time.sleep(0.1)
        raise AssertionError(f"{name} is still {job['SecondaryStatus']}\n{self.log(name)[-20:]}")

    def ended(self, name: str, script: str | None = None, **changes: Any) -> dict[str, Any]:
        self.create(name, script, **changes)
        return self.wait(name)

    def log(self, name: str) -> list[str]:
        found: list[str] = []
        try:
            streams = self.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
        except ClientError:
            return []
        for stream in streams:
            token: dict[str, Any] = {}
            while True:
                page = self.logs.get_log_events(
                    logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True, **token
                )
                found += [event["message"] for event in page["events"]]
                if token.get("nextToken") == page["nextForwardToken"]:
                    break
                token = {"nextToken": page["nextForwardToken"]}
        return found

    def unpacked(self, address: str) -> dict[str, bytes]:
        key = address.removeprefix(f"s3://{BUCKET}/")
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def trainer(start_shared_server: Callable[..., Any]) -> Trainer:
    return Trainer(start_shared_server(PILOTHOUSE_STOP_GRACE="3"))


def metrics(job: dict[str, Any]) -> dict[str, float]:
    return {m["MetricName"]: m["Value"] for m in job.get("FinalMetricDataList", [])}


def test_the_definitions_of_the_guide_read_its_log_line(trainer: Trainer) -> None:
    job = trainer.ended("guide", f"print({LINE!r})", Algorithm={"MetricDefinitions": DEFINITIONS})
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert metrics(job) == {"loss": 16.020744, "ganloss": 0.138318, "discloss": 1.374587, "disc-combined": 0.0}
    assert LINE in trainer.log("guide")
    statuses = [t["Status"] for t in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["TrainingEndTime"] >= job["TrainingStartTime"] >= job["CreationTime"]
    assert job["BillableTimeInSeconds"] >= 1
    assert trainer.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {}
