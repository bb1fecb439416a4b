"""The examples that the how-tos show do what the how-tos say."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ROWS = [f"{i},{(i * 7) % 13},{'yes' if i % 13 > 6 else 'no'}" for i in range(600)]


def run(*command: str, **options: Any) -> str:
    """What a command prints, which finds this environment's `pilothouse` first, as in an activated one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PILOTHOUSE_", "SAGEMAKER_", "PYTEST_"))}
    done = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, env={**kept, "PATH": path}
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_ci_example_passes() -> None:
    folder = EXAMPLES / "ci"
    out = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder))
    assert "1 passed" in out


def test_the_ci_script_runs_a_command_beside_a_server_and_hands_on_its_exit_code() -> None:
    script = str(EXAMPLES / "ci/run.sh")
    assert "assumed-role/PilothouseRole" in run(script, "aws", "sts", "get-caller-identity")
    with pytest.raises(AssertionError):
        run(script, "false")


def test_a_backup_of_a_running_server_goes_on_in_another_home(start_server: Callable[..., Any], tmp_path: Path) -> None:
    server = start_server()
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="train/rows.csv", Body="\n".join(["a,b,y", *ROWS]))
    s3.put_object(Bucket="data", Key="secret", Body=b"secret", ServerSideEncryption="aws:kms")
    create_job(sagemaker)
    wait(lambda: completed_candidates(sagemaker))
    before = completed_candidates(sagemaker)
    run(sys.executable, str(EXAMPLES / "backup.py"), str(server.home), str(tmp_path / "backup"))
    server.kill()

    restored = start_server(home=tmp_path / "backup")
    assert restored.client("s3").get_object(Bucket="data", Key="secret")["Body"].read() == b"secret"
    sagemaker = restored.client("sagemaker")
    assert before <= completed_candidates(sagemaker)
    wait(lambda: sagemaker.describe_auto_ml_job(AutoMLJobName="job")["AutoMLJobStatus"] != "InProgress")
    job = sagemaker.describe_auto_ml_job(AutoMLJobName="job")
    assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")
    uri = job["BestCandidate"]["InferenceContainers"][0]["ModelDataUrl"]
    assert restored.client("s3").head_object(Bucket="data", Key=uri.removeprefix("s3://data/"))["ContentLength"] > 0


def test_a_backup_needs_no_bucket_in_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    sqlite3.connect(home / "pilothouse.sqlite").close()
    run(sys.executable, str(EXAMPLES / "backup.py"), str(home), str(tmp_path / "backup"))
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["pilothouse.sqlite"]


def create_job(sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job(
        AutoMLJobName="job",
        InputDataConfig=[
            {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}},
                "TargetAttributeName": "y",
            }
        ],
        OutputDataConfig={"S3OutputPath": "s3://data/output"},
        AutoMLJobConfig={
            "CompletionCriteria": {"MaxCandidates": 3, "MaxAutoMLJobRuntimeInSeconds": 300},
            "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["lightgbm", "xgboost"]}]},
        },
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
    )


def completed_candidates(sagemaker: Any) -> set[str]:
    found = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="job", StatusEquals="Completed")
    return {candidate["CandidateName"] for candidate in found["Candidates"]}


def wait(happened: Callable[[], object]) -> None:
    give_up = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.2)
