"""The trees of LightGBM, XGBoost and CatBoost, read from what each library writes about its models."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.problems.tabular.onnx.graph import CannotExport
from pilothouse.problems.tabular.onnx.trees import GT, LEQ, LT, MEMBER, Fork, Leaf, Trees

Tree = Fork | Leaf

_ANOTHER = "Export another of the job's candidates, which list-candidates-for-auto-ml-job names, such as -lightgbm-1."


def lightgbm(booster: Any, rounds: int | None, targets: int) -> Trees:
    """The trees of a booster on numbers and then category codes (0: unknown); several targets take turns."""
    found = Trees(targets)
    for i, tree in enumerate(booster.dump_model(num_iteration=rounds)["tree_info"]):
        found.add(_lightgbm_node(tree["tree_structure"], i % targets))
    return found


def _lightgbm_node(node: dict[str, Any], target: int) -> Tree:
    if "split_feature" not in node:
        return Leaf(float(node["leaf_value"]), target)
    yes, no = _lightgbm_node(node["left_child"], target), _lightgbm_node(node["right_child"], target)
    feature = int(node["split_feature"])
    if node["decision_type"] == "==":
        members = tuple(int(level) for level in str(node["threshold"]).split("||"))
        return Fork(feature, MEMBER, 0.0, False, yes, no, members)
    cut = float(node["threshold"])
    # Without missing values in training LightGBM reads a missing one as 0.
    missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else cut >= 0.0
    return Fork(feature, LEQ, cut, missing, yes, no)


def xgboost(booster: Any, rounds: int, targets: int) -> tuple[Trees, list[float]]:
    """The trees of a booster on numbers and then category codes (NaN: unknown), and what each target starts at."""
    learner = json.loads(bytes(booster[:rounds].save_raw("json")))["learner"]
    model = learner["gradient_booster"]["model"]
    found = Trees(targets)
    for tree, target in zip(model["trees"], model["tree_info"], strict=True):
        found.add(_xgboost_tree(tree, int(target)))
    return found, _base_scores(learner, targets)


def _xgboost_tree(tree: dict[str, Any], target: int) -> Tree:
    left, right = tree["left_children"], tree["right_children"]
    cuts = np.asarray(tree["split_conditions"], np.float32).astype(np.float64)
    sets = _xgboost_sets(tree)

    def node(at: int) -> Tree:
        if left[at] == -1:
            return Leaf(float(cuts[at]), target)
        to_left, feature = bool(tree["default_left"][at]), int(tree["split_indices"][at])
        if at in sets:  # the levels of the set go to the right
            return Fork(feature, MEMBER, 0.0, not to_left, node(right[at]), node(left[at]), sets[at])
        return Fork(feature, LT, float(cuts[at]), to_left, node(left[at]), node(right[at]))

    return node(0)


def _xgboost_sets(tree: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {int(at): tuple(tree["categories"][start : start + size]) for at, start, size in spans}


def _base_scores(learner: dict[str, Any], targets: int) -> list[float]:
    """The score before the first tree; for log odds the file has the probability."""
    scores = np.atleast_1d(np.asarray(json.loads(learner["learner_model_param"]["base_score"]), np.float64))
    if learner["objective"]["name"] == "binary:logistic":
        scores = np.log(scores / (1 - scores))
    return [float(value) for value in np.broadcast_to(scores, targets)]


def catboost(booster: Any, rounds: int, targets: int, cardinalities: list[int]) -> tuple[Trees, list[float]]:
    """The trees of a booster on numbers and then category codes, and what each target starts at.

    `CannotExport` where CatBoost uses target statistics or trees that aren't symmetric.
    """
    model = _catboost_document(booster)
    if "oblivious_trees" not in model:
        raise CannotExport(f"CatBoost's trees are not symmetric here, and only symmetric ones are exported. {_ANOTHER}")
    numbers = len(model["features_info"].get("float_features", []))
    scale, bias = model["scale_and_bias"]
    codes = _catboost_codes(booster, model, cardinalities)
    yes_if_missing = {
        f["feature_index"]: f["nan_value_treatment"] == "AsTrue"
        for f in model["features_info"].get("float_features", [])
    }
    found = Trees(targets)
    for tree in model["oblivious_trees"][:rounds]:
        splits = [_catboost_split(split, numbers, codes, yes_if_missing) for split in tree.get("splits") or []]
        values = np.asarray(tree["leaf_values"], np.float64).reshape(-1, targets) * scale
        for target in range(targets):
            found.add(_symmetric(splits, values[:, target], target))
    return found, [float(value) for value in np.broadcast_to(bias or [0.0], targets)]


def _catboost_document(booster: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pilothouse-onnx-") as folder:
        path = Path(folder) / "model.json"
        booster.save_model(str(path), format="json")
        document: dict[str, Any] = json.loads(path.read_text())
        return document


def _catboost_codes(booster: Any, model: dict[str, Any], cardinalities: list[int]) -> dict[tuple[int, int], int]:
    """The code for each category's index and level's hash, which is what the file names levels by."""
    found = {}
    for feature in model["features_info"].get("categorical_features", []):
        index, hashes = feature["feature_index"], feature.get("values") or []
        for code in range(cardinalities[index]):
            place = booster._object._calc_cat_feature_perfect_hash(str(code), index)
            if place < len(hashes):
                found[index, hashes[place]] = code
    return found


Question = tuple[int, int, float, bool, tuple[int, ...]]


def _catboost_split(
    split: dict[str, Any], numbers: int, codes: dict[tuple[int, int], int], yes_if_missing: dict[int, bool]
) -> Question:
    if split["split_type"] == "FloatFeature":
        feature = split["float_feature_index"]
        return feature, GT, float(np.float32(split["border"])), yes_if_missing[feature], ()
    if split["split_type"] == "OneHotFeature":
        feature = split["cat_feature_index"]
        return numbers + feature, MEMBER, 0.0, False, (codes.get((feature, split["value"]), -1),)
    raise CannotExport(f"CatBoost uses target statistics of categories, which ONNX's trees cannot compute. {_ANOTHER}")


def _symmetric(splits: list[Question], values: Iterable[float], target: int) -> Tree:
    """Split i's answer is bit i of a leaf's number."""
    level: list[Tree] = [Leaf(float(value), target) for value in values]
    for feature, mode, split, missing, members in splits:
        level = [
            Fork(feature, mode, split, missing, level[at + 1], level[at], members) for at in range(0, len(level), 2)
        ]
    return level[0]
