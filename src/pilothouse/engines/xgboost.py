"""XGBoost: histogram boosting, level by level. Saved as UBJSON, XGBoost's own format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.selection import Selection
from pilothouse.engines import xgboost_file
from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped, column_share, matrix, probabilities
from pilothouse.engines.xgboost_blocks import PAGED, page_folder, streamed
from pilothouse.engines.xgboost_file import Trees
from pilothouse.engines.xgboost_row import OneRow
from pilothouse.engines.xgboost_trees import check

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 4000
_NATIVE_CATEGORIES = 255
"""Columns with more levels are split by code order: partitions of so many levels only overfit."""

_LEAST_SPREAD = 1e-15
"""Standard deviations of a target below this one are taken for it."""

_MOST_SPREAD = 1e12
"""Targets of a larger one are learnt in a unit near a millionth of it: XGBoost squares errors, and sums them, in single
precision. In a larger unit the others' squares beside one far target would count for nothing."""

_DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.08,
    "max_depth": 6,
    "min_child_weight": 1.0,
    "subsample": 0.9,
    "colsample_bytree": 0.6,
    "max_cat_to_onehot": 8,
}


class XGBoostModel:
    """A fitted booster. A stored one's `trees`, if they could be read, predict single rows."""

    def __init__(self, booster: Any, n_classes: int, rounds: int, trees: Trees | None = None) -> None:
        self._booster = booster
        self._trained = booster.num_boosted_rounds()
        self._n_classes = n_classes
        self._trees = trees
        self._row: OneRow | None = None
        self.rounds: int | None = rounds

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        upto = min(rounds or self.rounds or self._trained, self._trained)
        values = matrix(x, missing=np.nan)
        raw = self._one(values) if len(x) == 1 and upto == self._trained else self._many(values, upto)
        return probabilities(raw, self._n_classes) if self._n_classes else np.asarray(raw, dtype=np.float64)

    def _many(self, values: Array, upto: int) -> Array:
        return np.asarray(self._booster.inplace_predict(values, iteration_range=(0, upto), validate_features=False))

    def _one(self, values: Array) -> Array:
        if self._row is not None:
            return self._row.predict(values)
        known = self._many(values, self._trained)
        trees, self._trees = self._trees, None
        if trees is not None:
            row = OneRow(trees)
            self._row = row if row.says(known, values) else None
        return known

    def save(self, directory: Path) -> None:
        upto = min(self.rounds or self._trained, self._trained)
        booster = self._booster if upto == self._trained else self._booster[:upto]
        booster.save_model(directory / "model.ubj")
        (directory / "model.json").write_text(json.dumps({"n_classes": self._n_classes}))


class XGBoost:
    """The engine on XGBoost. Params: XGBoost's own, and `patience`, `max_rounds`, `max_rows`.

    Rows that are still on disk are binned block by block; with `paged` the bins stay on disk too, and are read again
    for each level of each tree.
    """

    name = "xgboost"

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
        import xgboost

        x, y, w = capped(x, y, w, params, seed)
        settings = _settings(task, params, seed, threads, x)
        stopping = Stopping(deadline, int(settings.pop("patience", 30)))
        limit = int(settings.pop("max_rounds", _MAX_ROUNDS))
        settings.pop("max_rows", None)
        paged = bool(settings.pop(PAGED, False))
        unit = _unit(y) if task.regression else 1.0
        if task.regression and not task.absolute:
            settings, w = _magnified(settings, y, w)

        class AfterRound(xgboost.callback.TrainingCallback):  # type: ignore[misc]
            def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, Any]) -> bool:
                log = next(iter(evals_log["valid"].values())) if evals_log else None
                return stopping.stop_after(log[-1] * unit if log else None)

        with page_folder(x, paged) as pages:
            train = _data(x, y / unit, w, threads, bins=settings.get("max_bin", 256), pages=pages)
            watched = []
            if valid is not None:
                rows, targets, weights = valid
                watched = [(_data(rows, targets / unit, weights, threads, ref=train, pages=pages), "valid")]
            booster = xgboost.train(
                settings, train, rounds or limit, evals=watched, callbacks=[AfterRound()], verbose_eval=False
            )
        return XGBoostModel(_multiplied(booster, unit, threads), task.n_classes, stopping.rounds)

    def load(self, directory: Path) -> Model:
        import xgboost

        facts = json.loads((directory / "model.json").read_text())
        learner = check(xgboost_file.read(directory / "model.ubj"), facts["n_classes"])
        booster = xgboost.Booster(model_file=directory / "model.ubj")
        booster.set_param({"nthread": 1})
        return XGBoostModel(booster, facts["n_classes"], booster.num_boosted_rounds(), xgboost_file.trees(learner))


def _settings(task: Task, params: dict[str, Any], seed: int, threads: int, x: Features) -> dict[str, Any]:
    settings = _DEFAULTS | params
    settings["colsample_bytree"] = column_share(settings["colsample_bytree"], x)
    settings |= {
        "objective": task.choose("reg:squarederror", "reg:absoluteerror", "binary:logistic", "multi:softprob"),
        "eval_metric": task.choose("rmse", "mae", "logloss", "mlogloss"),
        "tree_method": "hist",
        "seed": seed,
        "nthread": threads,
        "verbosity": 0,
    }
    if not task.regression and not task.binary:
        settings["num_class"] = task.n_classes
    return settings


def _magnified(settings: dict[str, Any], y: Array, w: Array | None) -> tuple[dict[str, Any], Array | None]:
    """The settings and weights with which targets of a spread below 1 are learnt as if it were 1.

    XGBoost takes a split that gains less than 1e-6 for none, and squared errors of small targets are that small. Rows
    that weigh more, and all that is held against their weight, give the same trees without that.
    """
    spread = max(float(np.std(y)), _LEAST_SPREAD)
    if spread >= 1:
        return settings, w
    factor, penalties = spread**-2, {"min_child_weight": settings["min_child_weight"]}
    for name, usual in (("lambda", 1.0), ("alpha", 0.0)):
        penalties[name] = settings.get(name, settings.get(f"reg_{name}", usual))
    magnified = {name: value * (spread * factor if name == "alpha" else factor) for name, value in penalties.items()}
    others = {name: value for name, value in settings.items() if name.removeprefix("reg_") not in penalties}
    return others | magnified, (np.ones(len(y)) if w is None else w) * factor


def _unit(y: Array) -> float:
    """1, or where the targets' spread is very large a power of two that changes no target's digits."""
    spread = float(np.std(y))
    return float(2.0 ** (math.frexp(spread)[1] - 20)) if spread > _MOST_SPREAD else 1.0


def _multiplied(booster: Any, unit: float, threads: int) -> Any:
    """The booster with what its trees and its start say multiplied by `unit`."""
    if unit == 1.0:
        return booster
    import xgboost

    document = json.loads(bytes(booster.save_raw("json")))
    start = document["learner"]["learner_model_param"]
    start["base_score"] = json.dumps((np.asarray(json.loads(start["base_score"])) * unit).tolist())
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        said, leaf = np.asarray(tree["split_conditions"]), np.asarray(tree["left_children"]) == -1
        tree["split_conditions"] = np.where(leaf, said * unit, said).tolist()
        tree["base_weights"] = (np.asarray(tree["base_weights"]) * unit).tolist()
    return xgboost.Booster({"nthread": threads}, model_file=bytearray(json.dumps(document).encode()))


def _data(
    x: Features, y: Array, w: Array | None, threads: int, *, bins: int = 256, ref: Any = None, pages: Path | None = None
) -> Any:
    import xgboost

    how = {"enable_categorical": True, "nthread": threads, "ref": ref, "max_bin": bins}
    types = ["q"] * len(x.numeric_names) + ["c" if levels <= _NATIVE_CATEGORIES else "q" for levels in x.cardinalities]
    if isinstance(x, Selection):
        return streamed(x, y, w, types, pages, how)
    return xgboost.QuantileDMatrix(matrix(x, missing=np.nan), y, weight=w, feature_types=types, **how)
