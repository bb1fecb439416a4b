"""What a job costs beside its fits: `python benchmarks/overhead.py`.

A job on 1,000 rows with MaxCandidates=6, from CreateAutoMLJobV2 to Completed, against the bare fits of the same plan in
one script: the same engines, parameters, folds, early stopping and refits on the same prepared rows, and nothing else.
The rest of the job is what it does besides: reading, features, processes, predictions, metrics, ensemble, archives,
uploads, records.

Imports count in neither. The server is warm, for a job has run on it before, and its children are forks of a process
that has imported the libraries; the script's workers are such forks too, and do the plan once before they are timed.
The bare fits have one thread each, as in the job, and are timed in two ways: one after another, and side by side on as
many workers as there are cores, which is what the job is judged by.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from quick import server

ROWS, CANDIDATES, TARGET = 1_000, 6, "label"
MOST_RATIO = 1.3
CORES = max(1, len(os.sched_getaffinity(0)))
_BUCKET, _ROLE = "overhead", "arn:aws:iam::000000000000:role/PilothouseRole"
_POLL = 0.02

Plan = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="how often each is timed (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        write_table(folder / "train.csv")
        jobs, plans = timed_jobs(folder, options.repeat)
        prepare(folder / "train.csv", folder / "dataset")
        alone, abreast = (timed_fits(folder / "dataset", plans, options.repeat, workers=n) for n in (1, CORES))
    print(", ".join(f"{plan['algorithm']} ({plan['folds']} folds)" for plan in plans))
    print(f"the job                      {_shown(jobs)}")
    for what, seconds in (("one after another", alone), ("side by side", abreast)):
        ratio = statistics.median(jobs) / statistics.median(seconds)
        verdict = "met" if ratio <= MOST_RATIO else "missed"
        print(f"bare fits, {what:17} {_shown(seconds)}  ratio {ratio:.2f} (at most {MOST_RATIO}: {verdict})")


def write_table(path: Path, seed: int = 0) -> None:
    """A CSV of `ROWS` rows: numbers, categories, missing cells, and two classes that depend on some of them."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"number_{i}" for i in range(8)), *(f"category_{i}" for i in range(4)), TARGET])
        writer.writerows(_row(draw) for _ in range(ROWS))


def _row(draw: random.Random) -> list[str]:
    numbers = [draw.gauss(0, 1) for _ in range(8)]
    categories = [draw.choice("abcde") for _ in range(4)]
    score = numbers[0] + numbers[1] * numbers[2] + (categories[0] in "ab") + draw.gauss(0, 1)
    cells = ["" if draw.random() < 0.05 else f"{number:.4f}" for number in numbers]
    return [*cells, *categories, "yes" if score > 0.4 else "no"]


# The job.


def timed_jobs(folder: Path, repeat: int) -> tuple[list[float], list[Plan]]:
    """Seconds of `repeat` jobs after one that warms the server, and the candidates that they trained."""
    home = folder / "home"
    with server(home) as client:
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket=_BUCKET)
        s3.upload_file(str(folder / "train.csv"), _BUCKET, "in/train.csv")
        seconds = [_job(sagemaker, f"overhead-{i}") for i in range(repeat + 1)]
        trained = _finished(sagemaker, f"overhead-{repeat}")
    planned = _planned(home / "pilothouse.sqlite")
    return seconds[1:], [plan for plan in planned if plan["suffix"] in trained]


def _job(sagemaker: Any, name: str) -> float:
    begun = time.monotonic()
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName=name,
        AutoMLJobInputDataConfig=[
            {
                "ChannelType": "training",
                "ContentType": "text/csv;header=present",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{_BUCKET}/in/"}},
            }
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{_BUCKET}/out"},
        RoleArn=_ROLE,
        AutoMLProblemTypeConfig={
            "TabularJobConfig": {
                "TargetAttributeName": TARGET,
                "CompletionCriteria": {"MaxCandidates": CANDIDATES},
            }
        },
    )
    while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name))["AutoMLJobStatus"] == "InProgress":
        time.sleep(_POLL)
    if job["AutoMLJobStatus"] != "Completed":
        raise SystemExit(f"{name} is {job['AutoMLJobStatus']}: {job.get('FailureReason')}")
    return time.monotonic() - begun


def _finished(sagemaker: Any, name: str) -> set[str]:
    """The suffixes of the job's completed candidates."""
    pages = sagemaker.get_paginator("list_candidates_for_auto_ml_job").paginate(
        AutoMLJobName=name, StatusEquals="Completed"
    )
    return {one["CandidateName"].removeprefix(f"{name}-") for page in pages for one in page["Candidates"]}


def _planned(database: Path) -> list[Plan]:
    """The base candidates of the last job, as its record of the step "plan" has them."""
    with sqlite3.connect(database) as connection:
        query = "SELECT result FROM steps WHERE step = 'plan' ORDER BY resource_seq DESC LIMIT 1"
        [result] = connection.execute(query).fetchone()
    plans: list[Plan] = [plan for plan in json.loads(result)["candidates"] if plan["algorithm"] != "ensemble"]
    if any(plan.get("layer", 1) > 1 for plan in plans):
        raise SystemExit("The plan has a second layer, whose fits this script does not repeat. Lower CANDIDATES.")
    return plans


# The bare fits.


def prepare(table: Path, directory: Path) -> None:
    """The rows as the job's trials get them."""
    import pyarrow as pa

    from pilothouse.problems.tabular import read

    with table.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    columns = [pa.array(list(values), pa.string()) for values in zip(*rows, strict=True)]
    read.prepare(pa.table(dict(zip(header, columns, strict=True))), None, read.Reading(TARGET), directory)


def timed_fits(dataset: Path, plans: Sequence[Plan], repeat: int, *, workers: int) -> list[float]:
    """Seconds of all plans' fits, `repeat` times after once untimed, in workers that have imported what they need."""
    from pilothouse import engines
    from pilothouse.problems.tabular.dataset import Dataset

    for plan in plans:
        engines.warm(plan["algorithm"])
    data = Dataset.load(dataset)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        seconds = [_timed(lambda: _all_fits(pool, data, plans)) for _ in range(repeat + 1)]
    return seconds[1:]


def _all_fits(pool: ProcessPoolExecutor, data: Any, plans: Sequence[Plan]) -> None:
    for fitted in [pool.submit(fit, data, plan) for plan in plans]:
        fitted.result()


def fit(data: Any, plan: Plan) -> None:
    """The fits of one candidate: a fold each, stopped early on its rows, and one of all rows."""
    from pilothouse.problems.tabular.dataset import TRAIN

    rows, folds = data.rows(TRAIN), _folds(data, plan["folds"])
    best = [_fit(data, plan, rows[folds != k], held_out=rows[folds == k], k=k) for k in range(plan["folds"])]
    known = [rounds for rounds in best if rounds is not None]
    rounds = max(1, round(float(np.mean(known)) * (1 + 1 / len(known)))) if known else None
    _fit(data, plan, np.arange(len(data)), rounds=rounds)


def _fit(
    data: Any, plan: Plan, rows: Any, *, held_out: Any = None, rounds: int | None = None, k: int = 0
) -> int | None:
    from pilothouse import engines
    from pilothouse.engines.base import Task

    model = engines.engine(plan["algorithm"]).fit(
        data.features.take(rows),
        data.y[rows],
        None,
        Task(data.problem_type, len(data.classes or []), data.metric),
        plan["params"],
        valid=None if held_out is None else (data.features.take(held_out), data.y[held_out], None),
        rounds=rounds,
        seed=plan["seed"] + k,
        threads=1,
    )
    return model.rounds


def _folds(data: Any, k: int) -> Any:
    """The fold of each training row: the data set's own where it has k, else k others."""
    from pilothouse.data import split
    from pilothouse.problems.tabular.dataset import TRAIN

    rows = data.rows(TRAIN)
    own = np.asarray(data.folds[rows])
    return own if own.max() + 1 == k else split.folds(data.y[rows], k, stratify=True, seed=0)


def _timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def _shown(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):6.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"


if __name__ == "__main__":
    main()
