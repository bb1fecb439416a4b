"""What is tuned of each algorithm, in the words of AWS's own algorithms, and what that means to the engines here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog.metrics import REGRESSION

Document = dict[str, Any]

SUFFIXES = {"xgboost": "xgb", "linear-learner": "ll", "mlp": "mlp"}
"""How the algorithms are called in names of candidates' folders."""


@dataclass(frozen=True)
class Tunable:
    """An algorithm's ranges (a ParameterRanges document), the values to try first, and what is the same in every trial.

    `step`: after so many rounds a trial reports how it does, where it can be stopped for that.
    """

    ranges: Document
    first: Mapping[str, str]
    static: Mapping[str, str]
    step: int = 1


def tunable(algorithm: str, problem_type: str) -> Tunable:
    """What a trial of the algorithm varies."""
    return {"xgboost": _xgboost, "linear-learner": _linear_learner, "mlp": _mlp}[algorithm](problem_type)


def params(algorithm: str, values: Mapping[str, str], rows: int) -> dict[str, Any]:
    """The engine's parameters for these hyperparameters; `rows` are those that a trial learns from."""
    if algorithm == "xgboost":
        names = {"eta": "learning_rate", "num_round": "max_rounds", "early_stopping_rounds": "patience"}
        return {names.get(name, name): _number(text) for name, text in values.items()}
    if algorithm == "linear-learner":
        # Penalties per row on the wire, as AWS has them, are penalties in rows here. Hinges are the pipelines' part.
        found = {"l1": float(values["l1"]) * rows, "l2": float(values["wd"]) * rows, "knots": 0}
        return found | ({"loss": values["loss"]} if "loss" in values else {})
    return {
        "learning_rate": float(values["learning_rate"]),
        "weight_decay": float(values["weight_decay"]),
        "dropout": float(values["dropout"]),
        "batch": int(values["mini_batch_size"]),
        "layers": json.loads(values["layers"]),
        "max_rounds": int(values["epochs"]),
    }


def _xgboost(_problem_type: str) -> Tunable:
    integers = [_range("max_depth", "2", "10")]
    continuous = [
        _range("eta", "0.01", "0.3", "Logarithmic"),
        _range("min_child_weight", "0.01", "100", "Logarithmic"),
        _range("subsample", "0.5", "1.0"),
        _range("colsample_bytree", "0.3", "1.0"),
        _range("gamma", "1e-6", "5.0", "Logarithmic"),
        _range("alpha", "1e-6", "10.0", "Logarithmic"),
        _range("lambda", "1e-3", "100.0", "Logarithmic"),
    ]
    first = {
        "max_depth": "6", "eta": "0.08", "min_child_weight": "1.0", "subsample": "0.9", "colsample_bytree": "0.6",
        "gamma": "1e-06", "alpha": "1e-06", "lambda": "1.0",
    }  # fmt: skip
    static = {"num_round": "1000", "early_stopping_rounds": "30"}
    return Tunable({"IntegerParameterRanges": integers, "ContinuousParameterRanges": continuous}, first, static, 10)


def _linear_learner(problem_type: str) -> Tunable:
    ranges: Document = {
        "ContinuousParameterRanges": [
            _range("l1", "1e-7", "0.1", "Logarithmic"),
            _range("wd", "1e-7", "1.0", "Logarithmic"),
        ]
    }
    first = {"l1": "1e-07", "wd": "0.001"}
    if problem_type == REGRESSION:
        ranges["CategoricalParameterRanges"] = [{"Name": "loss", "Values": ["squared", "huber", "absolute"]}]
        first["loss"] = "squared"
    return Tunable(ranges, first, {}, 10)


def _mlp(_problem_type: str) -> Tunable:
    layers = ["[32]", "[64, 32]", "[128, 64]", "[256, 128]", "[256, 128, 64]", "[512, 256]"]
    ranges = {
        "ContinuousParameterRanges": [
            _range("learning_rate", "1e-4", "3e-2", "Logarithmic"),
            _range("weight_decay", "1e-6", "0.1", "Logarithmic"),
            _range("dropout", "0.0", "0.5"),
        ],
        "CategoricalParameterRanges": [
            {"Name": "layers", "Values": layers},
            {"Name": "mini_batch_size", "Values": ["64", "128", "256", "512"]},
        ],
    }
    first = {
        "learning_rate": "0.001", "weight_decay": "0.001", "dropout": "0.1", "layers": "[128, 64]",
        "mini_batch_size": "128",
    }  # fmt: skip
    return Tunable(ranges, first, {"epochs": "100"})


def _range(name: str, low: str, high: str, scaling: str = "Linear") -> Document:
    return {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value
