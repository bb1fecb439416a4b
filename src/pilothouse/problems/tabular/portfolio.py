"""The portfolio: each algorithm's configurations in the order that pays first, and further ones around a good one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Params = dict[str, Any]

MANY_CELLS = 4_000_000
"""From so many training rows times columns on what is cheap per cell comes first."""

FEW_ROWS = 10_000
"""Below so many training rows random cuts come first: they add more to an ensemble there than best cuts, and cost more
rounds, which several classes multiply."""

MANY_ROWS = 100_000
"""From so many training rows on trees of hundreds of leaves, held back by penalties, come first: they need a tenth of
the rounds, and rows are enough for what they find. What is slow for each row comes last."""

MANY_ROWS_FOR_TREES = 20_000
"""From so many training rows on forests of hundreds of full trees are too large."""

_ORDER = (
    "lightgbm",
    "catboost",
    "nn-torch",
    "extra-trees",
    "fastai",
    "xgboost",
    "linear-learner",
    "randomforest",
)
_ORDER_ON_MANY_CELLS = (
    "lightgbm",
    "xgboost",
    "catboost",
    "extra-trees",
    "nn-torch",
    "linear-learner",
    "randomforest",
    "fastai",
)

_LARGE_LEAVES = {"num_leaves": 96, "learning_rate": 0.03, "min_data_in_leaf": 5, "feature_fraction": 0.7}
_SMALL_LEAVES = {"num_leaves": 15, "lambda_l2": 5.0}
_RANDOM_CUTS = {"extra_trees": True, "feature_fraction": 0.9}
_LARGE_RANDOM = {
    "extra_trees": True,
    "num_leaves": 64,
    "learning_rate": 0.04,
    "min_data_in_leaf": 3,
    "feature_fraction": 0.9,
}
_FAST_LARGE = {"num_leaves": 128, "learning_rate": 0.1, "min_data_in_leaf": 10, "feature_fraction": 0.8}
_SHALLOW = {"depth": 4, "learning_rate": 0.08}
_DEEPER = {"depth": 8, "l2_leaf_reg": 5.0}
_LEAVES = {
    "grow_policy": "Lossguide",
    "max_leaves": 48,
    "depth": 10,
    "l2_leaf_reg": 5.0,
    "min_data_in_leaf": 5,
}
_COLUMNS = {"depth": 7, "l2_leaf_reg": 1.5, "rsm": 0.7}
_DEEP = {"max_depth": 9, "learning_rate": 0.05, "min_child_weight": 3.0}
_SAMPLED = {
    "max_depth": 10,
    "learning_rate": 0.05,
    "subsample": 0.6,
    "colsample_bytree": 0.5,
    "reg_lambda": 3.0,
}
_MANY_LEAVES = {
    "num_leaves": 511,
    "learning_rate": 0.05,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
}
_MANY_CROSSED = {
    "crosses": 6,
    "num_leaves": 255,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "lambda_l2": 20.0,
}
_MANY_LEVELS = {
    "max_depth": 14,
    "learning_rate": 0.1,
    "min_child_weight": 5.0,
    "colsample_bytree": 0.5,
    "reg_lambda": 10.0,
}
_BY_ENTROPY = {"n_estimators": 300, "criterion": "entropy"}
_CROSSED = {"crosses": 6}
_FULL_TREES = {"n_estimators": 300, "max_features": 0.5, "min_samples_leaf": 1}

_PORTFOLIO: dict[str, list[Params]] = {
    "lightgbm": [{}, _CROSSED, _RANDOM_CUTS, _LARGE_LEAVES, _SMALL_LEAVES, _FAST_LARGE, _LARGE_RANDOM],
    "catboost": [{}, _CROSSED, _LEAVES, _COLUMNS, _SHALLOW, _DEEPER],
    "xgboost": [{"max_depth": 4}, _CROSSED, {}, _DEEP, _SAMPLED],
    "extra-trees": [{}, {"max_features": 0.9}],
    "randomforest": [{}, {"max_features": 0.3}],
    "linear-learner": [{"l2": 10.0, "products": 100}, {"l2": 1.0}, {"l2": 30.0}],
    "nn-torch": [{}, {"sigma": 0.5}, {"width": 256, "dropout": 0.2}, {"depth": 3, "members": 4}],
    "fastai": [{}, {"layers": [400, 200, 100]}],
}
"""Each algorithm's configurations in the order in which they lowered the loss of a greedy ensemble of all of them;
those of linear-learner in the order of what each alone is worth."""

_ON_FEW_ROWS: dict[str, list[Params]] = {
    "lightgbm": [_RANDOM_CUTS, _CROSSED, _LARGE_LEAVES, _SMALL_LEAVES, {}, _LARGE_RANDOM, _FAST_LARGE],
}

_NETWORKS_ON_FEW_ROWS: dict[str, list[Params]] = {
    "fastai": [{"ps": 0.3}, {"layers": [400, 200, 100]}],
}
"""So few rows want more dropped at random."""

_ON_MANY_ROWS: dict[str, list[Params]] = {
    "lightgbm": [_MANY_LEAVES, _MANY_CROSSED, {"learning_rate": 0.1}, _FAST_LARGE, _LARGE_LEAVES],
    "xgboost": [_MANY_LEVELS, _CROSSED, {}, _DEEP, _SAMPLED],
    "linear-learner": [{"l2": 1.0}, {"l2": 10.0, "products": 100}, {"l2": 30.0}],
}

_FOR_CLASSES: dict[str, list[Params]] = {
    "extra-trees": [_FULL_TREES, _BY_ENTROPY, {}],
    "randomforest": [_BY_ENTROPY, {}],
}
"""With three classes or more full trees come first, and many of them; two classes want fewer with larger leaves."""

_MANY_CLASSES = 10
_ON_MANY_CLASSES: dict[str, list[Params]] = {
    "lightgbm": [{"learning_rate": 0.1}, _FAST_LARGE, {**_RANDOM_CUTS, "learning_rate": 0.1}],
    "catboost": [{}, {"depth": 7}],
    "xgboost": [{"learning_rate": 0.15}, {**_DEEP, "learning_rate": 0.1}],
}
"""A round costs a tree for each class, so there are to be few."""

_STACKERS: tuple[tuple[str, Params], ...] = (
    ("lightgbm", {"num_leaves": 7, "learning_rate": 0.05, "lambda_l2": 10.0, "min_data_in_leaf": 40}),
    ("extra-trees", {}),
    ("catboost", _SHALLOW),
)
"""What learns on the features and the other candidates' out-of-fold predictions: cautious learners of three kinds."""


@dataclass(frozen=True)
class Range:
    """Where a parameter may lie, and where its engine starts from."""

    low: float
    high: float
    start: float
    whole: bool = False

    def near(self, value: float, draw: float) -> float:
        """A value `draw` times half an octave away, on a log scale, within the range."""
        moved = min(self.high, max(self.low, value * 2.0 ** (0.5 * draw)))
        return round(moved) if self.whole else float(f"{moved:.3g}")


_SPACE: dict[str, dict[str, Range]] = {
    "lightgbm": {
        "num_leaves": Range(6, 1023, 31, whole=True),
        "learning_rate": Range(0.015, 0.15, 0.05),
        "min_data_in_leaf": Range(2, 100, 20, whole=True),
        "feature_fraction": Range(0.3, 1.0, 0.6),
        "lambda_l2": Range(0.05, 30, 0.5),
    },
    "catboost": {
        "depth": Range(3, 9, 6, whole=True),
        "l2_leaf_reg": Range(0.5, 30, 3.0),
        "random_strength": Range(0.2, 5, 1.0),
    },
    "xgboost": {
        "max_depth": Range(3, 16, 6, whole=True),
        "learning_rate": Range(0.02, 0.15, 0.08),
        "min_child_weight": Range(0.5, 30, 1.0),
        "colsample_bytree": Range(0.3, 1.0, 0.6),
        "reg_lambda": Range(0.1, 30, 1.0),
    },
    "nn-torch": {
        "sigma": Range(0.03, 1.0, 0.1),
        "dropout": Range(0.02, 0.4, 0.1),
        "learning_rate": Range(0.001, 0.01, 0.003),
    },
    "extra-trees": {"max_features": Range(0.15, 1.0, 0.5)},
    "randomforest": {"max_features": Range(0.1, 0.9, 0.4)},
    "linear-learner": {"l2": Range(0.01, 1000, 5.0)},
}


def rounds(
    rows: int, columns: int, n_classes: int, algorithms: Sequence[str], numeric: int = 2
) -> list[tuple[str, int, Params]]:
    """(algorithm, number, params): the first configuration of each, then the second of each, and so on.

    Without two `numeric` columns nothing can be crossed.
    """
    lists = _configurations(rows, n_classes)
    if numeric < 2:
        lists = {name: [params for params in own if "crosses" not in params] for name, own in lists.items()}
    order = _ORDER_ON_MANY_CELLS if rows * columns >= MANY_CELLS or rows >= MANY_ROWS else _ORDER
    chosen = [name for name in order if name in algorithms]
    most = max((len(lists[name]) for name in chosen), default=0)
    return [
        (name, number + 1, lists[name][number])
        for number in range(most)
        for name in chosen
        if number < len(lists[name])
    ]


def _configurations(rows: int, n_classes: int) -> dict[str, list[Params]]:
    lists = dict(_PORTFOLIO)
    if rows < FEW_ROWS:
        lists |= _NETWORKS_ON_FEW_ROWS
    if rows < FEW_ROWS and n_classes <= 2:
        lists |= _ON_FEW_ROWS
    if rows >= MANY_ROWS:
        lists |= _ON_MANY_ROWS
    if n_classes >= _MANY_CLASSES:
        lists |= _ON_MANY_CLASSES
    if n_classes > 2 and rows < MANY_ROWS_FOR_TREES:
        lists |= _FOR_CLASSES
    return lists


def stackers(algorithms: Sequence[str]) -> list[tuple[str, Params]]:
    """(algorithm, params) of the second layer, best first."""
    return [(name, params) for name, params in _STACKERS if name in algorithms]


def can_vary(algorithm: str) -> bool:
    """Whether `vary` knows parameters of the algorithm."""
    return algorithm in _SPACE


def vary(algorithm: str, params: Params, seed: int) -> Params:
    """`params` with every parameter that matters moved a little. The same seed gives the same."""
    draws = np.random.default_rng(seed)
    moved = {
        name: span.near(_number(params.get(name), span.start), float(draws.normal()))
        for name, span in _SPACE[algorithm].items()
    }
    return {**params, **moved}


def alike(one: Params, other: Params, columns: int) -> bool:
    """Whether two configurations of an algorithm differ by their seed only: of few columns many shares are as many."""
    return _counted(one, columns) == _counted(other, columns)


def _counted(params: Params, columns: int) -> Params:
    share = params.get("max_features")
    return {**params, "max_features": max(1, int(share * columns))} if isinstance(share, float) else params


def _number(value: Any, start: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if number else start
