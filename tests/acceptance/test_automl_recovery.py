"""kill -9 of the server, the job process or a trial, at every step in turn: the job ends as if nothing had happened."""

from __future__ import annotations

import collections
import csv
import io
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest
from sklearn.datasets import load_breast_cancer

from tests.acceptance.conftest import volumes_of

pytestmark = pytest.mark.slow

BUCKET = "drill-automl"
COLUMNS = 6
GROUP = "/aws/sagemaker/AutoMLJobs"
STEPS = ("start", "prepare", "resolve", "plan", "deploy")
POINTS = [f"{step}:{point}" for step in STEPS for point in ("before", "unrecorded", "after")]


def data() -> bytes:
    cancer = load_breast_cancer()
    out = io.StringIO()
    writer = csv.writer(out)
    few = cancer.data[:, :COLUMNS].tolist()
    writer.writerow([*map(str, cancer.feature_names[:COLUMNS]), "diagnosis"])
    writer.writerows([*row, cancer.target_names[i]] for row, i in zip(few, cancer.target, strict=True))
    return out.getvalue().encode()


def create(server: Any, name: str, candidates: int = 3, **config: Any) -> None:
    s3 = server.client("s3")
    if all(bucket["Name"] != BUCKET for bucket in s3.list_buckets()["Buckets"]):
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="data.csv", Body=data())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data.csv"}}
    server.client("sagemaker").create_auto_ml_job(
        AutoMLJobName=name,
        InputDataConfig=[{"DataSource": source, "TargetAttributeName": "diagnosis"}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        AutoMLJobConfig={"CompletionCriteria": {"MaxCandidates": candidates}, **config},
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
        ModelDeployConfig={"EndpointName": name},
    )


def wait(server: Any, name: str) -> dict[str, Any]:
    sagemaker = server.client("sagemaker")
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        job = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
        if job["AutoMLJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"{name} is still {job['AutoMLJobSecondaryStatus']}\n{server.log.read_text()[-5000:]}")


def must_have_completed(server: Any, name: str, candidates: int = 3) -> None:
    job = wait(server, name)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed"), job
    sagemaker = server.client("sagemaker")
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
    assert len(listed) == candidates
    steps = sagemaker.list_processing_jobs(MaxResults=100, NameContains=name)["ProcessingJobSummaries"]
    assert collections.Counter(s["ProcessingJobStatus"] for s in steps)["InProgress"] == 0
    assert len(steps) == candidates
    assert phases(server, name) == ["AnalyzingData", "TrainingModels", "DeployingModel"]
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    sagemaker.delete_endpoint(EndpointName=name)


def phases(server: Any, name: str) -> list[str]:
    """What the job's log says that it entered."""
    events = server.client("logs").get_log_events(logGroupName=GROUP, logStreamName=f"{name}/job")["events"]
    known = ("AnalyzingData", "TrainingModels", "DeployingModel")
    return [event["message"] for event in events if event["message"] in known]


@pytest.fixture(scope="module")
def server(killable: Any) -> Any:
    """In place of the fixture of this name: all tests of this module kill the same one, and parts of it."""
    return killable


def test_a_job_process_killed_around_each_step_is_run_again_from_there(start_server: Callable[..., Any]) -> None:
    server = start_server(PILOTHOUSE_FAILPOINT=",".join(POINTS))
    create(server, "steps", candidates=2)
    must_have_completed(server, "steps", candidates=2)
    assert server.log.read_text().count("ended unexpectedly") == len(POINTS)


def in_training(server: Any, name: str) -> None:
    sagemaker = server.client("sagemaker")
    give_up = time.monotonic() + 300
    while not sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def descendants(server: Any) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_trial_is_a_failed_candidate_and_the_job_goes_on(server: Any) -> None:
    create(server, "trial", candidates=4)
    in_training(server, "trial")
    youngest = max(descendants(server), key=lambda process: process.create_time())
    with suppress(psutil.NoSuchProcess):  # it may have ended by itself
        youngest.kill()
    job = wait(server, "trial")
    assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")
    listed = server.client("sagemaker").list_candidates_for_auto_ml_job(AutoMLJobName="trial")["Candidates"]
    failed = [c for c in listed if c["CandidateStatus"] == "Failed"]
    assert len(failed) <= 1
    assert all("SIGKILL" in c["FailureReason"] for c in failed)


def test_a_server_killed_in_training_resumes_and_leaves_no_orphan(server: Any) -> None:
    create(server, "server", SecurityConfig={"VolumeKmsKeyId": "alias/ours"})
    in_training(server, "server")
    volume = volumes_of(server) / "automl-job" / "server"
    assert {"dataset", "trials"} <= {path.name for path in volume.iterdir()}
    assert [path.name for path in (server.home / "work" / "automl-job" / "server").iterdir()] == ["job.log"]
    before = descendants(server)
    server.kill()
    give_up = time.monotonic() + 120
    while not all(map(ended, before)):
        assert time.monotonic() < give_up, "a process outlived its server"
        time.sleep(0.1)
    server.start()
    must_have_completed(server, "server")
    config = server.client("sagemaker").describe_endpoint_config(EndpointConfigName="server")
    assert config["KmsKeyId"] == "alias/ours"
    give_up = time.monotonic() + 60
    while left := [volume] * volume.exists() + list(volumes_of(server).glob("keyed-models/*")):
        assert time.monotonic() < give_up, f"{left} outlived the job and its endpoint"
        time.sleep(0.1)


def test_a_server_told_to_end_in_training_resumes_at_the_next_start(server: Any) -> None:
    create(server, "term")
    in_training(server, "term")
    assert server.stop() == 0
    server.start()
    must_have_completed(server, "term")
