"""CatBoost: symmetric trees and ordered target statistics. Saved as cbm, CatBoost's own format."""

from __future__ import annotations

import json
import weakref
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines import catboost_file
from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped, column_share, probabilities
from pilothouse.engines.catboost_file import Trees
from pilothouse.engines.catboost_row import OneRow

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 4000

_DEFAULTS: dict[str, Any] = {
    "depth": 6,
    # Target statistics cost 5 to 20 times what one-hot does, and win only where levels are many.
    "one_hot_max_size": 64,
    "max_ctr_complexity": 2,
}

_MANY_CLASSES = 6
_FOR_MANY_CLASSES: dict[str, Any] = {"learning_rate": 0.3, "depth": 5, "border_count": 32, "max_rounds": 400}
_COLUMNS_FOR_MANY_CLASSES = 0.3
"""A round costs as much as classes times bounds of cuts, and small steps take thousands of rounds: minutes for a
thousand rows of ten classes. These cost a tenth of that and lose next to nothing."""

_FASTEST = 0.3
"""Hurrying raises the learning rate to no more than this."""


class CatBoostModel:
    """A fitted booster. A stored one's `trees`, if they could be read, predict single rows."""

    def __init__(self, booster: Any, n_classes: int, rounds: int, trees: Trees | None = None) -> None:
        self._booster = booster
        self._n_classes = n_classes
        self._trees = trees
        self._row: OneRow | None = None
        self.rounds: int | None = rounds

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        upto = min(rounds or self.rounds or 0, self._booster.tree_count_)
        return self._one(x) if len(x) == 1 and upto == self._booster.tree_count_ else self._many(x, upto)

    def _many(self, x: Features, upto: int) -> Array:
        kind = "Probability" if self._n_classes else "RawFormulaVal"
        raw = self._booster.predict(_shared_pool(x), prediction_type=kind, ntree_end=upto, thread_count=1)
        return probabilities(raw, self._n_classes) if self._n_classes else np.asarray(raw, dtype=np.float64)

    def _one(self, x: Features) -> Array:
        if self._row is not None:
            return self._row.predict(x)
        known = self._many(x, self._booster.tree_count_)
        trees, self._trees = self._trees, None
        if trees is not None:
            row = OneRow(trees, self._booster, self._n_classes, x.cardinalities)
            self._row = row if row.says(known, x) else None
        return known

    def save(self, directory: Path) -> None:
        facts = {"n_classes": self._n_classes}
        if self.rounds and self.rounds < self._booster.tree_count_:
            facts |= self._shrunk(self.rounds)
        self._booster.save_model(str(directory / "model.cbm"))
        (directory / "model.json").write_text(json.dumps(facts))

    def _shrunk(self, rounds: int) -> dict[str, int]:
        """Cuts the later rounds off; what the stored model must know where CatBoost can't."""
        from catboost import CatBoostError

        try:
            self._booster.shrink(ntree_end=rounds)
        except CatBoostError:  # trees that aren't symmetric
            return {"rounds": rounds}
        self._trees = self._row = None
        return {}


class CatBoost:
    """The engine on CatBoost. Params: CatBoost's own, and `patience`, `max_rounds`, `max_rows`, `hurry`.

    The learning rate, the given or the engine's own, is multiplied by `hurry`.
    """

    name = "catboost"

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
        import catboost

        x, y, w = capped(x, y, w, params, seed)
        settings = _settings(task, params, seed, threads, x)
        stopping = Stopping(deadline, int(settings.pop("patience", 30)))
        limit = int(settings.pop("max_rounds", _MAX_ROUNDS))
        settings.pop("max_rows", None)
        booster = catboost.CatBoost(settings | {"iterations": rounds or limit})
        booster.fit(
            _pool(x, y, w),
            eval_set=None if valid is None else _pool(*valid),
            use_best_model=False,
            callbacks=[_AfterRound(stopping)],
        )
        return CatBoostModel(booster, task.n_classes, min(stopping.rounds, booster.tree_count_) or booster.tree_count_)

    def load(self, directory: Path) -> Model:
        import catboost

        facts = json.loads((directory / "model.json").read_text())
        trees = catboost_file.read(directory / "model.cbm")
        booster = catboost.CatBoost()
        booster.load_model(str(directory / "model.cbm"))
        rounds = int(facts.get("rounds", booster.tree_count_))
        return CatBoostModel(booster, facts["n_classes"], rounds, trees)


class _AfterRound:
    """CatBoost's callback protocol: True means go on."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def after_iteration(self, info: Any) -> bool:
        watched = (info.metrics or {}).get("validation")
        return not self._stopping.stop_after(next(iter(watched.values()))[-1] if watched else None)


def _settings(task: Task, params: dict[str, Any], seed: int, threads: int, x: Features) -> dict[str, Any]:
    # Targets of many levels take thousands of rounds at a binary target's rate.
    settings = {"learning_rate": 0.06 if task.binary else 0.1} | _DEFAULTS
    if task.n_classes >= _MANY_CLASSES:
        settings |= _FOR_MANY_CLASSES | {"rsm": column_share(_COLUMNS_FOR_MANY_CLASSES, x)}
    settings |= params
    settings["learning_rate"] = _rate(task, float(settings["learning_rate"]), float(settings.pop("hurry", 1.0)))
    settings |= {
        "loss_function": task.choose("RMSE", "MAE", "Logloss", "MultiClass"),
        "random_seed": seed,
        "thread_count": threads,
        "allow_const_label": True,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    if not task.regression:
        settings["class_names"] = list(range(task.n_classes))
    return settings


def _rate(task: Task, rate: float, hurry: float) -> float:
    """The learning rate: hurrying never lowers it, and the few rounds for many classes need theirs."""
    if task.n_classes >= _MANY_CLASSES:
        rate = max(rate, float(_FOR_MANY_CLASSES["learning_rate"]))
    return max(rate, min(_FASTEST, rate * hurry))


_POOLS: dict[int, Any] = {}


def _shared_pool(x: Features) -> Any:
    """A pool that lasts as long as `x`, for the members of an ensemble that are asked one after the other."""
    pool = _POOLS.get(id(x))
    if pool is None:
        pool = _POOLS[id(x)] = _pool(x)
        weakref.finalize(x, _POOLS.pop, id(x), None)
    return pool


def _pool(x: Features, y: Array | None = None, w: Array | None = None) -> Any:
    """CatBoost's own table; category codes go in as the bytes of their digits, the form it takes without a copy."""
    import catboost

    data = catboost.FeaturesData(
        num_feature_data=np.ascontiguousarray(x.numeric, dtype=np.float32) if x.numeric.shape[1] else None,
        cat_feature_data=_digits(max(x.cardinalities, default=0))[x.categorical] if x.categorical.shape[1] else None,
    )
    return catboost.Pool(data, y, weight=w)


@lru_cache(maxsize=8)
def _digits(codes: int) -> Array:
    """The digits of each code below `codes`."""
    return np.array([str(code).encode() for code in range(codes)], dtype=object)
