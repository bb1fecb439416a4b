"""The judge of mixtures: how good predictions of the training rows are by the job's objective."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY, METRICS, REGRESSION
from pilothouse.data import sample
from pilothouse.problems.evaluate import Cut, measure
from pilothouse.problems.tabular import threshold

Array = npt.NDArray[Any]

_EVEN = math.log(2)
"""The log loss of who knows nothing of two even classes. Measured by it, the log loss counts as much as a metric of
labels; half to twice as much did equally well on unseen rows.
"""
_CELLS = 60_000
"""Rows times classes that a judge looks at: mixtures are chosen among hundreds, and more rows hardly choose others."""
_LEAST_ROWS, _MOST_ROWS = 2_000, 20_000
_BINS_PER_UNIT, _BINS = 32, 1024


@dataclass(frozen=True)
class Judge:
    """Scores predictions of rows by the job's objective; higher is better. `y`: values, or class indices."""

    problem_type: str
    metric: str
    y: Array
    w: Array | None

    def score(self, prediction: Array) -> float:
        """The objective less the log loss, where there is one.

        A metric of labels is jumpy and alone would select for luck; the loss alone would not select for the metric.
        Where one class is rare all losses are small, and counted as they are would count for nothing.
        """
        if self.problem_type == REGRESSION:
            return self.objective(prediction)
        return self.objective(prediction) - self._loss_share * self._loss(prediction)

    def smooth(self, prediction: Array) -> float:
        """What hardly depends on luck: the log loss, negated, and for AUC that too; in regression the objective."""
        if self.problem_type == REGRESSION:
            return self.objective(prediction)
        return (self.objective(prediction) if self.metric == "AUC" else 0.0) - self._loss(prediction)

    def objective(self, prediction: Array) -> float:
        """The objective at its best threshold, negated if it is to be minimised.

        For Precision and Recall their F-measure (see `threshold`); binary ones go by scores rounded to 1/32 log odds.
        """
        if self.problem_type == BINARY and (self.metric in threshold.CALIBRATED or self.metric == "AUC"):
            return self._binary(prediction[:, 1])
        value = measure(self.metric, self.problem_type, self.y, prediction, weights=self.w)
        return value if METRICS[self.metric].direction == "Maximize" else -value

    def measure(self, prediction: Array, cut: Cut) -> float:
        """The objective itself at the given threshold; NaN where it is undefined."""
        return measure(self.metric, self.problem_type, self.y, prediction, weights=self.w, threshold=cut)

    def on(self, rows: Array) -> Judge:
        """The judge of some of the rows."""
        return replace(self, y=self.y[rows], w=None if self.w is None else self.w[rows])

    def weights(self) -> Array:
        """The rows' weights, which sum to 1."""
        w = np.ones(len(self.y)) if self.w is None else np.asarray(self.w, dtype=np.float64)
        return np.asarray(w / (w.sum() or 1.0))

    @cached_property
    def _loss_share(self) -> float:
        """1, or more where who knows only the classes' shares has less log loss than of two even classes."""
        shares = np.bincount(self.y.astype(np.int64), weights=self.weights())
        known = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
        return max(1.0, _EVEN / known) if known > 0 else 1.0

    def _loss(self, prediction: Array) -> float:
        return measure("LogLoss", self.problem_type, self.y, prediction, weights=self.w)

    def _binary(self, p: Array) -> float:
        w = np.ones(len(self.y)) if self.w is None or self.metric == "BalancedAccuracy" else self.w
        odds = np.log(np.maximum(p, 1e-12) / np.maximum(1 - p, 1e-12))
        bins = np.clip(odds * _BINS_PER_UNIT + _BINS / 2, 0, _BINS - 1).astype(np.int64)
        positive = np.bincount(bins, weights=w * (self.y == 1), minlength=_BINS)
        negative = np.bincount(bins, weights=w * (self.y == 0), minlength=_BINS)
        totals = positive.sum(), negative.sum()
        if not all(totals):
            return 0.0
        if self.metric == "AUC":
            return float((positive * (np.cumsum(negative) - negative / 2)).sum() / (totals[0] * totals[1]))
        above = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
        return float(threshold.attainable(self.metric, *above, *totals).max())


def sampled_rows(rows: int, classes: int) -> Array:
    """Which of so many rows a judge needs to look at, from all over them; all if they are few."""
    return sample.spread(rows, min(_MOST_ROWS, max(_LEAST_ROWS, _CELLS // max(classes, 1))))
