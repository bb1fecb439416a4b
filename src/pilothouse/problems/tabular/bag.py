"""The bag of a trial: a model for each fold, and every training row predicted by the model that did not see it.

Every fold's booster stops early on that fold's held-out rows, so these rows have chosen a stopping point. The
out-of-fold predictions therefore use a number of rounds that the *other* folds chose, and validation rows take no part
in training or stopping before the refit.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data import split
from pilothouse.data.features import Features
from pilothouse.data.selection import Selection, counted_rows, is_large
from pilothouse.engines.base import Labelled, Model, Task, capped
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.trial import TimeBudget, Trial

Array = npt.NDArray[Any]

_CELLS_AT_ONCE = 8 << 20
"""Values that are predicted from at once: models make several copies of them."""

_FOLDS_END = 0.88
"""The share of a trial's time that the folds may take; what lies behind it is for predicting and the refit."""

_SEED = 0
_PREDICTED_AT_ONCE = 1 << 18

_SHELVED = ("randomforest", "extra-trees")
"""Whose models take tens of megabytes each, and are all there on disk, since they have no rounds."""


class Shelved:
    """A fold's model, which is in memory only while it is asked."""

    rounds: int | None = None

    def __init__(self, model: Model, algorithm: str, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        model.save(place)
        self._algorithm, self._place = algorithm, place

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        return engines.load(self._place, self._algorithm).predict(x, rounds)

    def save(self, directory: Path) -> None:
        shutil.copytree(self._place, directory, dirs_exist_ok=True)


@dataclass
class Bag:
    """The models of the folds, with the rounds each found best and the rounds the other folds chose for it.

    `familiar` (see `Finished`): `oof`, but a row with copies is predicted by a model that has seen it.
    """

    models: list[Model]
    best: list[int | None]
    chosen: list[int | None]
    oof: Array
    numbers: Array
    seconds: list[float]
    familiar: Array | None = None

    def predict(self, x: Features) -> Array:
        """Mean of the fold models' predictions."""
        total = sum(model.predict(x, rounds) for model, rounds in zip(self.models, self.chosen, strict=True))
        return np.asarray(total / len(self.models))

    def refit_rounds(self, rows: int, most: float = math.inf) -> int | None:
        """Rounds for a model on `rows` rows: the mean of what the folds needed, times the root of the rows' growth.

        `most`: as many of its rows any model learns from at most.
        """
        known = [rounds for rounds in self.best if rounds is not None]
        growth = min(rows, most) / min(self.fold_rows(), most)
        return max(1, round(float(np.mean(known)) * math.sqrt(max(1.0, growth)))) if known else None

    def fold_rows(self) -> float:
        """The rows that a fold's model was given."""
        k = len(self.best)
        return len(self.numbers) * (k - 1) / k

    def standing(self) -> list[Model]:
        """The folds' models, each set to the rounds that it was judged with."""
        for model, rounds in zip(self.models, self.chosen, strict=True):
            model.rounds = rounds
        return self.models

    def seconds_of_a_fold(self) -> float:
        """The mean."""
        return sum(self.seconds) / len(self.seconds)

    def digest(self) -> str:
        """A text that bags on the same folds share."""
        return hashlib.sha256(np.asarray(self.numbers, np.int16).tobytes()).hexdigest()[:16]


def task_of(data: Dataset, metric: str) -> Task:
    """What is learnt from `data` for the objective `metric`."""
    return Task(data.problem_type, len(data.classes or []), metric, len(data))


def as_read(data: Dataset, algorithm: str) -> Dataset:
    """`data` without the sparse features where the algorithm doesn't read them, so that no fold copies their rows."""
    if data.features.sparse is None or engines.reads_sparse(algorithm):
        return data
    return replace(data, features=replace(data.features, sparse=None))


def fold_numbers(data: Dataset, train_rows: Array, k: int) -> Array:
    """The fold of each training row: the job's own folds if it has k of them, else new ones, the same for each k."""
    numbers = np.asarray(data.folds[train_rows])
    if numbers.max() + 1 == k:
        return numbers
    groups = None if data.groups is None else data.groups[train_rows]
    stratify = data.problem_type != REGRESSION
    return np.asarray(split.folds(data.y[train_rows], k, stratify=stratify, seed=_SEED, groups=groups))


def fit_folds(
    trial: Trial,
    data: Dataset,
    train_rows: Array,
    budget: TimeBudget,
    shelf: Path,
    as_met: Callable[[], Features] | None = None,
) -> Bag:
    """A model for each fold, and every training row predicted by the model that did not see it.

    The folder `shelf`, which is to be there as long as the bag is in use, is for models that are too large to keep.
    `as_met` makes the features with which later copies of rows will come, if those are others.
    """
    numbers = fold_numbers(data, train_rows, trial.folds)
    refit_share = len(data.y) / (len(train_rows) * (trial.folds - 1) / trial.folds)
    models: list[Model] = []
    seconds: list[float] = []
    for fold in range(trial.folds):
        begun = time.monotonic()
        left = trial.folds - fold + refit_share
        deadline = budget.deadline(1 / left, _FOLDS_END, f"after finishing {fold} of {trial.folds} folds")
        model = _fit_fold(trial, data, train_rows[numbers != fold], train_rows[numbers == fold], fold, deadline)
        shelved = trial.algorithm in _SHELVED
        models.append(Shelved(model, trial.algorithm, shelf / str(fold)) if shelved else model)
        del model  # or the next fold's would be made beside it
        seconds.append(time.monotonic() - begun)
    best = [model.rounds for model in models]
    chosen = others_choose(best)
    oof = _out_of_fold(data, train_rows, numbers, models, chosen)
    familiar = None
    if data.groups is not None:
        met = data if as_met is None else replace(data, features=as_met())
        familiar = _familiar(met, data.groups[train_rows], train_rows, numbers, models, chosen, oof)
    return Bag(models, best, chosen, oof, numbers, seconds, familiar)


def others_choose(best: list[int | None]) -> list[int | None]:
    """For each fold the mean of the best rounds of the other folds."""
    known = [rounds for rounds in best if rounds is not None]
    if len(known) < 2:
        return list(best)
    return [None if own is None else max(1, round((sum(known) - own) / (len(known) - 1))) for own in best]


def _fit_fold(
    trial: Trial, data: Dataset, fit_rows: Array, held_out: Array, fold: int, deadline: float | None
) -> Model:
    x, y, w = taken(data, fit_rows, trial)
    return engines.engine(trial.algorithm).fit(
        x,
        y,
        w,
        task_of(data, trial.metric),
        trial.params,
        valid=taken(data, held_out, trial) if len(held_out) else None,
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
            oof[mine] = predicted(partial(model.predict, rounds=rounds), data.features, rows[mine])
    return oof


def _familiar(
    data: Dataset,
    groups: Array,
    rows: Array,
    numbers: Array,
    models: list[Model],
    chosen: list[int | None],
    oof: Array,
) -> Array:
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    copied = sizes[place] > 1
    seen = oof.copy()
    for fold in range(len(models)):
        mine, other = copied & (numbers == fold), (fold + 1) % len(models)
        if mine.any():
            predict = partial(models[other].predict, rounds=chosen[other])
            seen[mine] = predicted(predict, data.features, rows[mine])
    return seen


def taken(data: Dataset, rows: Array | None, trial: Trial) -> Labelled:
    """The rows to train on, or to watch; None for all. Of many rows no engine that can do without gets a copy, and the
    others get one of those that they train on.

    Weights are 1 on average over the data set: what engines ask of a leaf, and their penalties, are meant for rows that
    count about one each, whatever the unit of the weights.
    """
    y = data.y if rows is None else data.y[rows]
    w = None if data.w is None else (data.w if rows is None else data.w[rows]) / (float(data.w.mean()) or 1.0)
    if not is_large(counted_rows(data.facts["train_rows"], len(data)), data.features.columns):
        return data.features if rows is None else data.features.take(rows), y, w
    x: Features = Selection(data.features, rows, data.directory.parent)
    if engines.streams(trial.algorithm):
        return x, y, w
    x, y, w = capped(x, y, w, trial.params, trial.seed)
    return x.whole(), y, w


def predicted(predict: Callable[[Features], Array], features: Features, rows: Array) -> Array:
    """What `predict` says of these rows, of which few are in memory at a time."""
    together = max(1, min(_PREDICTED_AT_ONCE, _CELLS_AT_ONCE // max(features.columns, 1)))
    parts = [predict(block) for block in Selection(features, rows).blocks(together)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
