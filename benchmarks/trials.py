"""What a trial of a tuning job costs beside its script: `python benchmarks/trials.py --trials 100`.

A tuning job over a script that sleeps for 0.1 s and prints its objective, two trials at once, from the first trial's
creation to the job's end, against a loop that only starts the same script, two at once, and reads what it prints. The
rest is what a trial is besides: a row that survives kill -9, a process that keeps to limits, in bubblewrap where that
works, metrics, a log, an upload. Both per trial, in seconds; the difference is what a trial costs.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pilothouse.client.embedded import EmbeddedServer

PARALLEL, MOST_SECONDS = 2, 0.05
SCRIPT = 'import time\ntime.sleep(0.1)\nprint("loss=0.5")\n'
_NAME = {"HyperParameterTuningJobName": "cost"}
_POLL = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--strategy", default="Random", choices=("Random", "Bayesian"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trials-") as name:
        bare = timed_loop(Path(name), options.trials)
    with EmbeddedServer(None, PILOTHOUSE_SLOTS=str(PARALLEL)) as server:
        ours = timed_job(server, options.trials, options.strategy)
    verdict = "met" if ours - bare <= MOST_SECONDS else "missed"
    print(f"the loop        {bare:.3f} s a trial")
    print(f"the tuning job  {ours:.3f} s a trial, {ours - bare:.3f} more (at most {MOST_SECONDS}: {verdict})")


def timed_loop(folder: Path, trials: int) -> float:
    """Seconds for each trial of a loop that starts the script and reads its output."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "--lr", "0.5"]
    begun = time.monotonic()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True, capture_output=True), range(trials)))
    return (time.monotonic() - begun) / trials


def timed_job(server: EmbeddedServer, trials: int, strategy: str) -> float:
    """Seconds for each trial of a tuning job, by its own records."""
    sagemaker, s3 = server.client("sagemaker"), server.client("s3")
    s3.create_bucket(Bucket="trials")
    s3.put_object(Bucket="trials", Key="source.tar.gz", Body=_archive())
    sagemaker.create_hyper_parameter_tuning_job(**_NAME, **_request(trials, strategy, server.settings.role_arn))
    while True:
        job = sagemaker.describe_hyper_parameter_tuning_job(**_NAME)
        if "HyperParameterTuningEndTime" in job:
            break
        time.sleep(_POLL)
    assert job["TrainingJobStatusCounters"]["Completed"] == trials, job
    first = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(**_NAME, SortBy="CreationTime", MaxResults=1)
    begun = first["TrainingJobSummaries"][0]["CreationTime"]
    seconds: float = (job["HyperParameterTuningEndTime"] - begun).total_seconds()
    return seconds / trials


def _request(trials: int, strategy: str, role: str) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": PARALLEL},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0", "MaxValue": "1"}]},
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://trials/source.tar.gz",
            },
            "AlgorithmSpecification": {
                "TrainingImage": "pilothouse/script:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
            "OutputDataConfig": {"S3OutputPath": "s3://trials/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            "RoleArn": role,
        },
    }


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(SCRIPT)
        tar.addfile(member, io.BytesIO(SCRIPT.encode()))
    return out.getvalue()


if __name__ == "__main__":
    main()
