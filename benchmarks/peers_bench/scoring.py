"""Test metrics of any tool's predictions, by scikit-learn alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

Array = npt.NDArray[Any]

MAIN = {"binary": "LogLoss", "multiclass": "LogLoss", "regression": "RMSE"}
"""The metric that tools are compared by; lower is better."""


@dataclass(frozen=True)
class Predictions:
    """For the test rows in order: `values`, or `probabilities` [n, classes] with the class names and `labels`."""

    values: Array | None = None
    probabilities: Array | None = None
    classes: Sequence[str] = ()
    labels: Sequence[str] = ()

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """What a runner wrote; no pickle."""
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        return cls(
            held.get("values"),
            held.get("probabilities"),
            [str(name) for name in held.get("classes", [])],
            [str(label) for label in held.get("labels", [])],
        )


def score(
    problem: str, truth: Sequence[str], classes: Sequence[str] | None, predictions: Predictions
) -> dict[str, float]:
    """Metrics by their catalog names; `ValueError` if the predictions do not fit the test rows or the classes."""
    if problem == "regression":
        return _regression(np.array([float(text) for text in truth]), _values(predictions, len(truth)))
    place = {name: i for i, name in enumerate(classes or [])}
    y = np.array([place[text] for text in truth])
    probabilities = _probabilities(predictions, place, len(truth))
    predicted = np.array([_place(place, label) for label in predictions.labels]) if predictions.labels else None
    if predicted is None:
        predicted = probabilities.argmax(axis=1)
    found = _common(y, probabilities, predicted)
    return found | (
        _binary(y, probabilities, predicted) if problem == "binary" else _multiclass(y, probabilities, predicted)
    )


def _values(predictions: Predictions, rows: int) -> Array:
    if predictions.values is None or predictions.values.shape != (rows,):
        raise ValueError(f"The runner wrote no values for {rows} test rows.")
    return _finite(predictions.values.astype(np.float64))


def _probabilities(predictions: Predictions, place: dict[str, int], rows: int) -> Array:
    """[n, classes] in the order of `place`; a class that the tool does not know has probability 0."""
    given = predictions.probabilities
    if given is None or given.shape != (rows, len(predictions.classes)):
        raise ValueError(
            f"The runner wrote no probabilities of {len(predictions.classes)} classes for {rows} test rows."
        )
    aligned = np.zeros((rows, len(place)))
    for column, name in enumerate(predictions.classes):
        aligned[:, _place(place, name)] = given[:, column]
    return _finite(aligned / aligned.sum(axis=1, keepdims=True))


def _place(place: dict[str, int], name: str) -> int:
    if name not in place:
        raise ValueError(f"The tool predicts a class {name!r}, which the data do not have.")
    return place[name]


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} predictions are not finite numbers.")
    return values


def _regression(y: Array, p: Array) -> dict[str, float]:
    mse = float(metrics.mean_squared_error(y, p))
    return {
        "RMSE": math.sqrt(mse),
        "R2": float(metrics.r2_score(y, p)),
        "MSE": mse,
        "MAE": float(metrics.mean_absolute_error(y, p)),
    }


def _common(y: Array, p: Array, predicted: Array) -> dict[str, float]:
    return {
        "LogLoss": float(metrics.log_loss(y, p, labels=np.arange(p.shape[1]))),
        "Accuracy": float(metrics.accuracy_score(y, predicted)),
        "BalancedAccuracy": float(metrics.balanced_accuracy_score(y, predicted)),
    }


def _binary(y: Array, p: Array, predicted: Array) -> dict[str, float]:
    return {
        "AUC": float(metrics.roc_auc_score(y, p[:, 1])),
        "F1": float(metrics.f1_score(y, predicted, zero_division=0.0)),
        "Precision": float(metrics.precision_score(y, predicted, zero_division=0.0)),
        "Recall": float(metrics.recall_score(y, predicted, zero_division=0.0)),
    }


def _multiclass(y: Array, p: Array, predicted: Array) -> dict[str, float]:
    """AUC is the mean over the classes that the test rows have, each against all others."""
    present = [c for c in np.unique(y) if (y != c).any()]
    return {
        "AUC": float(np.mean([metrics.roc_auc_score(y == c, p[:, c]) for c in present])),
        "F1macro": float(metrics.f1_score(y, predicted, average="macro", zero_division=0.0)),
        "PrecisionMacro": float(metrics.precision_score(y, predicted, average="macro", zero_division=0.0)),
        "RecallMacro": float(metrics.recall_score(y, predicted, average="macro", zero_division=0.0)),
    }
