"""The hyperparameters of the built-in linear learner, which arrive as text, by AWS's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.errors import DataError
from pilothouse.training.algorithms.container import chosen, is_machinery, real, whole

_PREDICTORS = ("binary_classifier", "multiclass_classifier", "regressor")
_LOSSES = {
    "binary_classifier": ("auto", "logistic"),
    "multiclass_classifier": ("auto", "softmax_loss"),
    "regressor": ("auto", "squared_loss", "absolute_loss"),
}
_AUTO_RATE = 0.05
_MOST = 1_000_000
_UNUSED = (
    "num_models", "num_calibration_samples", "num_point_for_scaler", "unbias_data", "unbias_label", "init_method",
    "init_scale", "init_sigma", "init_bias", "bias_lr_mult", "bias_wd_mult", "beta_1", "beta_2", "momentum",
    "lr_scheduler_step", "lr_scheduler_factor", "lr_scheduler_minimum_lr", "use_lr_scheduler", "f_beta",
    "accuracy_top_k",
)  # fmt: skip
"""Taken, and without effect: they steer how AWS's solver finds the same model."""


@dataclass(frozen=True)
class Parameters:
    """What the learner goes by."""

    predictor: str
    loss: str
    feature_dim: int | None
    epochs: int
    batch: int
    rate: float
    l1: float
    l2: float
    bias: bool
    normalize: bool
    normalize_label: bool
    patience: int
    tolerance: float
    seed: int
    num_classes: int | None
    positive_weight: str
    balanced: bool

    def classes(self, labels: Any) -> Any:
        """The sorted labels that the model tells apart; empty for a regressor. `DataError` if they do not fit."""
        if self.predictor == "regressor":
            return np.zeros(0)
        found = np.unique(labels)
        if len(found) < 2:
            raise DataError("The training data has one label only; a classifier needs two.")
        if self.predictor == "binary_classifier" and len(found) != 2:
            raise DataError(f"predictor_type is binary_classifier, but the training data has {len(found)} labels.")
        if self.num_classes is not None and len(found) > self.num_classes:
            raise DataError(f"num_classes is {self.num_classes}, but the training data has {len(found)} labels.")
        return found

    def class_weights(self, counts: Any) -> Any:
        """What a row of each class weighs, where there are so many of each."""
        if self.balanced or (self.predictor == "binary_classifier" and self.positive_weight == "balanced"):
            return 1 / np.maximum(counts / counts.sum(), 1e-12) / len(counts)
        if self.predictor == "binary_classifier":
            return np.array([1.0, float(self.positive_weight)])
        return np.ones(len(counts))


def parse(given: Mapping[str, str]) -> Parameters:
    """Reads hyperparameters, given as text. `DataError` names the first value that cannot be used."""
    values = {name: value for name, value in given.items() if not is_machinery(name) and name not in _UNUSED}
    take = values.pop
    if "predictor_type" not in values:
        raise DataError("The required hyperparameter predictor_type is missing.")
    predictor = chosen("predictor_type", take("predictor_type"), _PREDICTORS)
    chosen("optimizer", take("optimizer", "auto"), ("auto", "adam"))
    criteria = "binary_classifier_model_selection_criteria"
    chosen(criteria, take(criteria, "accuracy"), ("accuracy", "loss_function"))
    parameters = Parameters(
        predictor=predictor,
        loss=chosen("loss", take("loss", "auto"), _LOSSES[predictor]),
        feature_dim=_optional("feature_dim", take("feature_dim", "auto")),
        epochs=whole("epochs", take("epochs", "15"), 1, _MOST),
        batch=_optional("mini_batch_size", take("mini_batch_size", "1000")) or 1000,
        rate=_auto("learning_rate", take("learning_rate", "auto"), _AUTO_RATE),
        l1=_auto("l1", take("l1", "auto"), 0.0),
        l2=_auto("wd", take("wd", "auto"), 0.0),
        bias=_yes("use_bias", take("use_bias", "true")),
        normalize=_yes("normalize_data", take("normalize_data", "true")),
        normalize_label=_yes("normalize_label", take("normalize_label", "auto")),
        patience=whole("early_stopping_patience", take("early_stopping_patience", "3"), 1, _MOST),
        tolerance=real("early_stopping_tolerance", take("early_stopping_tolerance", "0.001"), 0, 1),
        seed=whole("seed", take("seed", "0"), 0, 2**31 - 1),
        num_classes=_optional("num_classes", take("num_classes", "auto")),
        positive_weight=_weight(take("positive_example_weight_mult", "1.0")),
        balanced=_yes("balance_multiclass_weights", take("balance_multiclass_weights", "false")),
    )
    if values:
        raise DataError(
            f"Extraneous hyperparameter found: {min(values)}. It is none of the built-in linear learner's, or not "
            "served by this version of Pilothouse; correct or remove it."
        )
    return parameters


def _optional(name: str, text: str) -> int | None:
    return None if text == "auto" else whole(name, text, 1, _MOST)


def _auto(name: str, text: str, automatic: float) -> float:
    return automatic if text == "auto" else real(name, text, 0, None)


def _yes(name: str, text: str) -> bool:
    return chosen(name, text.lower(), ("auto", "true", "false")) != "false"


def _weight(text: str) -> str:
    return text if text == "balanced" else str(real("positive_example_weight_mult", text, 0, None))
