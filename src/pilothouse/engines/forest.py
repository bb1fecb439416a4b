"""Random forests and extremely randomised trees: grown by scikit-learn, kept and predicted as plain arrays."""

from __future__ import annotations

import math
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines import forest_compiled
from pilothouse.engines.base import Array, Labelled, Model, Task, capped, matrix, probabilities
from pilothouse.errors import ConfigurationError

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_TREES, _TREES_ON_MANY_ROWS, _MANY_ROWS = 200, 100, 10_000
_BATCH, _MOST_CELLS_AT_ONCE = 10, 20_000_000
"""Trees that are grown at once, and numbers in their nodes: scikit-learn has one of 8 bytes for each class."""

_MOST_LEAVES, _MOST_CELLS = 1_000_000, 20_000_000
"""Leaves in a whole forest, about 20 MB of arrays, and leaves times classes, 80 MB."""

_FEWEST_TREES = 2 / 3
"""The share of the wanted trees that must be left before leaves get larger, to stay below that limit."""

_STEPS = 4
"""Steps of all trees between two looks at whether any has not ended."""

_BLOCK = 1 << 15
"""Row and tree pairs that are walked at once: what fits the cache."""

_COMPILED_FROM = 2_000
"""Rows from which on the compiled walk is worth the making of its trees."""

_COMPARED = 16

_Tree = tuple[Array, Array, Array, Array]


class ForestModel:
    """Trees as arrays. The children of node i are `child[i]` and the one after it; where `feature` is -1, i is a leaf
    and `child[i]` is its row in `value`, the table of distinct leaf values. A row goes to the second child when its
    value is above `cut[i]`.
    """

    rounds: int | None = None

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays
        self._root, self._feature = arrays["root"], arrays["feature"]
        self._cut, self._child = arrays["cut"], arrays["child"]
        self._value, self._median = arrays["value"], arrays["median"]

    @cached_property
    def _next(self) -> Array:
        """Where each node leads, leaves back to themselves."""
        places = np.arange(len(self._child), dtype=self._child.dtype)
        return np.where(self._feature < 0, places, self._child)

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        values = _filled(matrix(x), self._median)
        outputs = self._value.shape[1]
        if len(values) == 1:
            mean = self._value.take(self._leaves(values[0]), axis=0).sum(axis=0, dtype=np.float64) / len(self._root)
            return mean if outputs == 1 else probabilities(mean[None], outputs)
        mean = self._sum(values) / len(self._root)
        return mean[:, 0] if outputs == 1 else probabilities(mean, outputs)

    def _sum(self, x: Array) -> Array:
        """float64 [n, outputs]: what rows get from all trees together."""
        if len(x) < _COMPILED_FROM:
            return self._walked(x)
        found = forest_compiled.total(self._arrays, x)
        some = self._walked(x[:_COMPARED])
        agrees = found is not None and np.allclose(found[:_COMPARED], some, rtol=1e-9, atol=1e-9)
        return found if found is not None and agrees else self._walked(x)

    def _walked(self, x: Array) -> Array:
        outputs = self._value.shape[1]
        total = np.zeros((len(x), outputs))
        rows = max(1, min(len(x), _BLOCK // max(outputs, 16)))
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            trees = max(1, _BLOCK // max(1, len(block) * max(1, outputs // 8)))
            for first in range(0, len(self._root), trees):
                leaves = self._walk(block, self._root[first : first + trees])
                total[start : start + rows] += self._value[leaves].sum(axis=1, dtype=np.float64)
        return total

    def _leaves(self, row: Array) -> Array:
        """The value row that one row reaches in each tree. All trees take a step at a time; at a leaf it leads back."""
        values = np.append(row, np.float32(np.nan))  # what a leaf's feature, -1, finds: above no cut
        at = self._root
        while True:
            for _ in range(_STEPS):
                feature = self._feature.take(at)
                at = self._next.take(at) + (values.take(feature, mode="wrap") > self._cut.take(at))
            if self._feature.take(at).max() < 0:
                return np.asarray(self._child.take(at))

    def _walk(self, x: Array, roots: Array) -> Array:
        """The value row that each row of `x` reaches in each tree: int32 [rows, trees]."""
        node = np.tile(roots, len(x))
        offset = np.repeat(np.arange(len(x)) * x.shape[1], len(roots))
        flat, walking = x.ravel(), np.arange(len(node))
        at = node
        while True:
            feature = self._feature[at]
            inner = feature >= 0
            if not inner.all():
                walking, at, feature, offset = walking[inner], at[inner], feature[inner], offset[inner]
            if not len(walking):
                return np.asarray(self._child[node].reshape(len(x), len(roots)))
            at = self._child[at] + (flat[offset + feature] > self._cut[at])
            node[walking] = at

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        save_file(self._arrays, directory / "forest.safetensors")


class _Forest:
    """What both engines share. Params: scikit-learn's own, and `max_rows`; `n_estimators` trees or up to the deadline.

    The defaults are what gave the best losses: probabilities want larger leaves in binary problems, none in multiclass.
    """

    name: str
    _kinds: tuple[str, str]
    _regression: dict[str, Any]
    _binary: dict[str, Any]
    _multiclass: dict[str, Any] = {"max_features": "sqrt", "min_samples_leaf": 1}

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
        import sklearn.ensemble

        x, y, w = capped(x, y, w, params, seed)
        values = matrix(x)
        median = _medians(values)
        values = _filled(values, median)
        rows = max(len(x), min(task.rows, params.get("max_rows", task.rows)))
        settings = self._defaults(task, rows) | params
        settings.pop("max_rows", None)
        outputs = max(1, task.n_classes)
        trees, leaf = _fitting(rows, int(settings.pop("n_estimators")), int(settings["min_samples_leaf"]), outputs)
        settings["min_samples_leaf"] = leaf
        batch = _together(len(x), leaf, outputs)
        kind = getattr(sklearn.ensemble, self._kinds[0] if task.regression else self._kinds[1])
        unit = _unit(y) if task.regression else 1.0
        target = y / unit if task.regression else y
        forest = kind(n_estimators=0, warm_start=True, random_state=seed, n_jobs=threads, **settings)
        parts: list[_Tree] = []
        while len(parts) < trees:
            forest.n_estimators = min(trees, len(parts) + batch)
            forest.fit(values, target, sample_weight=w)
            classes = None if task.regression else forest.classes_.astype(np.int64)
            parts += [_tree(grown.tree_, classes, task.n_classes, unit) for grown in forest.estimators_[len(parts) :]]
            forest.estimators_ = [None] * len(parts)  # of earlier trees it needs the number; they'd take six times more
            if deadline is not None and time.monotonic() >= deadline:
                break
        return ForestModel(_arrays(parts, median))

    def _defaults(self, task: Task, rows: int) -> dict[str, Any]:
        own = self._regression if task.regression else self._binary if task.binary else self._multiclass
        return {"n_estimators": _trees(rows)} | own

    def load(self, directory: Path) -> Model:
        from safetensors.numpy import load_file

        return ForestModel(_checked(load_file(directory / "forest.safetensors")))


class RandomForest(_Forest):
    """Bootstrapped trees, best cuts."""

    name = "randomforest"
    _kinds = ("RandomForestRegressor", "RandomForestClassifier")
    _regression = {"max_features": 0.5, "min_samples_leaf": 2}
    _binary = {"max_features": "sqrt", "min_samples_leaf": 5}


class ExtraTrees(_Forest):
    """Trees on all rows, random cuts."""

    name = "extra-trees"
    _kinds = ("ExtraTreesRegressor", "ExtraTreesClassifier")
    _regression = {"max_features": 0.7, "min_samples_leaf": 1}
    _binary = {"max_features": 0.5, "min_samples_leaf": 5}


def _checked(arrays: dict[str, Array]) -> dict[str, Array]:
    """`arrays`, which may be anybody's; `ConfigurationError` unless every walk from a root ends at a leaf of them."""
    if not (_shaped(arrays) and _walkable(arrays)):
        raise ConfigurationError(
            "The model's forest has trees that lead nowhere: the archive is damaged or was not made by Pilothouse. "
            "Fetch it again."
        )
    return arrays


def _shaped(arrays: dict[str, Array]) -> bool:
    kinds = {"root": ("i", 1), "feature": ("i", 1), "cut": ("f", 1), "child": ("i", 1), "value": ("f", 2)}
    kinds["median"] = ("f", 1)
    known = arrays.keys() == kinds.keys()
    return known and all((a.dtype.kind, a.ndim) == kinds[name] and a.size for name, a in arrays.items())


def _walkable(arrays: dict[str, Array]) -> bool:
    """Whether children lie behind their parents, each tree has nodes of its own, and all that nodes name is there, and
    can be counted on from without an overflow.
    """
    feature, child, root = arrays["feature"], arrays["child"], arrays["root"]
    nodes = len(child)
    if not len(feature) == len(arrays["cut"]) == nodes <= min(np.iinfo(a.dtype).max for a in (child, root)):
        return False
    inner = feature >= 0
    first, leaves = child[inner], child[~inner]
    return bool(
        ((first > np.flatnonzero(inner)) & (first < nodes - 1)).all()
        and ((leaves >= 0) & (leaves < len(arrays["value"]))).all()
        and ((feature >= -1) & (feature < len(arrays["median"]))).all()
        and root[0] == 0
        and (np.diff(root.astype(np.int64), append=nodes) > 0).all()
    )


def value_bytes(rows: int, outputs: int) -> int:
    """What the values of nodes and leaves take at most while a forest is grown on so many rows: those of the trees that
    are grown at once, and three times those of the forest.
    """
    trees, leaf = _fitting(rows, _trees(rows), 1, outputs)
    nodes = 2 * -(-rows // leaf) * _together(rows, leaf, outputs)
    return 8 * nodes * outputs + 3 * 4 * min(trees * rows // leaf * outputs, _MOST_CELLS)


def _trees(rows: int) -> int:
    return _TREES if rows <= _MANY_ROWS else _TREES_ON_MANY_ROWS


def _together(rows: int, leaf: int, outputs: int) -> int:
    """How many trees are grown at once."""
    return max(1, min(_BATCH, _MOST_CELLS_AT_ONCE * leaf // (2 * rows * outputs)))


def _fitting(rows: int, trees: int, leaf: int, outputs: int) -> tuple[int, int]:
    """Trees, and rows in each leaf, with which the forest stays below its limits: as near to those wanted as can be.

    Leaves of one row have one class, so few of their values are distinct.
    """
    fewest, most = rows * trees * _FEWEST_TREES, _MOST_LEAVES
    leaf = max(leaf, math.ceil(fewest / most))
    if leaf > 1:
        most = max(1, min(most, _MOST_CELLS // outputs))
        leaf = max(leaf, math.ceil(fewest / most))
    return max(1, min(trees, leaf * most // rows)), leaf


def _unit(y: Array) -> float:
    """A power of two near the targets' spread, to grow trees in: scikit-learn takes a variance of 2e-16 for none.

    To divide by it changes no target's digits.
    """
    return float(2.0 ** math.frexp(float(np.std(y)))[1])


def _medians(values: Array) -> Array:
    known = ~np.isnan(values).all(axis=0)
    median = np.zeros(values.shape[1], dtype=np.float32)
    median[known] = np.nanmedian(values[:, known], axis=0)
    return median


def _filled(values: Array, median: Array) -> Array:
    missing = np.isnan(values)
    if missing.any():
        values[missing] = np.broadcast_to(median, values.shape)[missing]
    return values


def _arrays(parts: list[_Tree], median: Array) -> dict[str, Array]:
    sizes = np.array([len(part[0]) for part in parts])
    root = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    feature = np.concatenate([part[0] for part in parts])
    leaf = feature < 0
    counts = [len(part[3]) for part in parts]
    first = np.repeat(np.cumsum(counts) - counts, sizes)
    child = np.concatenate([part[2] for part in parts]) + np.where(leaf, first, np.repeat(root, sizes))
    value, row = _distinct(np.concatenate([part[3] for part in parts]))
    child[leaf] = row[child[leaf]]
    return {
        "root": root,
        "feature": feature,
        "cut": np.concatenate([part[1] for part in parts]),
        "child": child.astype(np.int32),
        "value": np.ascontiguousarray(value),
        "median": median,
    }


def _tree(tree: Any, classes: Array | None, n_classes: int, unit: float) -> _Tree:
    """feature, cut and child of each node, siblings made neighbours; and the distinct values, to which leaves lead."""
    inner = np.flatnonzero(tree.children_left >= 0)
    place = np.zeros(tree.node_count, dtype=np.int64)
    first_child = 2 * np.arange(len(inner)) + 1
    place[tree.children_left[inner]] = first_child
    place[tree.children_right[inner]] = first_child + 1
    feature = np.full(tree.node_count, -1, dtype=np.int16 if tree.n_features < 2**15 else np.int32)
    cut = np.zeros(tree.node_count, dtype=np.float32)
    child = np.zeros(tree.node_count, dtype=np.int32)
    feature[place[inner]] = tree.feature[inner]
    cut[place[inner]] = _float32_below(tree.threshold[inner])
    child[place[inner]] = first_child
    leaves = np.flatnonzero(tree.children_left < 0)
    leaves = leaves[np.argsort(place[leaves])]
    value, child[feature < 0] = _distinct(_leaf_values(tree.value[leaves, 0, :] * unit, classes, n_classes))
    return feature, cut, child, value


def _distinct(values: Array) -> tuple[Array, Array]:
    """The distinct rows of float32 [n, outputs], and which of them each row is."""
    outputs = values.shape[1]
    if outputs > 2:
        rows, place = np.unique(values, axis=0, return_inverse=True)
        return rows, place.ravel()
    # One or two make a whole number of 4 or 8 bytes, which NumPy sorts much faster than rows.
    numbers, place = np.unique(np.ascontiguousarray(values).view(f"u{4 * outputs}").ravel(), return_inverse=True)
    return numbers.view(np.float32).reshape(-1, outputs), place


def _leaf_values(value: Array, classes: Array | None, n_classes: int) -> Array:
    if classes is None:
        return value.astype(np.float32)
    shares = np.zeros((len(value), n_classes), dtype=np.float32)
    shares[:, classes] = value / value.sum(axis=1, keepdims=True)
    return shares


def _float32_below(cut: Array) -> Array:
    """The greatest float32 not above `cut`: float32 values compare to it as they do to `cut`."""
    rounded = cut.astype(np.float32)
    return np.where(rounded > cut, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
