"""The metrics that AWS's XGBoost adds to XGBoost's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
_HALF = 0.5


def predictions(raw: Array, objective: str) -> Array:
    """What a booster's raw margins say: classes for classification, values for regression."""
    if raw.ndim == 2 and raw.shape[1] > 1:
        return raw.argmax(axis=1)
    if objective.startswith("multi:"):  # XGBoost hands softmax margins over as classes already
        return raw
    if objective in ("binary:logistic", "binary:logitraw"):
        return (raw > 0).astype(int)
    if objective == "reg:logistic":
        return 1 / (1 + np.exp(-raw))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        return np.exp(raw)
    if objective == "binary:hinge":
        return (raw > _HALF).astype(int)
    return raw


def measure(name: str, labels: Array, predicted: Array, weights: Array | None) -> float:
    """The metric `name` of predictions as `predictions` gives them."""
    from sklearn import metrics

    table: dict[str, Callable[[], float]] = {
        "accuracy": lambda: metrics.accuracy_score(labels, predicted, sample_weight=weights),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(labels, predicted, sample_weight=weights),
        "f1": lambda: metrics.f1_score(labels, predicted, average="macro", sample_weight=weights, zero_division=0),
        "f1_macro": lambda: metrics.f1_score(
            labels, predicted, average="macro", sample_weight=weights, zero_division=0
        ),
        "f1_binary": lambda: metrics.f1_score(labels, predicted, sample_weight=weights, zero_division=0),
        "precision": lambda: metrics.precision_score(
            labels, predicted, average="macro", sample_weight=weights, zero_division=0
        ),
        "recall": lambda: metrics.recall_score(
            labels, predicted, average="macro", sample_weight=weights, zero_division=0
        ),
        "mse": lambda: metrics.mean_squared_error(labels, predicted, sample_weight=weights),
        "r2": lambda: metrics.r2_score(labels, predicted, sample_weight=weights),
    }
    return float(table[name]())


NAMES = ("accuracy", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "mse", "precision", "r2", "recall")
