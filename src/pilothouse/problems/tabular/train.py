"""A trial: one engine and its parameters, bagged over folds, judged on rows it never saw, then refitted on all rows.

The refit ships together with the folds' models where those are small.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse import engines
from pilothouse.data import sample
from pilothouse.engines.base import Model
from pilothouse.errors import JobFailed, TrialTimeout
from pilothouse.problems.evaluate import latency
from pilothouse.problems.tabular import finished, stack, verdict
from pilothouse.problems.tabular.archive import Assembly
from pilothouse.problems.tabular.bag import Bag, as_read, fit_folds, predicted, taken, task_of
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.trial import TimeBudget, Trial
from pilothouse.problems.tabular.verdict import Verdict

__all__ = ["FAILURE", "RESULT", "Trial", "run", "train"]

Array = npt.NDArray[Any]

RESULT, FAILURE, SHELF = finished.RESULT, "failure.json", "folds"

_REFIT_ENDS = 0.96
"""The share of a trial's time until which the refit may go on; what lies behind it is for saving and measuring."""

_BAGGED = ("lightgbm", "catboost", "xgboost", "linear-learner", "fastai", "mlp")
"""What gains by a bag. Forests and nn-torch's networks are means of many models already, and slow to ask."""

_LEAST_BAG = 4
"""Folds from which on their models, which saw three quarters of the rows or more, are as good as the refit."""

_LARGEST_IN_BAG = 2 << 20
"""Bytes of a model up to which its bag ships: larger ones would make an archive, and its answers, heavy."""

_CHECKED_ROWS = 500
"""On so many rows a refit must predict finite numbers. The folds' models do on all."""

_WHOLE = 0.7
"""The share of its rounds, or of the time a fold took, from which on a refit is taken for whole."""


def train(trial_directory: str, dataset_directory: str) -> None:
    """Runs the trial that `trial_directory`/trial.json describes on the data prepared in `dataset_directory`.

    Writes oof.npy (predictions for the training rows, in row order), validation.npy, model/ (the content of the model
    archive), and last of all result.json. If it fails it writes failure.json with `status` (Failed, or Stopped when out
    of time) and `reason`, and raises.
    """
    directory = Path(trial_directory)
    try:
        result = run(Trial.load(directory), Dataset.load(Path(dataset_directory)), directory)
    except Exception as error:
        timeout = isinstance(error, TrialTimeout)
        reason = str(error) if timeout else f"{type(error).__name__}: {error}"
        write_json(directory / FAILURE, {"status": "Stopped" if timeout else "Failed", "reason": reason})
        raise
    write_json(directory / RESULT, result)


def run(trial: Trial, data: Dataset, directory: Path) -> dict[str, Any]:
    """The trial's story; returns the content of result.json."""
    budget = TimeBudget(trial.deadline_seconds)
    engines.warm(trial.algorithm)
    data = as_read(data, trial.algorithm)
    feeders = stack.inputs([Path(path) for path in trial.inputs]) if trial.inputs else []
    as_met = partial(stack.as_met, data, feeders) if feeders else None
    if feeders:
        data, trial = stack.stacked(data, feeders), replace(trial, folds=feeders[0].k)
    bag = fit_folds(trial, data, data.rows(TRAIN), budget, directory / SHELF, as_met)
    validation = predicted(bag.predict, data.features, data.rows(VALIDATION))
    check_finite(bag.oof, validation)
    reached = verdict.reach(data, trial.metric, bag.oof, validation, bag.numbers, bag.familiar)
    begun = budget.elapsed()
    refitted, models = shipped(trial, data, bag, budget, directory)
    refit_seconds = budget.elapsed() - begun
    finished.save_predictions(directory, bag.oof, validation, bag.familiar, reached.calibrated)
    archive = save_model(directory / "model", models, trial, data, reached, feeders)
    rounds = models[0].rounds
    del models  # they are loaded again next
    shutil.rmtree(directory / SHELF, ignore_errors=True)
    seconds_a_row = reached.metrics["Validation"]["InferenceLatency"] = one_row_latency(archive, data.example)
    return {
        "name": trial.name,
        "algorithm": trial.algorithm,
        "params": trial.params,
        **reached.result(),
        "layer": 2 if feeders else 1,
        "inputs": [str(one.directory) for one in feeders],
        "folds": trial.folds,
        "folds_digest": bag.digest(),
        "fold_rounds": bag.best,
        "rounds": rounds,
        "refitted": refitted,
        "seconds": {"folds": bag.seconds, "refit": refit_seconds, "total": budget.elapsed()},
        "latency": seconds_a_row,
        "model_bytes": size(archive),
    }


def check_finite(*predictions: Array) -> None:
    """`JobFailed` unless all predictions are finite numbers."""
    if not _are_finite(*predictions):
        raise JobFailed(
            "The model's predictions are not finite numbers. Leave out this algorithm, or scale the target column."
        )


def _are_finite(*predictions: Array) -> bool:
    return all(bool(np.isfinite(prediction).all()) for prediction in predictions)


def shipped(trial: Trial, data: Dataset, bag: Bag, budget: TimeBudget, directory: Path) -> tuple[bool, list[Model]]:
    """Whether there is a model on all rows, and the models that vote: it and the folds' models.

    It alone of large ones, of those that are bags themselves, and where the folds are few; where the time is too short
    for one as good, or what it predicts is not finite, the folds' models.
    """
    try:
        model = refit(trial, data, bag, budget)
    except TrialTimeout:
        model = None
    checked = sample.spread(len(data), _CHECKED_ROWS)
    if model is None or not _are_finite(predicted(model.predict, data.features, checked)):
        return False, bag.standing()
    few = len(bag.models) < _LEAST_BAG
    if few or trial.algorithm not in _BAGGED or _bytes(model, directory) > _LARGEST_IN_BAG:
        return True, [model]
    return True, [model, *bag.standing()]


def _bytes(model: Model, directory: Path) -> int:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        model.save(Path(folder))
        return size(Path(folder))


def refit(trial: Trial, data: Dataset, bag: Bag, budget: TimeBudget) -> Model | None:
    """One model on all rows, training and validation; None if the end of its time cut it short.

    `TrialTimeout` if there is no time to begin it.
    """
    deadline = budget.deadline(1.0, _REFIT_ENDS, "before the refit on all rows")
    begun, rounds = time.monotonic(), bag.refit_rounds(len(data), trial.params.get("max_rows", math.inf))
    x, y, w = taken(data, None, trial)
    model = engines.engine(trial.algorithm).fit(
        x,
        y,
        w,
        task_of(data, trial.metric),
        trial.params,
        rounds=rounds,
        seed=trial.seed,
        threads=trial.threads,
        deadline=deadline,
    )
    ended = time.monotonic()
    if deadline is None or ended < deadline:
        return model
    if rounds is not None and model.rounds is not None:
        return model if model.rounds >= _WHOLE * rounds else None
    return model if ended - begun >= _WHOLE * bag.seconds_of_a_fold() else None


def save_model(
    target: Path, models: Sequence[Model], trial: Trial, data: Dataset, reached: Verdict, feeders: Sequence[Finished]
) -> Path:
    """The archive content for the models, which share the vote, and what feeds them: in place at once or not at all."""
    assembly = Assembly(target)
    fed = [assembly.add_trial(one.directory / "model") for one in feeders]
    for model in models:
        assembly.add(model, trial.algorithm, 1.0 / len(models), fed or None)
    return assembly.finish(data, reached, trial.metric)


def one_row_latency(archive: Path, row: list[str]) -> float:
    """Seconds from the texts of one row to its prediction by the saved model; `JobFailed` if that is not finite."""
    predictor = TabularPredictor.load(archive)
    check_finite(predictor.vote(predictor.pipeline.transform_rows([row])))
    return latency(lambda: predictor.predict([row]))


def size(directory: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes a whole document or nothing."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
