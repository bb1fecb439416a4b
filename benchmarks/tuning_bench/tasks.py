"""Training tasks to tune: XGBoost with nine hyperparameters on data that scikit-learn ships or makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from sklearn import datasets, metrics
from sklearn.model_selection import KFold, StratifiedKFold

RANGES: dict[str, Any] = {
    "IntegerParameterRanges": [
        {"Name": "num_round", "MinValue": "10", "MaxValue": "300", "ScalingType": "Logarithmic"},
        {"Name": "max_depth", "MinValue": "2", "MaxValue": "12", "ScalingType": "Linear"},
    ],
    "ContinuousParameterRanges": [
        {"Name": "eta", "MinValue": "0.005", "MaxValue": "0.5", "ScalingType": "Logarithmic"},
        {"Name": "min_child_weight", "MinValue": "0.1", "MaxValue": "100", "ScalingType": "Logarithmic"},
        {"Name": "subsample", "MinValue": "0.3", "MaxValue": "1", "ScalingType": "Linear"},
        {"Name": "colsample_bytree", "MinValue": "0.2", "MaxValue": "1", "ScalingType": "Linear"},
        {"Name": "lambda", "MinValue": "0.001", "MaxValue": "100", "ScalingType": "Logarithmic"},
        {"Name": "alpha", "MinValue": "0.001", "MaxValue": "100", "ScalingType": "Logarithmic"},
        {"Name": "gamma", "MinValue": "0.0001", "MaxValue": "10", "ScalingType": "Logarithmic"},
    ],
}
"""A ParameterRanges document, the same for all tasks."""

_INTEGERS = {"num_round", "max_depth"}

Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Task:
    """A data set and what is minimised on the rows of each fold that was held out: RMSE or log loss."""

    name: str
    load: Callable[[], Rows]
    classes: int
    folds: int

    def loss(self, values: Mapping[str, str]) -> float:
        """The mean loss over the folds with these hyperparameters, in one thread; the same each time."""
        x, y = self.load()
        params = {name: int(text) if name in _INTEGERS else float(text) for name, text in values.items()}
        rounds = params.pop("num_round")
        fixed = {"nthread": 1, "seed": 0, "verbosity": 0, **self._objective}
        losses = []
        for train, held_out in self._split(x, y):
            booster = xgboost.train({**fixed, **params}, xgboost.DMatrix(x[train], y[train]), int(rounds))
            losses.append(self._measured(y[held_out], booster.predict(xgboost.DMatrix(x[held_out]))))
        return float(np.mean(losses))

    def curve(self, values: Mapping[str, str], rounds: int) -> list[float]:
        """The mean loss over the folds after each of so many rounds; `num_round` of the values plays no part."""
        x, y = self.load()
        params = {name: float(text) for name, text in values.items() if name != "num_round"}
        params["max_depth"] = int(params["max_depth"])
        fixed = {"nthread": 1, "seed": 0, "verbosity": 0, **self._objective}
        curves = []
        for train, held_out in self._split(x, y):
            matrices = [xgboost.DMatrix(x[rows], y[rows]) for rows in (train, held_out)]
            found: dict[str, Any] = {}
            watched = [(matrices[1], "valid")]
            xgboost.train(
                {**fixed, **params}, matrices[0], rounds, evals=watched, evals_result=found, verbose_eval=False
            )
            curves.append(next(iter(found["valid"].values())))
        return [float(loss) for loss in np.mean(curves, axis=0)]

    @property
    def metric(self) -> str:
        """What the loss is."""
        return "log loss" if self.classes else "RMSE"

    @property
    def _objective(self) -> dict[str, Any]:
        if not self.classes:
            return {"objective": "reg:squarederror"}
        if self.classes == 2:
            return {"objective": "binary:logistic"}
        return {"objective": "multi:softprob", "num_class": self.classes}

    def _split(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        kind = StratifiedKFold if self.classes else KFold
        yield from kind(self.folds, shuffle=True, random_state=0).split(x, y)

    def _measured(self, y: Any, predicted: Any) -> float:
        if self.classes:
            return float(metrics.log_loss(y, np.clip(predicted, 1e-7, 1 - 1e-7), labels=range(self.classes)))
        return float(metrics.root_mean_squared_error(y, predicted))


def _friedman() -> Rows:
    x, y = datasets.make_friedman1(1200, noise=1.0, random_state=0)
    return x, y


TASKS = {
    task.name: task
    for task in (
        Task("breast_cancer", lambda: datasets.load_breast_cancer(return_X_y=True), 2, 5),
        Task("diabetes", lambda: datasets.load_diabetes(return_X_y=True), 0, 5),
        Task("digits", lambda: datasets.load_digits(return_X_y=True), 10, 2),
        Task("friedman", _friedman, 0, 3),
    )
}
