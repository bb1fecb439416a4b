"""Measures predictions by the catalog's metrics, with sample weights where the service applies them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY, REGRESSION, reported

Array = npt.NDArray[Any]

Cut = float | Array | None
"""A decision threshold for all rows, or one for each; None for problems that have none."""


def evaluate(
    problem_type: str, y: Array, prediction: Array, *, weights: Array | None = None, threshold: Cut = 0.5
) -> dict[str, float]:
    """Every reported metric of the problem type but InferenceLatency; one that is undefined on these rows is left out.

    `y`: float64 targets or class indices. `prediction`: [n] values, or [n, classes] probabilities. A binary row is
    positive (class 1) when its probability is at least `threshold`. A ratio with an empty denominator counts as 0.
    """
    names = [name for name in reported(problem_type) if name != "InferenceLatency"]
    values = {name: measure(name, problem_type, y, prediction, weights=weights, threshold=threshold) for name in names}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def measure(
    metric: str,
    problem_type: str,
    y: Array,
    prediction: Array,
    *,
    weights: Array | None = None,
    threshold: Cut = 0.5,
) -> float:
    """One metric by its catalog name; NaN where it is undefined (AUC of a single class, no rows or none of weight)."""
    w = np.ones(len(y)) if weights is None or metric == "BalancedAccuracy" else np.asarray(weights, dtype=np.float64)
    if not w.any():
        return math.nan
    if problem_type == REGRESSION:
        return float(_REGRESSION[metric](np.asarray(y, dtype=np.float64), np.asarray(prediction, dtype=np.float64), w))
    if metric in _SCORES:
        return float(_SCORES[metric](y, prediction, w))
    predicted = labels(prediction, threshold if problem_type == BINARY else None)
    table = _BINARY if problem_type == BINARY else _MULTICLASS
    return float(table[metric](confusion(y, predicted, prediction.shape[1], w)))


def labels(probabilities: Array, threshold: Cut = None) -> Array:
    """Class indices: by `threshold` on the positive class of a binary problem, else the most probable class."""
    if threshold is not None and probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1))


def confusion(y: Array, predicted: Array, n_classes: int, w: Array) -> Array:
    """Weight of the rows of each actual (row) and predicted (column) class."""
    cells = np.bincount(y.astype(np.int64) * n_classes + predicted, weights=w, minlength=n_classes * n_classes)
    return cells.reshape(n_classes, n_classes)


def latency(predict: Callable[[], object], *, repeats: int = 15) -> float:
    """Seconds that one call of `predict` takes: the median of several after a first one that is not counted."""
    predict()
    return statistics.median(_timed(predict) for _ in range(repeats))


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _mean(values: Array, w: Array) -> float:
    return _ratio(float((values * w).sum()), float(w.sum()))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0


def _ratios(numerators: Array, denominators: Array) -> Array:
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators != 0)


def _mse(y: Array, p: Array, w: Array) -> float:
    return _mean((y - p) ** 2, w)


def _r2(y: Array, p: Array, w: Array) -> float:
    """1 - residual / total; for a constant target 1 if it is met exactly, else 0."""
    residual = float((w * (y - p) ** 2).sum())
    total = float((w * (y - _mean(y, w)) ** 2).sum())
    if total == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / total


def _log_loss(y: Array, p: Array, w: Array) -> float:
    chosen = p[np.arange(len(y)), y.astype(np.int64)]
    tiny = np.finfo(np.float64).eps
    return _mean(-np.log(np.clip(chosen, tiny, 1.0 - tiny)), w)


def _auc(y: Array, p: Array, w: Array) -> float:
    """Chance that a positive row scores above a negative one, ties counting half; NaN when either is missing."""
    _, group = np.unique(p[:, 1], return_inverse=True)
    positive = np.bincount(group, weights=w * (y == 1))
    negative = np.bincount(group, weights=w * (y == 0))
    pairs = float(positive.sum() * negative.sum())
    if pairs == 0.0:
        return math.nan
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum()) / pairs


def _precision(c: Array) -> float:
    return _ratio(c[1, 1], c[:, 1].sum())


def _recall(c: Array) -> float:
    return _ratio(c[1, 1], c[1].sum())


def _f1(c: Array) -> float:
    return _ratio(2 * c[1, 1], c[1].sum() + c[:, 1].sum())


def _accuracy(c: Array) -> float:
    return _ratio(float(np.trace(c)), c.sum())


def _balanced_accuracy(c: Array) -> float:
    """Mean recall of the classes that occur."""
    actual = c.sum(axis=1)
    return float((np.diag(c)[actual > 0] / actual[actual > 0]).mean())


def _macro(numerators: Array, denominators: Array, c: Array) -> float:
    """Mean of the ratios of the classes that occur or are predicted."""
    seen = (c.sum(axis=0) + c.sum(axis=1)) > 0
    return float(_ratios(numerators[seen], denominators[seen]).mean()) if seen.any() else 0.0


def _precision_macro(c: Array) -> float:
    return _macro(np.diag(c), c.sum(axis=0), c)


def _recall_macro(c: Array) -> float:
    return _macro(np.diag(c), c.sum(axis=1), c)


def _f1_macro(c: Array) -> float:
    return _macro(2 * np.diag(c), c.sum(axis=0) + c.sum(axis=1), c)


_REGRESSION: dict[str, Callable[[Array, Array, Array], float]] = {
    "MSE": _mse,
    "MAE": lambda y, p, w: _mean(np.abs(y - p), w),
    "RMSE": lambda y, p, w: math.sqrt(_mse(y, p, w)),
    "R2": _r2,
}
_SCORES: dict[str, Callable[[Array, Array, Array], float]] = {"AUC": _auc, "LogLoss": _log_loss}
_BINARY: dict[str, Callable[[Array], float]] = {
    "F1": _f1,
    "Accuracy": _accuracy,
    "BalancedAccuracy": _balanced_accuracy,
    "Precision": _precision,
    "Recall": _recall,
}
_MULTICLASS: dict[str, Callable[[Array], float]] = {
    "Accuracy": _accuracy,
    "BalancedAccuracy": _balanced_accuracy,
    "F1macro": _f1_macro,
    "PrecisionMacro": _precision_macro,
    "RecallMacro": _recall_macro,
}
