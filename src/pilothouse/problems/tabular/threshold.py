"""The probability from which a binary row counts as positive, chosen on out-of-fold predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY

Array = npt.NDArray[Any]

CALIBRATED = ("F1", "Accuracy", "BalancedAccuracy")
"""Metrics that a threshold can honestly improve. Precision and Recall alone are best at a useless extreme."""

_PLATEAU = 0.002


def choose(
    problem_type: str, metric: str, y: Array, probabilities: Array, weights: Array | None = None
) -> float | None:
    """The threshold for `metric` on these rows; 0.5 for a metric that is not calibrated, None if not binary.

    The best cut on a sample is noisy, so the answer is the middle of the range of cuts around the best one that are
    within 0.002 of it.
    """
    if problem_type != BINARY:
        return None
    if metric not in CALIBRATED or len(np.unique(y)) < 2:
        return 0.5
    w = np.ones(len(y)) if weights is None or metric == "BalancedAccuracy" else np.asarray(weights, dtype=np.float64)
    cuts, values = _curve(metric, y, probabilities[:, 1], w)
    best = int(values.argmax())
    low = high = best
    while low > 0 and values[low - 1] >= values[best] - _PLATEAU:
        low -= 1
    while high < len(values) - 1 and values[high + 1] >= values[best] - _PLATEAU:
        high += 1
    return float((cuts[low] + cuts[high]) / 2)


def choose_by_fold(
    problem_type: str, metric: str, y: Array, probabilities: Array, folds: Array, weights: Array | None = None
) -> Array | None:
    """For each row the threshold that the rows of the other folds choose: none is judged by a choice of its own."""
    if problem_type != BINARY:
        return None
    cuts = np.empty(len(y))
    for fold in np.unique(folds):
        mine, others = folds == fold, folds != fold
        w = None if weights is None else weights[others]
        cuts[mine] = choose(problem_type, metric, y[others], probabilities[others], w)
    return cuts


def _curve(metric: str, y: Array, scores: Array, w: Array) -> tuple[Array, Array]:
    """Every cut between two neighbouring distinct scores, ascending, and the metric of predicting 1 above it."""
    distinct, group = np.unique(scores, return_inverse=True)
    positive = np.bincount(group, weights=w * (y == 1))
    negative = np.bincount(group, weights=w * (y == 0))
    true_positive = np.cumsum(positive[::-1])[::-1]
    false_positive = np.cumsum(negative[::-1])[::-1]
    cuts = np.concatenate([distinct[:1], (distinct[:-1] + distinct[1:]) / 2])
    return cuts, _metric(metric, true_positive, false_positive, positive.sum(), negative.sum())


def _metric(metric: str, tp: Array, fp: Array, p: float, n: float) -> Array:
    if metric == "F1":
        return np.asarray(2 * tp / (tp + fp + p))
    if metric == "Accuracy":
        return np.asarray((tp + n - fp) / (p + n))
    return np.asarray((tp / p + (n - fp) / n) / 2)
