"""A trial of a tuned candidate: an engine on a pipeline's matrix, judged on rows it never saw, then refitted on all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data.features import load_array
from pilothouse.engines.base import heard_by
from pilothouse.problems.evaluate import latency
from pilothouse.problems.tabular import finished, held_out, stages, verdict
from pilothouse.problems.tabular.bag import fit_folds, predicted
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.stages import AlgorithmStage, FeatureStage
from pilothouse.problems.tabular.train import SHELF, check_finite, shipped, size
from pilothouse.problems.tabular.trial import FOLDED_ROWS, TimeBudget, Trial

REPORTS = "reports.jsonl"
FOLDS = 5


def folds(facts: dict[str, Any]) -> int:
    """How many folds a trial has on data with these facts; 1 for one split."""
    return FOLDS if facts["rows"] <= FOLDED_ROWS else 1


def on_matrix(data: Dataset, matrix: Path) -> Dataset:
    """`data` with the pipeline's matrix, an .npy file, as its features."""
    return replace(data, features=stages.as_features(load_array(matrix)))


def run(trial: Trial, data: Dataset, directory: Path, first: Path, step: int | None = None) -> dict[str, Any]:
    """The trial's story on `data`, whose features are the matrix; returns the content of result.json.

    `first`: the folder of the pipeline's `FeatureStage`. With one split and a `step`, the loss on the rows that stop
    the training is written to reports.jsonl after so many rounds each, so that whoever reads it may end this process.
    """
    budget = TimeBudget(trial.deadline_seconds)
    engines.warm(trial.algorithm)
    if trial.folds > 1:
        bag, judged = fit_folds(trial, data, data.rows(TRAIN), budget, directory / SHELF), data
    else:
        with _reporting(directory / REPORTS, step, _comparable(trial, data)):
            bag, judged = held_out.fit(trial, data, budget)
    validation = predicted(bag.predict, data.features, data.rows(VALIDATION))
    check_finite(bag.oof, validation)
    reached = verdict.reach(judged, trial.metric, bag.oof, validation, bag.numbers, bag.familiar)
    refitted, models = shipped(trial, data, bag, budget, directory)
    finished.save_predictions(directory, bag.oof, validation, bag.familiar)
    archive = stages.save_algorithm(directory / "model", models, trial.algorithm, data, reached, trial.metric)
    shutil.rmtree(directory / SHELF, ignore_errors=True)
    return {
        "name": trial.name,
        "algorithm": trial.algorithm,
        "params": trial.params,
        **reached.result(),
        "folds": trial.folds,
        "fold_rounds": bag.best,
        "rounds": models[0].rounds,
        "refitted": refitted,
        "seconds": {"folds": bag.seconds, "total": budget.elapsed()},
        "latency": _one_row_latency(first, archive, data.example),
        "model_bytes": size(archive),
    }


@contextmanager
def _reporting(path: Path, step: int | None, comparable: Callable[[float], float]) -> Iterator[None]:
    """Writes the losses of the fits in the block, each `step` rounds, as lines of JSON."""
    if step is None:
        yield
        return
    with path.open("w") as stream:

        def hear(rounds: int, loss: float) -> None:
            if rounds % step == 0:
                stream.write(json.dumps({"step": rounds // step, "loss": comparable(loss)}) + "\n")
                stream.flush()

        with heard_by(hear):
            yield


def _comparable(trial: Trial, data: Dataset) -> Callable[[float], float]:
    """Makes the losses of all engines the same: the log loss, or the mean squared (for MAE the absolute) error in
    standard deviations of the target, which is what they tell, but for XGBoost: it tells errors in the target's unit.
    """
    if trial.algorithm != "xgboost" or data.problem_type != REGRESSION:
        return float
    spread = float(np.std(data.y[data.rows(TRAIN)])) or 1.0
    return (lambda loss: loss / spread) if trial.metric == "MAE" else (lambda loss: (loss / spread) ** 2)


def _one_row_latency(first: Path, second: Path, row: list[str]) -> float:
    """Seconds from the texts of one row to its prediction by the saved stages; `JobFailed` if that is not finite."""
    features, algorithm = FeatureStage.load(first), AlgorithmStage.load(second)
    check_finite(algorithm.predict(features.transform([row])))
    return latency(lambda: algorithm.predict(features.transform([row])))
