"""kill -9 of the server, the nursery and the job process: a tuning job loses no trial and counts none twice."""

from __future__ import annotations

import io
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.acceptance.conftest import children_named, reboot

pytestmark = pytest.mark.slow

BUCKET = "drill"
SCRIPT = """
import argparse, time
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)
x = parser.parse_known_args()[0].x
for epoch in range(4):
    print("acc=%r" % (epoch - abs(x - 0.3)), flush=True)
    time.sleep(0.1)
"""

POINTS = [
    *(f"{step}:{point}" for step in ("train", "upload") for point in ("before", "unrecorded", "after")),
    *(f"{step}:{point}" for step in ("open", "trial") for point in ("before", "after")),
]


@pytest.fixture(scope="module")
def server(killable: Any) -> Any:
    """In place of the fixture of this name: all tests of this module kill the same one, and parts of it."""
    return killable


@pytest.fixture(scope="module")
def drilled(server_with: Callable[..., Any]) -> Any:
    """A server whose jobs' processes kill themselves at each of `POINTS`."""
    return server_with(PILOTHOUSE_FAILPOINT=",".join(POINTS))


def named(name: str) -> dict[str, str]:
    return {"HyperParameterTuningJobName": name}


def create(
    server: Any, name: str, jobs: int, parallel: int, script: str = SCRIPT, key: str | None = None, **config: Any
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script.encode()))
    s3 = server.client("s3")
    if all(bucket["Name"] != BUCKET for bucket in s3.list_buckets()["Buckets"]):
        s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=out.getvalue())
    server.client("sagemaker").create_hyper_parameter_tuning_job(
        **named(name),
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]},
            "RandomSeed": 7,
            **config,
        },
        TrainingJobDefinition={
            "StaticHyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{BUCKET}/{name}.tar.gz",
            },
            "AlgorithmSpecification": {
                "TrainingImage": "pilothouse/script:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([-0-9.e]+)"}],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
                **({"VolumeKmsKeyId": key} if key else {}),
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        },
    )


def wait(server: Any, name: str, true: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    sagemaker = server.client("sagemaker")
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        job: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(**named(name))
        if (true or (lambda j: j["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping")))(job):
            return job
        time.sleep(0.15)
    raise AssertionError(f"{job}\n{server.log.read_text()[-5000:]}")


def completed(job: dict[str, Any]) -> int:
    return int(job["TrainingJobStatusCounters"]["Completed"])


def trials(server: Any, name: str) -> list[dict[str, Any]]:
    paginator = server.client("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    return [trial for page in paginator.paginate(**named(name)) for trial in page["TrainingJobSummaries"]]


def programs(nursery: psutil.Process) -> list[psutil.Process]:
    """The processes of training programs."""
    found = []
    for process in nursery.children(recursive=True):
        with suppress(psutil.Error):
            if "train.py" in process.cmdline():
                found.append(process)
    return found


def beginnings(server: Any, name: str) -> Counter[str]:
    """How often the program of each trial began: each time has a log stream of its own."""
    pages = server.client("logs").get_paginator("describe_log_streams")
    streams = pages.paginate(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}-")
    return Counter(one["logStreamName"].split("/")[0] for page in streams for one in page["logStreams"])


def must_have_each_once(server: Any, job: dict[str, Any], jobs: int) -> list[dict[str, Any]]:
    found = trials(server, job["HyperParameterTuningJobName"])
    assert [trial["TrainingJobName"].split("-")[-2] for trial in found] == [f"{n:03d}" for n in range(1, jobs + 1)]
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    counted = Counter(trial["TrainingJobStatus"] for trial in found)
    assert counted["Failed"] == 0, [trial.get("FailureReason") for trial in found]
    assert {name: count for name, count in job["TrainingJobStatusCounters"].items() if count} == counted
    assert job["ObjectiveStatusCounters"] == {"Succeeded": jobs, "Pending": 0, "Failed": 0}
    assert len({trial["TunedHyperParameters"]["x"] for trial in found}) == jobs
    best = max(found, key=lambda trial: trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
    assert job["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]
    return found


@pytest.mark.parametrize("victim", ["machine", "nursery", "job", "told-to-end"])
def test_every_trial_counts_once_whoever_is_killed_in_mid_tuning(
    server: Any, gate: Callable[..., Any], victim: str
) -> None:
    name, held = f"of-{victim}", gate(first=2)
    key = "alias/ours" if victim == "machine" else None
    create(server, name, 8, 2, held.line + SCRIPT, key, Strategy="Bayesian", TrainingJobEarlyStoppingType="Auto")
    wait(server, name, lambda job: completed(job) >= 2)
    before = {trial["TrainingJobName"] for trial in trials(server, name) if trial["TrainingJobStatus"] == "Completed"}
    # The server may have adopted processes of a nursery that was killed before: the nursery is the one with the job.
    [job] = children_named(name, *psutil.Process(server.process.pid).children())
    if victim == "machine":
        reboot(server)
    elif victim == "nursery":
        job.parent().kill()
    elif victim == "job":
        job.kill()
    else:
        assert server.stop() == 0
        server.start()
    held.open()
    found = must_have_each_once(server, wait(server, name), 8)
    assert before <= {trial["TrainingJobName"] for trial in found}
    begun = beginnings(server, name)
    assert all(begun[trial] == 1 for trial in before)
    assert sum(begun.values()) <= 8 + 2


def test_on_postgresql_too_a_killed_server_loses_no_trial(
    start_server: Callable[..., Any], gate: Callable[..., Any], postgres: str
) -> None:
    held = gate(first=2)
    server = start_server(PILOTHOUSE_DATABASE_URL=postgres, PILOTHOUSE_SLOTS="2")
    create(server, "postgres", 8, 2, held.line + SCRIPT)
    wait(server, "postgres", lambda job: completed(job) >= 2)
    server.kill()
    server.start()
    held.open()
    must_have_each_once(server, wait(server, "postgres"), 8)


def test_a_job_whose_process_keeps_dying_is_given_up_with_its_trials(server: Any) -> None:
    create(server, "dying", 4, 2, script="import time\ntime.sleep(600)\n")
    nursery = psutil.Process(server.process.pid).children()[0]

    def killed(job: dict[str, Any]) -> bool:
        with suppress(psutil.Error):
            for process in nursery.children():
                if process.name() == "dying" and programs(nursery):
                    process.kill()
        return job["HyperParameterTuningJobStatus"] == "Failed"

    job = wait(server, "dying", killed)
    assert "ended unexpectedly 5 times" in job["FailureReason"]
    assert job["TrainingJobStatusCounters"]["RetryableError"] == len(trials(server, "dying")) == 2
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 0, "Pending": 0, "Failed": 2}
    assert {trial["TrainingJobStatus"] for trial in trials(server, "dying")} == {"Failed"}
    assert programs(nursery) == []


def test_a_job_process_killed_around_each_step_of_a_trial_goes_on_from_there(drilled: Any) -> None:
    before = drilled.log.read_text().count("ended unexpectedly")
    create(drilled, "steps", 4, 1)
    must_have_each_once(drilled, wait(drilled, "steps"), 4)
    assert drilled.log.read_text().count("ended unexpectedly") - before == len(POINTS)
    assert set(beginnings(drilled, "steps").values()) == {1}  # no program is run again


def test_the_same_seed_finds_the_same_points_whether_killed_or_not(server: Any, drilled: Any) -> None:
    tried = []
    for one in (server, drilled):
        create(one, "seed", 8, 1, Strategy="Bayesian")
        wait(one, "seed")
        tried.append([trial["TunedHyperParameters"] for trial in trials(one, "seed")])
    assert tried[0] == tried[1]
