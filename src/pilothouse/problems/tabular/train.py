"""A trial: one engine and its parameters, bagged over folds, judged on rows it never saw, then refitted on all rows.

Every fold's booster stops early on that fold's held-out rows, so these rows have chosen a stopping point. The
out-of-fold predictions therefore use a number of rounds that the *other* folds chose, and validation rows take no part
in training or stopping before the refit.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data import split
from pilothouse.data.features import Features
from pilothouse.engines.base import Labelled, Model, Task
from pilothouse.errors import TrialTimeout
from pilothouse.problems.evaluate import Cut, evaluate, latency
from pilothouse.problems.tabular import threshold
from pilothouse.problems.tabular.archive import Member, write_manifest
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.predictor import TabularPredictor

Array = npt.NDArray[Any]

RESULT, FAILURE = "result.json", "failure.json"

_FOLDS_END, _REFIT_ENDS = 0.88, 0.96
"""Shares of a trial's time; what lies behind each is for predicting, and for saving and measuring."""


@dataclass(frozen=True)
class Trial:
    """What trial.json says. `deadline_seconds` counts from the start of `train`; None: no limit."""

    name: str
    algorithm: str
    params: dict[str, Any]
    folds: int
    seed: int
    metric: str
    threads: int = 1
    deadline_seconds: float | None = None

    @classmethod
    def load(cls, directory: Path) -> Trial:
        document = json.loads((directory / "trial.json").read_text())
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})


@dataclass
class TimeBudget:
    """The trial's time, shared out so that the refit has its part."""

    seconds: float | None
    begun: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def deadline(self, share: float, ends: float, progress: str) -> float | None:
        """When a step must end that may take `share` of what is left until the share `ends` of the trial's time.

        `TrialTimeout` if nothing is left.
        """
        if self.seconds is None:
            return None
        left = self.seconds * ends - self.elapsed()
        if left <= 0:
            raise TrialTimeout(
                f"The trial reached its time limit of {self.seconds:.0f} s {progress}. "
                "Give the job more time, or leave out this algorithm."
            )
        return time.monotonic() + left * share


@dataclass
class Bag:
    """The models of the folds, with the rounds each found best and the rounds the other folds chose for it."""

    models: list[Model]
    best: list[int | None]
    chosen: list[int | None]
    oof: Array
    numbers: Array
    seconds: list[float]

    def predict(self, x: Features) -> Array:
        """Mean of the fold models' predictions."""
        total = sum(model.predict(x, rounds) for model, rounds in zip(self.models, self.chosen, strict=True))
        return np.asarray(total / len(self.models))

    def refit_rounds(self) -> int | None:
        """Rounds for a model on all rows: as many as the folds needed, and 1/k more for the rows they held out."""
        known = [rounds for rounds in self.best if rounds is not None]
        return max(1, round(float(np.mean(known)) * (1 + 1 / len(known)))) if known else None


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
    train_rows, validation_rows = data.rows(TRAIN), data.rows(VALIDATION)
    bag = fit_folds(trial, data, train_rows, budget)
    validation = bag.predict(data.features.take(validation_rows))
    weights = None if data.w is None else data.w[train_rows]
    judged = (data.problem_type, trial.metric, data.y[train_rows], bag.oof)
    cut = threshold.choose(*judged, weights)
    model, refit_seconds = refit(trial, data, bag, budget)
    save_predictions(directory, bag.oof, validation)
    archive = save_model(directory / "model", model, trial, data, cut)
    metrics = {
        "Train": measure(data, TRAIN, bag.oof, threshold.choose_by_fold(*judged, bag.numbers, weights)),
        "Validation": measure(data, VALIDATION, validation, cut),
    }
    seconds_a_row = metrics["Validation"]["InferenceLatency"] = one_row_latency(archive)
    return {
        "name": trial.name,
        "algorithm": trial.algorithm,
        "params": trial.params,
        "metrics": metrics,
        "threshold": cut,
        "folds": trial.folds,
        "fold_rounds": bag.best,
        "rounds": model.rounds,
        "seconds": {"folds": bag.seconds, "refit": refit_seconds, "total": budget.elapsed()},
        "latency": seconds_a_row,
        "model_bytes": size(archive),
    }


def task_of(data: Dataset, metric: str) -> Task:
    """What is learnt from `data` for the objective `metric`."""
    return Task(data.problem_type, len(data.classes or []), metric)


def fold_numbers(data: Dataset, train_rows: Array, k: int, seed: int) -> Array:
    """The fold of each training row: the job's own folds if it has k of them, else new ones."""
    numbers = np.asarray(data.folds[train_rows])
    if numbers.max() + 1 == k:
        return numbers
    return np.asarray(split.folds(data.y[train_rows], k, stratify=data.problem_type != REGRESSION, seed=seed))


def fit_folds(trial: Trial, data: Dataset, train_rows: Array, budget: TimeBudget) -> Bag:
    """A model for each fold, and every training row predicted by the model that did not see it."""
    numbers = fold_numbers(data, train_rows, trial.folds, trial.seed)
    refit_share = len(data.y) / (len(train_rows) * (trial.folds - 1) / trial.folds)
    models: list[Model] = []
    seconds: list[float] = []
    for fold in range(trial.folds):
        begun = time.monotonic()
        left = trial.folds - fold + refit_share
        deadline = budget.deadline(1 / left, _FOLDS_END, f"after finishing {fold} of {trial.folds} folds")
        models.append(_fit_fold(trial, data, train_rows[numbers != fold], train_rows[numbers == fold], fold, deadline))
        seconds.append(time.monotonic() - begun)
    best = [model.rounds for model in models]
    chosen = others_choose(best)
    oof = _out_of_fold(data, train_rows, numbers, models, chosen)
    return Bag(models, best, chosen, oof, numbers, seconds)


def others_choose(best: list[int | None]) -> list[int | None]:
    """For each fold the mean of the best rounds of the other folds."""
    known = [rounds for rounds in best if rounds is not None]
    if len(known) < 2:
        return list(best)
    return [None if own is None else max(1, round((sum(known) - own) / (len(known) - 1))) for own in best]


def refit(trial: Trial, data: Dataset, bag: Bag, budget: TimeBudget) -> tuple[Model, float]:
    """One model on all rows, training and validation, and the seconds it took."""
    begun = time.monotonic()
    deadline = budget.deadline(1.0, _REFIT_ENDS, "before the refit on all rows")
    model = engines.engine(trial.algorithm).fit(
        data.features,
        data.y,
        data.w,
        task_of(data, trial.metric),
        trial.params,
        rounds=bag.refit_rounds(),
        seed=trial.seed,
        threads=trial.threads,
        deadline=deadline,
    )
    return model, time.monotonic() - begun


def save_predictions(directory: Path, oof: Array, validation: Array) -> None:
    """oof.npy and validation.npy: values as float64, probabilities as float32."""
    for name, prediction in (("oof", oof), ("validation", validation)):
        np.save(directory / f"{name}.npy", prediction if prediction.ndim == 1 else prediction.astype(np.float32))


def save_model(target: Path, model: Model, trial: Trial, data: Dataset, cut: float | None) -> Path:
    """The archive content for a single model, in place at once or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    member = partial / "members" / "0"
    member.mkdir(parents=True)
    model.save(member)
    shutil.copytree(data.directory / "pipeline", partial / "pipeline")
    write_manifest(
        partial, data.facts, [Member("members/0", trial.algorithm, 1.0)], threshold=cut, objective=trial.metric
    )
    partial.rename(target)
    return target


def measure(data: Dataset, part: int, prediction: Array, cut: Cut) -> dict[str, float]:
    """The metrics of a prediction of the rows in `part`, which none of the models behind it has seen."""
    rows = data.rows(part)
    weights = None if data.w is None else data.w[rows]
    return evaluate(data.problem_type, data.y[rows], prediction, weights=weights, threshold=cut)


def one_row_latency(archive: Path) -> float:
    """Seconds from the texts of one row to its prediction by the saved model."""
    predictor = TabularPredictor.load(archive)
    row = ["0"] * len(predictor.columns)
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


def _fit_fold(
    trial: Trial, data: Dataset, fit_rows: Array, held_out: Array, fold: int, deadline: float | None
) -> Model:
    x, y, w = _take(data, fit_rows)
    return engines.engine(trial.algorithm).fit(
        x,
        y,
        w,
        task_of(data, trial.metric),
        trial.params,
        valid=_take(data, held_out) if len(held_out) else None,
        seed=trial.seed + fold,
        threads=trial.threads,
        deadline=deadline,
    )


def _out_of_fold(data: Dataset, rows: Array, numbers: Array, models: list[Model], chosen: list[int | None]) -> Array:
    classes = len(data.facts["classes"] or [])
    oof = np.zeros((len(rows), classes) if classes else len(rows))
    for fold, (model, rounds) in enumerate(zip(models, chosen, strict=True)):
        mine = numbers == fold
        if mine.any():
            oof[mine] = model.predict(data.features.take(rows[mine]), rounds)
    return oof


def _take(data: Dataset, rows: Array) -> Labelled:
    return data.features.take(rows), data.y[rows], None if data.w is None else data.w[rows]
