"""The metrics that AWS's XGBoost adds to XGBoost's own."""

from __future__ import annotations

from typing import Any

Array = Any
_HALF = 0.5
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy": ("accuracy_score", {}),
    "balanced_accuracy": ("balanced_accuracy_score", {}),
    "f1": ("f1_score", {"average": "macro", "zero_division": 0}),
    "f1_binary": ("f1_score", {"zero_division": 0}),
    "f1_macro": ("f1_score", {"average": "macro", "zero_division": 0}),
    "precision": ("precision_score", {"average": "macro", "zero_division": 0}),
    "recall": ("recall_score", {"average": "macro", "zero_division": 0}),
}
_VALUES = {"mse": "mean_squared_error", "r2": "r2_score"}
NAMES = (*_CLASSES, *_VALUES)


def measure(name: str, labels: Array, predicted: Array, weights: Array | None, objective: str) -> float:
    """The metric `name` (scikit-learn's definition) of what a booster with this objective predicts.

    `ValueError` if it is one of classes and the predictions are none.
    """
    from sklearn import metrics

    if name in _VALUES:
        return float(getattr(metrics, _VALUES[name])(labels, predicted, sample_weight=weights))
    function, options = _CLASSES[name]
    return float(getattr(metrics, function)(labels, classes(predicted, objective), sample_weight=weights, **options))


def classes(predicted: Array, objective: str) -> Array:
    """The classes that predictions stand for: the likeliest one."""
    if predicted.ndim == 2:
        return predicted.argmax(axis=1)
    if objective in ("binary:logistic", "reg:logistic"):
        return (predicted > _HALF).astype(int)
    return (predicted > 0).astype(int) if objective == "binary:logitraw" else predicted
