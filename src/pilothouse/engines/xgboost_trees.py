"""XGBoost's trees, looked through before the library reads them: it compares only the lengths of their arrays."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.errors import ConfigurationError

_NUMBERS = {
    "left_children": "i",
    "right_children": "i",
    "parents": "i",
    "split_indices": "i",
    "split_conditions": "f",
    "split_type": "iu",
    "default_left": "iu",
    "base_weights": "f",
    "loss_changes": "f",
    "sum_hessian": "f",
}
"""What a tree says of each node, and NumPy's letters for the kinds of numbers that it may be."""

_WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,8}")
_CLASSES = {"reg:squarederror": 0, "reg:absoluteerror": 0, "binary:logistic": 2}
"""Those of a model with one output, by its objective."""

_NOBODY = (-1, 2**31 - 1)
"""A root's parent."""

_CATEGORICAL = 1
_MOST_CODES = 1000

_DEEPEST = 10_000
"""The library measures trees by functions that call themselves, and has room for about ten times as many calls."""


def check(learner: dict[str, Any] | None, n_classes: int) -> dict[str, Any]:
    """A file's `learner`; `ConfigurationError` unless it is one that answers as many numbers as `n_classes`
    (0: regression) has, and no walk through one of its trees leaves the arrays.
    """
    if learner is None:
        raise _damaged("it is not as XGBoost writes it")
    try:
        columns, outputs = _checked_outputs(learner, n_classes)
        model = _checked_model(learner["gradient_booster"])
        _check_turns(model, outputs)
        _check_trees(model["trees"], columns)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _damaged("it is not as XGBoost writes it") from error
    return learner


def _checked_outputs(learner: dict[str, Any], n_classes: int) -> tuple[int, int]:
    """How many columns a row has, and how many outputs."""
    param, objective = learner["learner_model_param"], learner["objective"]
    columns, classes = _whole(param["num_feature"]), _whole(param["num_class"])
    if objective["name"] == "multi:softprob":
        known = 1 < n_classes == classes == _whole(objective["softmax_multiclass_param"]["num_class"])
    else:
        known = _CLASSES.get(objective["name"]) == n_classes and classes == 0
    if not known or _whole(param["num_target"]) != 1:
        raise _damaged(
            f"model.json has {n_classes} classes, but it has {classes} and the objective {objective['name']!r}"
        )
    if len(learner["feature_types"]) != columns:
        raise _damaged("num_feature is not the number of its features")
    outputs = max(1, classes)
    if np.atleast_1d(np.asarray(json.loads(param["base_score"]), np.float64)).shape not in ((1,), (outputs,)):
        raise _damaged("base_score has not one value for each output")
    return columns, outputs


def _checked_model(booster: dict[str, Any]) -> dict[str, Any]:
    """The trees and their order."""
    model: dict[str, Any] = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    if booster["name"] == "dart":
        if len(booster["weight_drop"]) != len(model["trees"]):
            raise _damaged("weight_drop has not one value for each tree")
    elif booster["name"] != "gbtree":
        raise _damaged("it has no trees")
    if any(len(part) for part in model.get("cats", {}).values()):
        raise _damaged("it has categories of its own")
    return model


def _check_turns(model: dict[str, Any], outputs: int) -> None:
    """That trees take turns with the outputs, so many of them in each round."""
    param, count = model["gbtree_model_param"], len(model["trees"])
    together = _whole(param["num_parallel_tree"])
    places = np.arange(count)
    if not count == _whole(param["num_trees"]) > 0 or [tree["id"] for tree in model["trees"]] != places.tolist():
        raise _damaged("num_trees is not the number of its trees")
    if together < 1 or not np.array_equal(model["tree_info"], places // together % outputs):
        raise _damaged("tree_info has not the output of each tree")
    if not np.array_equal(model["iteration_indptr"], np.arange(0, count + 1, together * outputs)) or count % outputs:
        raise _damaged("iteration_indptr are not its rounds")


def _check_trees(trees: list[dict[str, Any]], columns: int) -> None:
    sizes = np.array([_checked_size(tree, columns) for tree in trees])
    first = np.cumsum(sizes) - sizes
    start = np.repeat(first, sizes)
    left, right, parent, column, kind = (
        np.concatenate([tree[name] for tree in trees]).astype(np.int64)
        for name in ("left_children", "right_children", "parents", "split_indices", "split_type")
    )
    inner = np.flatnonzero((left != -1) | (right != -1))
    place, end = inner - start[inner], np.repeat(sizes, sizes)[inner]
    for name, side in (("left_children", left[inner]), ("right_children", right[inner])):
        if not ((side > place) & (side < end)).all():
            raise _damaged(f"{name} names nodes that are not there")
    children = np.concatenate([left[inner], right[inner]]) + np.tile(start[inner], 2)
    if (np.bincount(children) > 1).any() or not np.isin(parent[first], _NOBODY).all():
        raise _damaged("a node has two parents, or a root has one")
    if (parent[children] != np.tile(place, 2)).any():
        raise _damaged("parents are not those of left_children and right_children")
    if ((column[inner] < 0) | (column[inner] >= columns)).any():
        raise _damaged("split_indices names a feature beyond num_feature")
    _check_depth(left + start, right + start, left != -1, first)
    _check_categories(trees, first, kind)


def _checked_size(tree: dict[str, Any], columns: int) -> int:
    """How many nodes the tree has."""
    param = tree["tree_param"]
    size = _whole(param["num_nodes"])
    if _whole(param["num_feature"]) != columns or _whole(param["size_leaf_vector"]) > 1:
        raise _damaged("a tree has other features or outputs than the model")
    if size < 1 or any(len(tree[name]) != size for name in _NUMBERS):
        raise _damaged("a tree's arrays have not one value for each node")
    if any(tree[name].dtype.kind not in kinds for name, kinds in _NUMBERS.items()):
        raise _damaged("a tree's arrays are not of the numbers that they should be of")
    return size


def _check_depth(left: Array, right: Array, inner: Array, level: Array) -> None:
    """All trees take a step at a time from their roots, `level`."""
    for _ in range(_DEEPEST):
        level = level[inner[level]]
        if not len(level):
            return
        level = np.concatenate([left[level], right[level]])
    raise _damaged("a tree is too deep")


def _check_categories(trees: list[dict[str, Any]], first: Array, kind: Array) -> None:
    if not np.isin(kind, (0, _CATEGORICAL)).all():
        raise _damaged("split_type has kinds that are not XGBoost's")
    nodes = [tree["categories_nodes"].astype(np.int64) for tree in trees]
    asked = np.concatenate([own + start for own, start in zip(nodes, first, strict=True)])
    counts = np.add.reduceat(kind, first).tolist()
    if counts != [len(own) for own in nodes] or not np.array_equal(asked, np.flatnonzero(kind == _CATEGORICAL)):
        raise _damaged("categories_nodes are not those of split_type")
    for tree in (tree for tree, asks in zip(trees, counts, strict=True) if asks):
        codes, begin, count = (tree[f"categories{of}"].astype(np.int64) for of in ("", "_segments", "_sizes"))
        if codes.min() < 0 or codes.max() > _MOST_CODES:
            raise _damaged("a tree's categories are not XGBoost's")
        if not len(begin) == len(count) == len(tree["categories_nodes"]) or (count < 1).any():
            raise _damaged("categories_sizes has not the size of each set of categories")
        if count.sum() != len(codes) or not np.array_equal(begin, np.cumsum(count) - count):
            raise _damaged("categories_segments are not those of categories")


def _whole(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError("not a whole number as XGBoost writes it")
    return int(text)


def _damaged(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The model's model.ubj can't be trusted: {what}. "
        "The archive is damaged or was not made by Pilothouse. Fetch it again."
    )
