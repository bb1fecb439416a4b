"""The algorithms of each training mode, by their names on the wire."""

from __future__ import annotations

ENSEMBLING = (
    "lightgbm",
    "catboost",
    "xgboost",
    "randomforest",
    "extra-trees",
    "linear-learner",
    "nn-torch",
    "fastai",
)
HYPERPARAMETER_TUNING = ("xgboost", "linear-learner", "mlp")

SERVED = ("lightgbm", "catboost", "xgboost", "randomforest", "extra-trees", "linear-learner")
"""The ensembling algorithms that this version trains."""

BY_MODE = {"ENSEMBLING": ENSEMBLING, "HYPERPARAMETER_TUNING": HYPERPARAMETER_TUNING}

DEFAULT_MAX_CANDIDATES = {"ENSEMBLING": 10, "HYPERPARAMETER_TUNING": 100}
