"""A stored XGBoost model is looked through before the library reads it, which would follow any number in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xgboost.core import XGBoostError

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import xgboost_file
from pilothouse.engines.base import Task
from pilothouse.engines.xgboost_trees import check
from pilothouse.errors import ConfigurationError

_CLASSES = 3
_LEARNER: dict[str, Any] = {}


def _features(rows: int = 400) -> Features:
    random = np.random.default_rng(0)
    numeric, codes = random.normal(size=(rows, 3)), random.integers(0, 20, (rows, 2))
    return Features(numeric.astype(np.float32), codes.astype(np.int32), list("abc"), list("kl"), [20, 20])


def _store(folder: Path, task: Task, **params: Any) -> None:
    x = _features()
    mixed = x.categorical.sum(axis=1) + (x.numeric[:, 0] > 0)
    y = mixed % task.n_classes if task.n_classes else x.numeric[:, 0] + mixed % 3.0
    params = {"max_cat_to_onehot": 1, **params}
    engines.engine("xgboost").fit(x, y, None, task, params, rounds=4).save(folder)


@pytest.fixture
def learner(tmp_path: Path) -> dict[str, Any]:
    """That of a multiclass booster with sets of categories, whose arrays may be written to."""
    if not _LEARNER:
        _store(tmp_path, Task(MULTICLASS, _CLASSES, "F1"))
        found = xgboost_file.read(tmp_path / "model.ubj")
        assert found is not None
        _LEARNER.update(found)
    return copy.deepcopy(_LEARNER)


Damage = Callable[[dict[str, Any]], object]


def _tree(name: str, place: int, value: int) -> Damage:
    return lambda learner: _trees(learner)[4][name].__setitem__(place, value)


def _trees(learner: dict[str, Any]) -> list[dict[str, Any]]:
    trees: list[dict[str, Any]] = learner["gradient_booster"]["model"]["trees"]
    for tree in trees:
        tree.update({name: part.copy() for name, part in tree.items() if isinstance(part, np.ndarray)})
    return trees


def _shorter(name: str) -> Damage:
    return lambda learner: _trees(learner)[4].update({name: _trees(learner)[4][name][:-1]})


def _in(place: str, name: str | int, value: object) -> Damage:
    def damage(learner: dict[str, Any]) -> None:
        part: Any = learner
        for step in place.split():
            part = part[int(step) if step.isdigit() else step]
        part[name] = value

    return damage


_MODEL = "gradient_booster model"
_TREE = f"{_MODEL} trees 4"


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_tree("left_children", 0, 2_000_000_000), "left_children"),
        (_tree("left_children", 0, -1), "left_children"),
        (_tree("left_children", 1, 0), "left_children"),
        (_tree("right_children", 0, 2_000_000_000), "right_children"),
        (_tree("right_children", 0, -7), "right_children"),
        (_tree("right_children", 0, 1), "two parents"),
        (_tree("left_children", 0, 3), "two parents"),
        (_tree("parents", 0, 5), "root"),
        (_tree("parents", 2, 1), "parents"),
        (_tree("split_indices", 0, 5), "num_feature"),
        (_tree("split_indices", 0, -1), "num_feature"),
        (_tree("split_type", 0, 2), "split_type"),
        (_tree("split_type", 0, 0), "categories_nodes"),
        (_tree("categories_nodes", 0, 1), "categories_nodes"),
        (_tree("categories_nodes", 0, 2_000_000_000), "categories_nodes"),
        (_tree("categories_segments", 1, 10**9), "categories_segments"),
        (_tree("categories_sizes", 0, 10**9), "categories_segments"),
        (_tree("categories_sizes", 0, 0), "categories_sizes"),
        (_tree("categories", 0, 2_000_000_000), "categories"),
        (_tree("categories", 0, -1), "categories"),
        *((_shorter(name), "value for each node") for name in ("left_children", "parents", "base_weights")),
        *((_shorter(name), "value for each node") for name in ("default_left", "split_conditions", "sum_hessian")),
        (_shorter("categories_sizes"), "categories_sizes"),
        (_shorter("categories_nodes"), "categories_nodes"),
        (_shorter("categories"), "categories_segments"),
        (_in(_TREE, "left_children", [0.5] * 99), "value for each node"),
        (_in(f"{_TREE} tree_param", "num_nodes", "9000"), "value for each node"),
        (_in(f"{_TREE} tree_param", "num_nodes", "0"), "value for each node"),
        (_in(f"{_TREE} tree_param", "num_nodes", "-1"), "XGBoost writes"),
        (_in(f"{_TREE} tree_param", "num_nodes", "017"), "XGBoost writes"),
        (_in(f"{_TREE} tree_param", "num_feature", "6"), "other features"),
        (_in(f"{_TREE} tree_param", "size_leaf_vector", "3"), "other features or outputs"),
        (_in(_TREE, "id", 3), "num_trees"),
        (_in(f"{_MODEL} gbtree_model_param", "num_trees", "13"), "num_trees"),
        (_in(f"{_MODEL} gbtree_model_param", "num_parallel_tree", "2"), "tree_info"),
        (_in(f"{_MODEL} gbtree_model_param", "num_parallel_tree", "0"), "tree_info"),
        (_in(_MODEL, "trees", []), "num_trees"),
        (_in(f"{_MODEL} tree_info", 4, 2_000_000_000), "tree_info"),
        (_in(_MODEL, "tree_info", [0]), "tree_info"),
        (_in(_MODEL, "iteration_indptr", [0, 3, 6, 9, 2_000_000_000]), "iteration_indptr"),
        (_in(_MODEL, "iteration_indptr", []), "iteration_indptr"),
        (_in(f"{_MODEL} cats", "sorted_idx", np.array([7])), "categories of its own"),
        (_in("gradient_booster", "name", "gblinear"), "no trees"),
        (_in("learner_model_param", "num_feature", "2000000000"), "XGBoost writes"),
        (_in("learner_model_param", "num_feature", "6"), "num_feature"),
        (_in("learner_model_param", "num_class", "2"), "3 classes, but it has 2"),
        (_in("learner_model_param", "num_target", "2"), "3 classes, but"),
        (_in("learner_model_param", "base_score", "[0.5,0.5]"), "base_score"),
        (_in("learner_model_param", "base_score", "[[0.5]]"), "base_score"),
        (_in("learner_model_param", "base_score", "[" * 100_000), "XGBoost writes"),
        (_in("objective softmax_multiclass_param", "num_class", "0"), "3 classes, but"),
        (_in("objective", "name", "rank:pairwise"), "rank:pairwise"),
        (_in("objective", "name", "binary:logistic"), "binary:logistic"),
        (lambda learner: learner.pop("objective"), "XGBoost writes"),
    ],
)
def test_boosters_that_would_read_or_write_out_of_bounds_are_refused(
    damage: Damage, complaint: str, learner: dict[str, Any]
) -> None:
    assert check(learner, _CLASSES) is learner
    damage(learner)
    with pytest.raises(ConfigurationError, match=complaint):
        check(learner, _CLASSES)


def test_trees_as_deep_as_the_librarys_stack_are_refused(learner: dict[str, Any]) -> None:
    steps = 20_000
    nodes = 2 * steps + 1
    tree = _trees(learner)[4]
    left = np.full(nodes, -1)
    left[0], left[2::2] = 1, np.append(np.arange(3, nodes, 2), -1)
    tree.update({name: np.zeros(nodes, kind) for name, kind in (("split_type", "u1"), ("default_left", "u1"))})
    tree.update({name: np.zeros(nodes) for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian")})
    tree.update({name: tree[name][:0] for name in tree if name.startswith("categories")})
    parents = np.append(-1, np.repeat(np.arange(0, nodes - 1, 2), 2))
    tree.update(left_children=left, right_children=np.where(left < 0, -1, left + 1), parents=parents)
    tree.update(split_indices=np.zeros(nodes, int), tree_param={**tree["tree_param"], "num_nodes": str(nodes)})
    with pytest.raises(ConfigurationError, match="too deep"):
        check(learner, _CLASSES)


def _loads(folder: Path) -> None:
    engines.load(folder, "xgboost").predict(_features(20))


@pytest.mark.parametrize("name", ["left_children", "right_children", "split_indices"])
def test_the_library_never_gets_to_read_a_damaged_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store(tmp_path, Task(REGRESSION, 0, "MSE"))
    file = tmp_path / "model.ubj"
    content = bytearray(file.read_bytes())
    place = content.index(name.encode()) + len(name) + len("[$l#L") + 8
    content[place : place + 4] = (2_000_000_000).to_bytes(4, "big")
    file.write_bytes(content)
    monkeypatch.setattr("xgboost.Booster", lambda **_: pytest.fail("the library was asked"))
    with pytest.raises(ConfigurationError, match=r"model\.ubj can't be trusted"):
        _loads(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "twice", "text", "none"])
def test_files_that_are_read_in_two_ways_are_refused(damage: str, tmp_path: Path) -> None:
    _store(tmp_path, Task(REGRESSION, 0, "MSE"))
    file = tmp_path / "model.ubj"
    content = file.read_bytes()
    key = b"L" + len("num_target").to_bytes(8, "big") + b"num_target"
    again = content.replace(key, key + b"SL" + (1).to_bytes(8, "big") + b"1" + key)
    file.write_bytes({"cut": content[:-60], "twice": again, "text": b'{"learner":{}}', "none": b""}[damage])
    with pytest.raises(ConfigurationError, match="not as XGBoost writes it"):
        _loads(tmp_path)


def test_a_booster_of_other_classes_than_its_facts_is_refused(tmp_path: Path) -> None:
    _store(tmp_path, Task(BINARY, 2, "F1"))
    (tmp_path / "model.json").write_text('{"n_classes": 3}')
    with pytest.raises(ConfigurationError, match="3 classes"):
        _loads(tmp_path)


@pytest.mark.parametrize(
    "kind", [(REGRESSION, 0, "MSE"), (REGRESSION, 0, "MAE"), (BINARY, 2, "F1"), (MULTICLASS, 2, "F1")]
)
@pytest.mark.parametrize(
    "params",
    [
        {"max_cat_to_onehot": 40},
        {"gamma": 3.0},
        {"gamma": 1e9},
        {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0},
        {"booster": "dart", "rate_drop": 0.3},
        {"num_parallel_tree": 3},
    ],
)
def test_own_boosters_of_every_shape_are_loaded(
    kind: tuple[str, int, str], params: dict[str, Any], tmp_path: Path
) -> None:
    _store(tmp_path, Task(*kind), **params)
    _loads(tmp_path)


def test_no_damage_that_is_not_noticed_does_harm(tmp_path: Path) -> None:
    _store(tmp_path, Task(MULTICLASS, _CLASSES, "F1"))
    whole, random, refused = (tmp_path / "model.ubj").read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(damaged), 6):
            damaged[place] = random.integers(256)
        (tmp_path / "model.ubj").write_bytes(damaged)
        try:
            _loads(tmp_path)
        except (ConfigurationError, XGBoostError):
            refused += 1
    assert refused > 20
