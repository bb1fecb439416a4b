"""The linear learner's scores, by AWS's names; scikit-learn's definitions."""

from __future__ import annotations

import math
from typing import Any

_HALF = 0.5


def scores(predictor: str, answers: Any, true: Any) -> dict[str, float]:
    """What is reported of a channel: `answers` are values, chances of the positive class, or classes."""
    if predictor == "regressor":
        return _regression(answers, true)
    return _binary(answers, true) if predictor == "binary_classifier" else _multiclass(answers, true)


def _regression(answers: Any, true: Any) -> dict[str, float]:
    from sklearn import metrics

    mse = float(metrics.mean_squared_error(true, answers))
    return {"mse": mse, "rmse": math.sqrt(mse), "absolute_loss": float(metrics.mean_absolute_error(true, answers))}


def _binary(answers: Any, true: Any) -> dict[str, float]:
    from sklearn import metrics

    said = answers > _HALF
    values = {
        "binary_classification_accuracy": metrics.accuracy_score(true, said),
        "precision": metrics.precision_score(true, said, zero_division=0),
        "recall": metrics.recall_score(true, said, zero_division=0),
        "binary_f_beta": metrics.f1_score(true, said, zero_division=0),
    }
    if 0 < true.mean() < 1:  # else it is not defined
        values["roc_auc_score"] = metrics.roc_auc_score(true, answers)
    return {name: float(value) for name, value in values.items()}


def _multiclass(said: Any, true: Any) -> dict[str, float]:
    from sklearn import metrics

    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return {
        "multiclass_accuracy": float(metrics.accuracy_score(true, said)),
        "macro_precision": float(metrics.precision_score(true, said, **macro)),
        "macro_recall": float(metrics.recall_score(true, said, **macro)),
        "macro_f_beta": float(metrics.f1_score(true, said, **macro)),
    }
