"""Memory and seconds of one AutoML job as the rows grow: `python benchmarks/scale.py`.

For each number of rows: a seeded CSV of 30 columns (20 numbers, 8 categories, two of a thousand levels, a date, and the
target), written and uploaded piece by piece; a server in a fresh home; one AutoML job. The memory is the sum of the PSS
of the server and all processes below it. "analyse" is reading, profiling, splitting and featurising, in tuning mode the
pipelines too; "train" is fits, metrics and archives. The last lines say by what factor each figure grew where the rows
grew by how much.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from peers_bench.tree import MemoryWatch
from quick import server

BUCKET, JOB, TARGET = "scale", "scale", "bought"
PIECE_ROWS = 50_000
POLL = 0.25
BEFORE_TRAINING = ("Starting", "AnalyzingData", "FeatureEngineering")
NUMBERS, LEVELS = 20, (2, 4, 8, 12, 30, 60, 1000, 1000)


@dataclass(frozen=True)
class Figures:
    """What a job of `rows` took: seconds and bytes by phase."""

    rows: int
    csv_bytes: int
    seconds: dict[str, float]
    peaks: dict[str, int]
    auc: float

    def line(self) -> str:
        values = [f"{self.rows:,}", f"{self.csv_bytes / 1e6:,.0f}"]
        values += [f"{self.seconds[phase]:,.1f}" for phase in PHASES]
        values += [f"{self.peaks[phase] / 2**20:,.0f}" for phase in PHASES]
        return f"| {' | '.join(values)} | {self.auc:.4f} |"

    def growth(self, before: Figures) -> str:
        factors = [self.rows / before.rows, self.csv_bytes / before.csv_bytes]
        factors += [self.seconds[phase] / max(before.seconds[phase], POLL) for phase in PHASES]
        factors += [self.peaks[phase] / before.peaks[phase] for phase in PHASES]
        return f"| {' | '.join(f'×{factor:.1f}' for factor in factors)} | |"


PHASES = ("analyse", "train")
HEAD = "| rows | CSV, MB | analyse, s | train, s | analyse, peak MiB | train, peak MiB | AUC |\n|" + "---:|" * 7


def write(path: Path, rows: int, seed: int) -> None:
    """The CSV, a piece at a time. Three numbers, three categories and the date bear on the target."""
    rng = np.random.default_rng(seed)
    effects = [rng.normal(size=levels) for levels in LEVELS]
    first = piece(rng, effects, 0)
    with arrow_csv.CSVWriter(path, first.schema) as writer:
        for start in range(0, rows, PIECE_ROWS):
            writer.write_table(piece(rng, effects, min(PIECE_ROWS, rows - start)))


def piece(rng: np.random.Generator, effects: list[Any], count: int) -> pa.Table:
    """So many rows; one number in ten is missing in one column."""
    numbers = rng.normal(size=(NUMBERS, count)).round(4)
    codes = [(levels * rng.random(count) ** 2).astype(np.int32) for levels in LEVELS]
    days = rng.integers(0, 1500, count)
    score = 1.5 * (numbers[0] > 0) - (numbers[1] > 1) + (numbers[2] > -0.5) + (days > 900) - 1.5
    score += sum(0.5 * effects[column][codes[column]] for column in (1, 4, 6))
    bought = rng.random(count) < 1 / (1 + np.exp(-score))
    columns = {f"number_{i}": pa.array(column) for i, column in enumerate(numbers)}
    columns["number_3"] = pa.array(numbers[3], mask=rng.random(count) < 0.1)
    columns |= {f"category_{i}": named(code, LEVELS[i]) for i, code in enumerate(codes)}
    columns["day"] = pa.array((np.datetime64("2020-01-01") + days).astype("datetime64[D]"))
    columns[TARGET] = pa.array(["no", "yes"]).take(pa.array(bought.astype(np.int8)))
    return pa.table(columns)


def named(codes: Any, levels: int) -> pa.Array:
    """Codes as texts."""
    return pa.array([f"level {i}" for i in range(levels)]).take(pa.array(codes))


def measured(rows: int, tabular: dict[str, Any], folder: Path) -> Figures:
    """One job on a CSV of so many rows, in `folder`; `tabular` is its TabularJobConfig."""
    source = folder / "train.csv"
    write(source, rows, seed=1)
    csv_bytes = source.stat().st_size
    with MemoryWatch() as memory, server(folder / "home") as client:
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket=BUCKET)
        s3.upload_file(str(source), BUCKET, "in/train.csv")
        source.unlink()
        sagemaker.create_auto_ml_job_v2(**request(tabular))
        moments, job = followed(sagemaker)
        if job["AutoMLJobStatus"] != "Completed":
            raise SystemExit(f"The job is {job['AutoMLJobStatus']}: {job.get('FailureReason')}")
    begun, trained, ended = moments
    return Figures(
        rows,
        csv_bytes,
        {"analyse": trained - begun, "train": ended - trained},
        {"analyse": memory.peak(trained, begun), "train": memory.peak(ended, trained)},
        job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"],
    )


def followed(sagemaker: Any) -> tuple[tuple[float, float, float], dict[str, Any]]:
    """When the job began, began to train and ended, on the monotonic clock; and its last description."""
    begun = time.monotonic()
    trained = None
    while True:
        job = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=JOB)
        now = time.monotonic()
        if trained is None and job["AutoMLJobSecondaryStatus"] not in BEFORE_TRAINING:
            trained = now
        if job["AutoMLJobStatus"] != "InProgress":
            return (begun, trained or now, now), job
        time.sleep(POLL)


def config(mode: str, algorithms: list[str], candidates: int, seconds: int | None) -> dict[str, Any]:
    """The TabularJobConfig: so many candidates of these algorithms, which take turns."""
    criteria = {"MaxCandidates": candidates} | ({} if seconds is None else {"MaxAutoMLJobRuntimeInSeconds": seconds})
    return {
        "Mode": mode,
        "TargetAttributeName": TARGET,
        "ProblemType": "BinaryClassification",
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": algorithms}]},
        "CompletionCriteria": criteria,
    }


def request(tabular: dict[str, Any]) -> dict[str, Any]:
    """The job."""
    channel = {
        "ChannelType": "training",
        "ContentType": "text/csv;header=present",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}},
    }
    return {
        "AutoMLJobName": JOB,
        "AutoMLJobInputDataConfig": [channel],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
        "AutoMLJobObjective": {"MetricName": "AUC"},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": tabular},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--mode", default="ENSEMBLING", choices=("ENSEMBLING", "HYPERPARAMETER_TUNING"))
    parser.add_argument("--algorithm", nargs="+", default=["xgboost"])
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--seconds", type=int, help="the job's time limit; without it the folds' own losses end it")
    parser.add_argument("--folder", type=Path, help="where the homes are, if not in the temporary folder")
    options = parser.parse_args()
    print(HEAD, flush=True)
    before: Figures | None = None
    growths = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            tabular = config(options.mode, options.algorithm, options.candidates, options.seconds)
            figures = measured(rows, tabular, Path(folder))
        print(figures.line(), flush=True)
        growths += [] if before is None else [figures.growth(before)]
        before = figures
    print("\n".join(growths))


if __name__ == "__main__":
    main()
