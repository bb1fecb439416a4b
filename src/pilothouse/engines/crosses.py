"""Crosses: differences and ratios of the numbers that matter most, for trees, which cut one number at a time.

A training that asks for `crosses` first grows a few small trees, takes that many of the numeric columns that lowered
their loss most, and adds the difference and the ratio of each two of them. Columns are chosen by the rows of that
training alone, so a fold's rows have no part in the crosses that they are predicted with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array, Task, matrix
from pilothouse.engines.widened import WidenedEngine, applied, restored

if TYPE_CHECKING:
    from pilothouse.data.features import Features

PARAM = "crosses"
"""The parameter of a training that says of how many columns."""

_FILE = "crosses.safetensors"
_ROWS, _ROUNDS = 20_000, 60
_MOST_PAIRS = 10_000
"""A stored model's: each makes two numbers of every row."""

LARGEST = 1e30
"""Crosses are kept between this and its negative."""


@dataclass(frozen=True)
class Crosses:
    """Pairs of numeric columns, by position: int64 [pairs] each."""

    left: Array
    right: Array

    @classmethod
    def fit(
        cls, x: Features, y: Array, w: Array | None, task: Task, columns: int, seed: int, threads: int
    ) -> Crosses | None:
        """Those of the `columns` numeric columns that lower the loss most; None if fewer than two lower it."""
        gains = _gains(x, y, w, task, seed, threads)[: len(x.numeric_names)]
        best = [int(column) for column in np.argsort(-gains, kind="stable")[:columns] if gains[column] > 0]
        pairs = np.array(list(combinations(best, 2)), np.int64).reshape(-1, 2)
        return cls(pairs[:, 0].copy(), pairs[:, 1].copy()) if len(pairs) else None

    def apply(self, x: Features) -> Features:
        """`x` with the differences and then the ratios as further numeric columns.

        What divides by 0, or lacks one of its numbers, is missing.
        """
        left, right = x.numeric[:, self.left].astype(np.float64), x.numeric[:, self.right].astype(np.float64)
        ratios = np.divide(left, right, out=np.full(left.shape, np.nan), where=right != 0)
        made = np.clip(np.concatenate([left - right, ratios], axis=1), -LARGEST, LARGEST).astype(np.float32)
        pairs = [(x.numeric_names[i], x.numeric_names[j]) for i, j in zip(self.left, self.right, strict=True)]
        names = [f"{a}{sign}{b}" for sign in "-/" for a, b in pairs]
        numeric = np.concatenate([x.numeric, made], axis=1)
        return replace(x, numeric=numeric, numeric_names=[*x.numeric_names, *names])

    def save(self, directory: Path) -> None:
        """Write them into `directory`, beside the model."""
        from safetensors.numpy import save_file

        save_file({"left": self.left, "right": self.right}, directory / _FILE)

    @classmethod
    def load(cls, directory: Path) -> Crosses | None:
        """What `save` wrote in `directory`; None if nothing is there."""
        from safetensors.numpy import load_file

        return restored(cls, load_file(directory / _FILE)) if (directory / _FILE).exists() else None

    def is_consistent(self) -> bool:
        """Whether they are pairs, and few enough."""
        alike = self.left.shape == self.right.shape == (self.left.size,)
        return (
            alike
            and self.left.size <= _MOST_PAIRS
            and all(side.dtype.kind == "i" and (side >= 0).all() for side in (self.left, self.right))
        )


class WithCrosses(WidenedEngine):
    """An engine that gives another one crosses where it is asked for them."""

    own_params = (PARAM,)

    def widening(
        self, x: Features, y: Array, w: Array | None, task: Task, params: dict[str, Any], seed: int, threads: int
    ) -> tuple[Crosses, Features] | None:
        columns = int(params.get(PARAM, 0))
        crosses = Crosses.fit(x, y, w, task, columns, seed, threads) if columns >= 2 else None
        return None if crosses is None else (crosses, applied(crosses, x))

    def stored(self, directory: Path) -> Crosses | None:
        return Crosses.load(directory)


def _gains(x: Features, y: Array, w: Array | None, task: Task, seed: int, threads: int) -> Array:
    """By how much each column lowers the loss of a few small trees on some of the rows."""
    import lightgbm

    rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:_ROWS])
    settings = {
        "objective": task.choose("regression", "regression_l1", "binary", "multiclass"),
        "num_leaves": 15,
        "learning_rate": 0.1,
        "min_data_in_leaf": max(1, min(20, len(rows) // 20)),
        "feature_fraction": 0.6,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    outputs = 1 if task.regression or task.binary else task.n_classes
    settings |= {"num_class": outputs} if outputs > 1 else {}
    values = matrix(x.take(rows).whole())
    table = lightgbm.Dataset(values, y[rows], weight=None if w is None else w[rows], params=settings)
    booster = lightgbm.train(settings, table, max(5, _ROUNDS // outputs))
    return np.asarray(booster.feature_importance("gain"), np.float64)
