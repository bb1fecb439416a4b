"""LightGBM: histogram boosting, leaf by leaf. Saved as LightGBM's own text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped, column_share, matrix, probabilities
from pilothouse.engines.lightgbm_row import OneRow
from pilothouse.engines.lightgbm_text import check

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 4000
_NATIVE_CATEGORIES = 255
"""Columns with more levels are split by code order: partitions of so many levels only overfit."""

_DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.9,
    "bagging_freq": 1,
    "cat_smooth": 10.0,
    "max_cat_to_onehot": 8,
}


class LightGBMModel:
    """A fitted booster."""

    def __init__(self, booster: Any, n_classes: int, rounds: int) -> None:
        self._booster = booster
        self._n_classes = n_classes
        self._row: OneRow | None = None
        self.rounds: int | None = rounds

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        if len(x) == 1 and rounds in (None, self.rounds) and self.rounds:
            if self._row is None or self._row.rounds != self.rounds:
                self._row = OneRow(self._booster, self.rounds, max(1, self._n_classes))
            raw = self._row.predict(matrix(x))
        else:
            raw = self._booster.predict(matrix(x), num_iteration=rounds or self.rounds, num_threads=1)
        return probabilities(raw, self._n_classes) if self._n_classes else np.asarray(raw, dtype=np.float64)

    def save(self, directory: Path) -> None:
        self._booster.save_model(directory / "model.txt", num_iteration=self.rounds)
        facts = {"n_classes": self._n_classes, "rounds": self.rounds}
        (directory / "model.json").write_text(json.dumps(facts))


class LightGBM:
    """The engine on LightGBM. Params: LightGBM's own, and `patience`, `max_rounds`, `max_rows`."""

    name = "lightgbm"

    def fit(
        self,
        x: Features,
        y: Array,
        w: Array | None,
        task: Task,
        params: dict[str, Any],
        *,
        valid: Labelled | None = None,
        rounds: int | None = None,
        seed: int = 0,
        threads: int = 1,
        deadline: float | None = None,
    ) -> Model:
        import lightgbm

        x, y, w = capped(x, y, w, params, seed)
        settings = _settings(task, params, seed, threads, x)
        stopping = Stopping(deadline, int(settings.pop("patience", 30)))
        limit = int(settings.pop("max_rounds", _MAX_ROUNDS))
        settings.pop("max_rows", None)
        train = lightgbm.Dataset(matrix(x), y, weight=w, categorical_feature=_native(x), params=settings)
        watched = [] if valid is None else [train.create_valid(matrix(valid[0]), valid[1], weight=valid[2])]

        def after_round(env: Any) -> None:
            results = env.evaluation_result_list
            if stopping.stop_after(results[0][2] if results else None):
                raise lightgbm.callback.EarlyStopException(env.iteration, results)

        booster = lightgbm.train(settings, train, rounds or limit, valid_sets=watched, callbacks=[after_round])
        return LightGBMModel(booster, task.n_classes, stopping.rounds)

    def load(self, directory: Path) -> Model:
        import lightgbm

        facts = json.loads((directory / "model.json").read_text())
        check(directory / "model.txt", facts["n_classes"])
        booster = lightgbm.Booster(model_file=directory / "model.txt")
        return LightGBMModel(booster, facts["n_classes"], facts["rounds"])


def _settings(task: Task, params: dict[str, Any], seed: int, threads: int, x: Features) -> dict[str, Any]:
    settings = _DEFAULTS | params
    settings["min_data_in_leaf"] = max(1, min(int(settings["min_data_in_leaf"]), len(x) // 20))
    settings["feature_fraction"] = column_share(settings["feature_fraction"], x)
    settings |= {
        "objective": task.choose("regression", "regression_l1", "binary", "multiclass"),
        "metric": task.choose("l2", "l1", "binary_logloss", "multi_logloss"),
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    if not task.regression and not task.binary:
        settings["num_class"] = task.n_classes
    return settings


def _native(x: Features) -> list[int]:
    first = x.numeric.shape[1]
    return [first + i for i, levels in enumerate(x.cardinalities) if levels <= _NATIVE_CATEGORIES]
