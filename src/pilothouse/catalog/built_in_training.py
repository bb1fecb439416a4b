"""The built-in training algorithms: what their logs are read for, by AWS's names of the metrics."""

from __future__ import annotations

from collections.abc import Iterator

XGBOOST_METRICS = (
    "accuracy", "auc", "aucpr", "balanced_accuracy", "error", "f1", "f1_binary", "f1_macro", "logloss", "mae",
    "map", "mape", "merror", "mlogloss", "mse", "ndcg", "precision", "r2", "recall", "rmse",
)  # fmt: skip
"""The metrics that eval_metric may name; for the training and the validation channel they make AWS's 40."""

LINEAR_METRICS = (
    "absolute_loss", "binary_classification_accuracy", "binary_f_beta", "macro_f_beta", "macro_precision",
    "macro_recall", "mse", "multiclass_accuracy", "precision", "recall", "rmse", "roc_auc_score",
)  # fmt: skip
"""What the linear learner reports of the validation and the test channel, as far as its predictor_type has it."""

MAXIMIZED = frozenset(
    {
        "accuracy", "auc", "aucpr", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "map", "ndcg", "precision",
        "r2", "recall",
    }
)  # fmt: skip


def metric_definitions(algorithm: str | None) -> tuple[tuple[str, str], ...]:
    """(name, regex) of all that the algorithm may report; its log holds those that its eval_metric asks for."""
    made = {"xgboost": _xgboost, "linear-learner": _linear_learner}.get(algorithm or "")
    return tuple(made()) if made else ()


def _xgboost() -> Iterator[tuple[str, str]]:
    for part in ("train", "validation"):
        for metric in XGBOOST_METRICS:
            yield f"{part}:{metric}", rf"^\[[0-9]+\].*#011{part}-{metric}:(\S+)"


def _linear_learner() -> Iterator[tuple[str, str]]:
    begin = r"#quality_metric: host=\S+, "
    for part in ("train", "validation", "test"):
        yield f"{part}:objective_loss", rf"{begin}epoch=\S+, {part} \S+_objective <loss>=(\S+)"
    for part in ("validation", "test"):
        for metric in LINEAR_METRICS:
            yield f"{part}:{metric}", rf"{begin}{part} {metric} <score>=(\S+)"
