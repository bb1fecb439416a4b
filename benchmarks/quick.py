"""Pilothouse against plain CatBoost on four data sets, two minutes each: `python benchmarks/quick.py`.

For each set: one fixed 80/20 split; an AutoML job on the 80 % through a started server, with
MaxAutoMLJobRuntimeInSeconds = `--seconds`; plain CatBoost (its defaults, native categories, early stopping on a fifth
of the same 80 %) with as many threads as the job has slots. Both are scored on the 20 % that neither has seen, by the
job's objective and by AUC, log loss or RMSE. `--direct` runs the same plan, trials and ensemble without a server.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETS = ("telco_churn", "california_housing", "wine_quality_white", "adult_census_income")
SLOTS = max(1, len(os.sched_getaffinity(0)))
ALSO = {
    "Regression": ["RMSE", "R2"],
    "BinaryClassification": ["AUC", "LogLoss"],
    "MulticlassClassification": ["LogLoss"],
}
JOB_END_GRACE = 60


@dataclass(frozen=True)
class Split:
    """Rows as texts: the header, the training rows, the test rows."""

    name: str
    target: str
    header: list[str]
    train: list[list[str]]
    test: list[list[str]]

    @classmethod
    def load(cls, folder: Path) -> Split:
        meta = json.loads((folder / "meta.json").read_text())
        with gzip.open(folder / meta["files"][0], "rt", newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        random.Random(0).shuffle(rows)
        cut = len(rows) * 4 // 5
        return cls(folder.name, meta["target"], header, rows[:cut], rows[cut:])

    def inputs(self, columns: list[str]) -> list[list[str]]:
        places = [self.header.index(column) for column in columns]
        return [[row[place] for place in places] for row in self.test]

    def targets(self, rows: list[list[str]]) -> list[str]:
        place = self.header.index(self.target)
        return [row[place] for row in rows]

    def write(self, path: Path) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.header, *self.train])
        return path


@dataclass(frozen=True)
class Outcome:
    """A tool's result: seconds to the model, test metrics, and a remark."""

    tool: str
    seconds: float
    metrics: dict[str, float]
    remark: str = ""


def score(split: Split, model: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Test metrics of an unpacked model archive, and its manifest."""
    import numpy as np

    from pilothouse.problems.evaluate import evaluate
    from pilothouse.problems.tabular.predictor import TabularPredictor

    predictor = TabularPredictor.load(model)
    prediction = predictor.predict(split.inputs(predictor.columns))
    manifest = json.loads((model / "manifest.json").read_text())
    texts = split.targets(split.test)
    if prediction.values is not None:
        return evaluate(predictor.problem_type, np.array([float(t) for t in texts]), prediction.values), manifest
    y = np.array([(predictor.classes or []).index(text) for text in texts])
    probabilities = np.asarray(prediction.probabilities)
    metrics = evaluate(predictor.problem_type, y, probabilities, threshold=predictor.threshold)
    return metrics, manifest


def plain_catboost(split: Split, problem_type: str, classes: list[str] | None) -> Outcome:
    """CatBoost's defaults on the raw columns; a column is a number if all of its training values are."""
    import numpy as np
    from catboost import CatBoost, Pool

    from pilothouse.problems.evaluate import evaluate

    begun = time.monotonic()
    columns = [i for i, name in enumerate(split.header) if name != split.target]
    numeric = {i for i in columns if all(_number(row[i]) is not None for row in split.train if row[i].strip())}

    def pool(rows: list[list[str]]) -> Any:
        data = [[_cell(row[i], i in numeric) for i in columns] for row in rows]
        texts = split.targets(rows)
        y = [classes.index(text) for text in texts] if classes else [float(text) for text in texts]
        return Pool(data, y, cat_features=[at for at, i in enumerate(columns) if i not in numeric])

    loss = {"Regression": "RMSE", "BinaryClassification": "Logloss"}.get(problem_type, "MultiClass")
    extra = {"classes_count": len(classes)} if classes and loss == "MultiClass" else {}
    cut = len(split.train) * 4 // 5
    model = CatBoost(
        {"loss_function": loss, "random_seed": 0, "allow_writing_files": False, "thread_count": SLOTS, **extra}
    )
    model.fit(pool(split.train[:cut]), eval_set=pool(split.train[cut:]), early_stopping_rounds=50, verbose=False)
    seconds = time.monotonic() - begun
    test = pool(split.test)
    raw = model.predict(test, prediction_type="Probability" if classes else "RawFormulaVal")
    metrics = evaluate(problem_type, np.array(test.get_label()).astype(float if not classes else int), np.asarray(raw))
    return Outcome("CatBoost", seconds, metrics, f"{model.tree_count_} trees")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cell(text: str, numeric: bool) -> float | str:
    if not numeric:
        return text
    value = _number(text)
    return float("nan") if value is None else value


# Through the server, as a user would.


@contextlib.contextmanager
def server(home: Path, *options: str) -> Iterator[Any]:
    """A function that makes boto3 clients for a started server; the server is ended afterwards."""
    import boto3

    pilothouse = [sys.executable, "-m", "pilothouse"]
    serve = [*pilothouse, "serve", "--port", "0", "--home", str(home), *options]
    process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        printed = subprocess.run([*pilothouse, "env", "--home", str(home)], capture_output=True, text=True, check=True)
        words = (shlex.split(line) for line in printed.stdout.splitlines())
        environment = dict(word[1].split("=", 1) for word in words if word[:1] == ["export"])
        yield lambda service: boto3.client(
            service,
            endpoint_url=url,
            region_name=environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def through_server(split: Split, seconds: int, folder: Path) -> Outcome:
    """One job from CreateAutoMLJobV2 to the best candidate's archive."""
    from pilothouse.contract import pack

    with server(folder / "home") as client:
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket="quick")
        s3.upload_file(str(split.write(folder / "train.csv")), "quick", "in/train.csv")
        name = split.name.replace("_", "-")[:32]
        begun = time.monotonic()
        sagemaker.create_auto_ml_job_v2(**_request(name, split.target, seconds))
        job = _finished(sagemaker, name, begun + seconds + JOB_END_GRACE)
        took = time.monotonic() - begun
        best = job["BestCandidate"]
        bucket, _, key = best["InferenceContainers"][0]["ModelDataUrl"].removeprefix("s3://").partition("/")
        s3.download_file(bucket, key, str(folder / "model.tar.gz"))
        pack.unpack(folder / "model.tar.gz", folder / "model")
        metrics, _ = score(split, folder / "model")
    return Outcome("Pilothouse", took, metrics, f"{best['CandidateName']}, {job['AutoMLJobSecondaryStatus']}")


def _request(name: str, target: str, seconds: int) -> dict[str, Any]:
    channel = {
        "ChannelType": "training",
        "ContentType": "text/csv;header=present",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://quick/in/"}},
    }
    return {
        "AutoMLJobName": name,
        "AutoMLJobInputDataConfig": [channel],
        "OutputDataConfig": {"S3OutputPath": "s3://quick/out"},
        "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
        "AutoMLProblemTypeConfig": {
            "TabularJobConfig": {
                "TargetAttributeName": target,
                "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": seconds},
            }
        },
    }


def _finished(sagemaker: Any, name: str, deadline: float) -> dict[str, Any]:
    while time.monotonic() < deadline:
        job: dict[str, Any] = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
        if job["AutoMLJobStatus"] == "Completed":
            return job
        if job["AutoMLJobStatus"] != "InProgress":
            raise SystemExit(f"{name}: {job['AutoMLJobStatus']}: {job.get('FailureReason')}")
        time.sleep(0.2)
    raise SystemExit(f"{name} has not completed in time")


# Without a server: the same plan, trials and ensemble.


def directly(split: Split, seconds: int, folder: Path) -> Outcome:
    """The job's machine learning in processes of this script."""
    import pyarrow as pa

    from pilothouse.catalog import algorithms
    from pilothouse.problems.tabular import plan as planning
    from pilothouse.problems.tabular.read import Reading, prepare

    begun = time.monotonic()
    columns = [pa.array(list(values), pa.string()) for values in zip(*split.train, strict=True)]
    table = pa.table(dict(zip(split.header, columns, strict=True)))
    data = prepare(table, None, Reading(split.target), folder / "dataset")
    facts = planning.Facts.of(data.facts)
    plans = planning.plan(
        facts,
        algorithms=algorithms.SERVED,
        max_candidates=algorithms.DEFAULT_MAX_CANDIDATES["ENSEMBLING"],
        budget_seconds=seconds * 0.92,
        slots=SLOTS,
        metric=data.metric,
    )
    done = _trials(plans, data.metric, folder, begun + seconds * 0.92)
    from pilothouse.problems.tabular import ensemble

    out = folder / "ensemble"
    out.mkdir()
    done["ensemble"] = ensemble.combine(out, folder / "dataset", [folder / name for name in done], data.metric)
    took = time.monotonic() - begun
    for name, result in done.items():
        metrics, _ = score(split, folder / name / "model")
        _print_candidate(name, result, metrics, data.metric, facts.problem_type)
    sign = 1 if data.metric != "MSE" else -1
    best = max(done, key=lambda name: sign * done[name]["metrics"]["Validation"][data.metric])
    metrics, _ = score(split, folder / best / "model")
    voters = ", ".join(f"{m['name']} {m['weight']:.2f}" for m in done["ensemble"]["members"])
    return Outcome("Pilothouse", took, metrics, f"{best}; ensemble of {voters}")


def _trials(plans: list[Any], metric: str, folder: Path, ends: float) -> dict[str, Any]:
    from pilothouse.problems.tabular import plan as planning
    from pilothouse.problems.tabular.dataset import Dataset

    base = [one for one in plans if one.algorithm != planning.ENSEMBLE and one.layer == 1]
    costs = planning.Costs(planning.Facts.of(Dataset.load(folder / "dataset").facts))
    done: dict[str, Any] = {}

    def run(number: int, candidate: Any) -> None:
        left = ends - time.monotonic()
        waiting = base[number + 1 :]
        allowed = planning.allow(candidate, waiting, costs, seconds_left=left, slots=SLOTS) if left > 1 else None
        if allowed is None:
            print(f"  {candidate.suffix}: left out", flush=True)
            return
        where = folder / candidate.suffix
        where.mkdir()
        document = allowed.candidate.trial(candidate.suffix, metric) | {"deadline_seconds": allowed.seconds}
        (where / "trial.json").write_text(json.dumps(document))
        code = "import sys; from pilothouse.problems.tabular.train import train; train(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(where), str(folder / "dataset")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        if child.returncode:
            print(f"  {candidate.suffix}: {child.stderr.strip().splitlines()[-1]}", flush=True)
            return
        done[candidate.suffix] = json.loads((where / "result.json").read_text())
        expected, took = costs.seconds(allowed.candidate), done[candidate.suffix]["seconds"]["total"]
        done[candidate.suffix]["expected"] = expected
        costs.observe(allowed.candidate, took)

    with ThreadPoolExecutor(SLOTS) as pool:
        futures: list[Future[None]] = [pool.submit(run, i, candidate) for i, candidate in enumerate(base)]
        for future in futures:
            future.result()
    return {candidate.suffix: done[candidate.suffix] for candidate in base if candidate.suffix in done}


def _print_candidate(name: str, result: dict[str, Any], test: dict[str, float], metric: str, problem_type: str) -> None:
    shown = [metric, *(m for m in ALSO[problem_type] if m != metric)]
    values = "  ".join(f"{m} val {result['metrics']['Validation'][m]:.5g} test {test[m]:.5g}" for m in shown)
    seconds = result.get("seconds", {}).get("total", 0.0)
    facts = f"{seconds:5.1f}s (expected {result.get('expected', 0):.1f}) {result['latency'] * 1e3:.2f} ms"
    size = f"{result['model_bytes'] / 1e6:.1f} MB"
    print(f"  {name:18} {facts} {size}  {values}  rounds {result.get('fold_rounds')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, help="folders of the data directory")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--direct", action="store_true", help="without a server")
    parser.add_argument("--keep", type=Path, help="work in this folder, and keep it")
    options = parser.parse_args()
    for name in options.sets:
        split = Split.load(options.data / name)
        with tempfile.TemporaryDirectory(dir=options.keep) as folder:
            ours = (directly if options.direct else through_server)(split, options.seconds, Path(folder))
            manifest = json.loads(next(Path(folder).rglob("manifest.json")).read_text())
        objective, problem_type = manifest["objective"], manifest["problem_type"]
        shown = [objective, *(metric for metric in ALSO[problem_type] if metric != objective)]
        print(f"{name} ({problem_type}, {objective})", flush=True)
        for outcome in (ours, plain_catboost(split, problem_type, manifest["classes"])):
            values = "  ".join(f"{metric} {outcome.metrics[metric]:.6g}" for metric in shown)
            print(f"  {outcome.tool:10}  {outcome.seconds:6.1f} s  {values}  ({outcome.remark})", flush=True)


if __name__ == "__main__":
    main()
