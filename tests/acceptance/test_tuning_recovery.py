"""kill -9 of the server, the nursery and the job process: a tuning job loses no trial and counts none twice."""

from __future__ import annotations

import io
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow

BUCKET = "drill"
NAME = {"HyperParameterTuningJobName": "again"}
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


def create(server: Any, jobs: int, parallel: int, **config: Any) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(SCRIPT)
        tar.addfile(member, io.BytesIO(SCRIPT.encode()))
    server.client("s3").create_bucket(Bucket=BUCKET)
    server.client("s3").put_object(Bucket=BUCKET, Key="source.tar.gz", Body=out.getvalue())
    server.client("sagemaker").create_hyper_parameter_tuning_job(
        **NAME,
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
                "sagemaker_submit_directory": f"s3://{BUCKET}/source.tar.gz",
            },
            "AlgorithmSpecification": {
                "TrainingImage": "pilothouse/script:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([-0-9.e]+)"}],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        },
    )


def wait(server: Any, true: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    sagemaker = server.client("sagemaker")
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        job: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(**NAME)
        if (true or (lambda j: j["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping")))(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{job}\n{server.log.read_text()[-5000:]}")


def completed(job: dict[str, Any]) -> int:
    return int(job["TrainingJobStatusCounters"]["Completed"])


def trials(server: Any) -> list[dict[str, Any]]:
    paginator = server.client("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    return [trial for page in paginator.paginate(**NAME) for trial in page["TrainingJobSummaries"]]


def beginnings(server: Any) -> Counter[str]:
    """How often the program of each trial began: each time has a log stream of its own."""
    pages = server.client("logs").get_paginator("describe_log_streams")
    streams = pages.paginate(logGroupName="/aws/sagemaker/TrainingJobs")
    return Counter(one["logStreamName"].split("/")[0] for page in streams for one in page["logStreams"])


def must_have_each_once(server: Any, job: dict[str, Any], jobs: int) -> list[dict[str, Any]]:
    found = trials(server)
    assert [trial["TrainingJobName"].split("-")[1] for trial in found] == [f"{n:03d}" for n in range(1, jobs + 1)]
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    counted = Counter(trial["TrainingJobStatus"] for trial in found)
    assert {name: count for name, count in job["TrainingJobStatusCounters"].items() if count} == counted
    assert job["ObjectiveStatusCounters"] == {"Succeeded": jobs, "Pending": 0, "Failed": 0}
    assert len({trial["TunedHyperParameters"]["x"] for trial in found}) == jobs
    best = max(found, key=lambda trial: trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
    assert job["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]
    return found


@pytest.mark.parametrize("victim", ["server", "nursery", "job", "server told to end"])
def test_every_trial_counts_once_whoever_is_killed_in_mid_tuning(start_server: Callable[..., Any], victim: str) -> None:
    server = start_server(PILOTHOUSE_SLOTS="2")
    create(server, 8, 2, Strategy="Bayesian", TrainingJobEarlyStoppingType="Auto")
    wait(server, lambda job: completed(job) >= 2)
    before = {trial["TrainingJobName"] for trial in trials(server) if trial["TrainingJobStatus"] == "Completed"}
    nursery = psutil.Process(server.process.pid).children()[0]
    if victim == "server":
        server.kill()
        server.start()
    elif victim == "nursery":
        nursery.kill()
    elif victim == "job":
        [process] = [process for process in nursery.children() if process.name() == "again"]
        process.kill()
    else:
        assert server.stop() == 0
        server.start()
    found = must_have_each_once(server, wait(server), 8)
    assert before <= {trial["TrainingJobName"] for trial in found}
    begun = beginnings(server)
    assert all(begun[name] == 1 for name in before)
    assert sum(begun.values()) <= 8 + 2


def test_a_job_process_killed_around_each_step_of_a_trial_goes_on_from_there(start_server: Callable[..., Any]) -> None:
    server = start_server(PILOTHOUSE_FAILPOINT=",".join(POINTS))
    create(server, 4, 1)
    must_have_each_once(server, wait(server), 4)
    assert server.log.read_text().count("ended unexpectedly") == len(POINTS)
    assert set(beginnings(server).values()) == {1}  # no program is run again


def test_the_same_seed_finds_the_same_points_whether_killed_or_not(start_server: Callable[..., Any]) -> None:
    tried = []
    for points in ("", ",".join(POINTS)):
        server = start_server(PILOTHOUSE_FAILPOINT=points)
        create(server, 8, 1, Strategy="Bayesian")
        wait(server)
        tried.append([trial["TunedHyperParameters"] for trial in trials(server)])
    assert tried[0] == tried[1]
