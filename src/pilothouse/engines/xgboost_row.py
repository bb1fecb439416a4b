"""XGBoost on single rows, in NumPy: all trees take a step at a time, where the library first looks through them all."""

from __future__ import annotations

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.engines.xgboost_file import Trees

_MISSING = np.full(1, np.nan, np.float32)
_MOST_POWER = np.float32(88.7)
_ALIKE = 1e-5
"""The library answers in single precision."""


class OneRow:
    """Predicts one row with all trees of a booster. Thread-safe."""

    def __init__(self, trees: Trees) -> None:
        self._of = trees
        self._roots = np.arange(trees.trees, dtype=np.int32)
        self._numbers = np.arange(len(trees.of))

    def predict(self, row: Array) -> Array:
        """The answer for a float32 row [1, columns], NaN being missing: [1], or [1, classes] of more than two."""
        scores = self._scores(row[0])
        if self._of.objective == "binary:logistic":
            return np.asarray(1 / (1 + _exp(np.minimum(-scores, _MOST_POWER))))
        if self._of.objective == "multi:softprob":
            powers = _exp(scores - scores.max())
            return np.asarray(powers / powers.sum(dtype=np.float64).astype(np.float32))[None]
        return scores

    def says(self, known: Array, row: Array) -> bool:
        """Whether the answer for a row is the one that the library gave."""
        return row.shape[1] == self._of.columns and np.allclose(self.predict(row), known, rtol=_ALIKE, atol=0.0)

    def _scores(self, row: Array) -> Array:
        of = self._of
        values = np.concatenate([row, -row, _MISSING])
        if len(of.of):
            codes = np.minimum(np.nan_to_num(row.take(of.of)), 8 * of.sets.shape[1] - 1).astype(np.int64)
            away = of.sets[self._numbers, codes >> 3] >> (codes & 7) & 1
            values = np.concatenate([values, away.astype(np.float32)])
        at = self._roots
        for _ in range(of.depth):
            at = of.child.take(at) + (values.take(of.feature.take(at)) > of.cut.take(at))
        found = of.cut.take(at).reshape(-1, len(of.base))
        # The library adds in single precision, one tree after the other.
        return np.asarray(np.concatenate([of.base[None], found]).cumsum(axis=0, dtype=np.float32)[-1])


def _exp(values: Array) -> Array:
    """In single precision, but rounded once, as the library's is; NumPy's own is off by a little more."""
    return np.exp(values, dtype=np.float64).astype(np.float32)
