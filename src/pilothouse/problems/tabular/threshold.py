"""The probability from which a binary row counts as positive, chosen on out-of-fold predictions.

F1, Accuracy and BalancedAccuracy have a best threshold of their own. Precision and Recall alone are best at a useless
extreme: they go by an F-measure that counts them double, F0.5 and F2 (van Rijsbergen 1979), and never give up what one
half has already: for Precision the threshold is not below 0.5 and for Recall not above, unless nothing would be
positive, or everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY

Array = npt.NDArray[Any]

CALIBRATED = ("F1", "Accuracy", "BalancedAccuracy", "Precision", "Recall")
"""Metrics that the threshold is chosen for."""

_PLATEAU = 0.002
_BETA = {"F1": 1.0, "Precision": 0.5, "Recall": 2.0}


def choose(
    problem_type: str, metric: str, y: Array, probabilities: Array, weights: Array | None = None
) -> float | None:
    """The threshold for `metric` on these rows; 0.5 for a metric that is not calibrated, None if not binary.

    The best cut on a sample is noisy, so the answer is the middle of the range of cuts around the best one that are
    within 0.002 of it.
    """
    if problem_type != BINARY:
        return None
    w = np.ones(len(y)) if weights is None or metric == "BalancedAccuracy" else np.asarray(weights, dtype=np.float64)
    if metric not in CALIBRATED or not (w[y == 1].any() and w[y == 0].any()):
        return 0.5
    cut = _middle_of_the_best(metric, y, probabilities[:, 1], w)
    if metric == "Precision" and (probabilities[:, 1] >= 0.5).any():
        return max(cut, 0.5)
    if metric == "Recall" and (probabilities[:, 1] < 0.5).any():
        return min(cut, 0.5)
    return cut


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


def attainable(metric: str, true_positive: Array, false_positive: Array, positive: float, negative: float) -> Array:
    """What `metric`, one of `CALIBRATED`, is where so much weight is predicted positive rightly and wrongly.

    For Precision and Recall that is their F-measure. `positive` and `negative` are the weights of the classes.
    """
    if metric in _BETA:
        beta = _BETA[metric] ** 2
        return np.asarray((1 + beta) * true_positive / (true_positive + false_positive + beta * positive))
    if metric == "Accuracy":
        return np.asarray((true_positive + negative - false_positive) / (positive + negative))
    return np.asarray((true_positive / positive + (negative - false_positive) / negative) / 2)


def _middle_of_the_best(metric: str, y: Array, scores: Array, w: Array) -> float:
    cuts, values = _curve(metric, y, scores, w)
    best = int(values.argmax())
    low = high = best
    while low > 0 and values[low - 1] >= values[best] - _PLATEAU:
        low -= 1
    while high < len(values) - 1 and values[high + 1] >= values[best] - _PLATEAU:
        high += 1
    return float((cuts[low] + cuts[high]) / 2)


def _curve(metric: str, y: Array, scores: Array, w: Array) -> tuple[Array, Array]:
    """Every cut below, between and above the distinct scores, ascending, and the metric of predicting 1 above it."""
    distinct, group = np.unique(scores, return_inverse=True)
    positive = np.bincount(group, weights=w * (y == 1))
    negative = np.bincount(group, weights=w * (y == 0))
    true_positive, false_positive = (np.append(np.cumsum(own[::-1])[::-1], 0.0) for own in (positive, negative))
    above = max((distinct[-1] + 1) / 2, np.nextafter(distinct[-1], 2))
    cuts = np.concatenate([distinct[:1] / 2, (distinct[:-1] + distinct[1:]) / 2, [above]])
    return cuts, attainable(metric, true_positive, false_positive, positive.sum(), negative.sum())
