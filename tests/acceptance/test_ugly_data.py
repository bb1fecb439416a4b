"""Data that breaks careless AutoML: rare classes, a hundred classes, a thousand columns, few rows, very many rows."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BUCKET = "ugly-data"
SEED = 5


def csv_bytes(columns: dict[str, np.ndarray]) -> bytes:
    """A CSV file with a header."""
    import pyarrow as pa
    from pyarrow import csv

    out = io.BytesIO()
    csv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), out)
    return out.getvalue()


def completed(server: Any, name: str, columns: dict[str, np.ndarray], **criteria: int) -> dict[str, Any]:
    """The description of a job for the column `y` that has ended as Completed."""
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=f"{name}/data.csv", Body=csv_bytes(columns))
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/"}}
    sagemaker.create_auto_ml_job(
        AutoMLJobName=name,
        InputDataConfig=[{"DataSource": source, "TargetAttributeName": "y"}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        AutoMLJobConfig={"CompletionCriteria": criteria},
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
    )
    give_up = time.monotonic() + 600
    while time.monotonic() < give_up:
        job: dict[str, Any] = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
        if job["AutoMLJobStatus"] not in ("InProgress", "Stopping"):
            assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")
            return job
        time.sleep(0.3)
    raise AssertionError(f"{name} is still {job['AutoMLJobSecondaryStatus']}")


def metrics(job: dict[str, Any]) -> dict[str, float]:
    """The best candidate's metrics on validation rows."""
    data = job["BestCandidate"]["CandidateProperties"]["CandidateMetrics"]
    return {one["StandardMetricName"]: one["Value"] for one in data if one["Set"] == "Validation"}


def failures(server: Any, name: str) -> list[str]:
    """The reasons of the job's failed candidates."""
    listed = server.client("sagemaker").list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
    return [one["FailureReason"] for one in listed if one["CandidateStatus"] == "Failed"]


def blobs(rows: int, columns: int, classes: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Numeric columns in which every class has a centre of its own, and the class numbers."""
    rng = np.random.default_rng(SEED)
    labels = np.arange(rows) % classes
    centres = rng.normal(size=(classes, columns)) * 2
    x = (centres[labels] + rng.normal(size=(rows, columns))).round(4)
    return {f"x{j}": x[:, j] for j in range(columns)}, labels


def test_a_class_of_two_rows_breaks_no_fold(shared_server: Any) -> None:
    columns, labels = blobs(700, 5, 3)
    names = np.array(["red", "green", "blue"])[labels].astype(object)
    names[:2], names[2] = "two of a kind", "alone"
    job = completed(shared_server, "rare-classes", {**columns, "y": names}, MaxCandidates=7)
    assert not failures(shared_server, "rare-classes")
    assert metrics(job)["Accuracy"] > 0.8


def test_a_hundred_classes_are_told_apart(shared_server: Any) -> None:
    columns, labels = blobs(2000, 8, 100)
    names = np.array([f"class {label}" for label in labels])
    job = completed(
        shared_server, "hundred-classes", {**columns, "y": names}, MaxCandidates=5, MaxAutoMLJobRuntimeInSeconds=90
    )
    assert not failures(shared_server, "hundred-classes")
    assert metrics(job)["Accuracy"] > 0.5


def test_a_thousand_columns_are_looked_through(shared_server: Any) -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(1000, 1000)).round(3)
    y = x[:, 7] * 3 - x[:, 500] * 2 + rng.normal(size=1000) * 0.5
    columns = {f"x{j}": x[:, j] for j in range(1000)} | {"y": y}
    job = completed(shared_server, "thousand-columns", columns, MaxCandidates=5, MaxAutoMLJobRuntimeInSeconds=120)
    assert not failures(shared_server, "thousand-columns")
    assert metrics(job)["R2"] > 0.8


def test_five_hundred_rows_of_which_one_in_fifty_is_positive_are_enough(shared_server: Any) -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(500, 4)).round(3)
    y = np.where(np.argsort(np.argsort(x[:, 0] + x[:, 1])) >= 490, "yes", "no")
    columns = {f"x{j}": x[:, j] for j in range(4)} | {"y": y}
    job = completed(shared_server, "five-hundred-rows", columns, MaxCandidates=7)
    assert not failures(shared_server, "five-hundred-rows")
    assert metrics(job)["AUC"] > 0.8


def test_half_a_million_rows_give_a_model_within_their_minute(shared_server: Any) -> None:
    rng = np.random.default_rng(SEED)
    rows = 500_000
    x = rng.normal(size=(rows, 8)).astype(np.float32)
    kind = rng.integers(0, 2000, rows)
    y = np.where(x[:, 0] * x[:, 1] + np.sin(kind) + rng.normal(size=rows) * 0.3 > 0, "up", "down")
    columns = {f"x{j}": x[:, j] for j in range(8)} | {"kind": np.char.add("k", kind.astype(str)), "y": y}
    job = completed(shared_server, "half-a-million-rows", columns, MaxAutoMLJobRuntimeInSeconds=60)
    assert not failures(shared_server, "half-a-million-rows")
    assert metrics(job)["AUC"] > 0.8


def test_a_shuffled_target_is_not_learnt_from_anything(shared_server: Any) -> None:
    rng = np.random.default_rng(SEED)
    rows = 2000
    columns = {
        "number": rng.normal(size=rows).round(3),
        "name": np.char.add("n", rng.integers(0, 700, rows).astype(str)),
        "day": np.char.add("2024-01-", np.char.zfill(rng.integers(1, 29, rows).astype(str), 2)),
        "y": np.where(rng.random(rows) < 0.5, "heads", "tails"),
    }
    job = completed(shared_server, "coin", columns, MaxCandidates=7)
    assert abs(metrics(job)["AUC"] - 0.5) < 0.1
    assert metrics(job)["LogLoss"] > 0.66
