"""Stored networks, and what makes further columns: what would take any memory, or leads nowhere, is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pilothouse import engines
from pilothouse.catalog.metrics import MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.data.text import TextEncoder
from pilothouse.engines.base import Array, Task
from pilothouse.engines.crosses import Crosses
from pilothouse.engines.statistics import TargetStatistics
from pilothouse.errors import ConfigurationError

Facts = dict[str, Any]
Change = Callable[[Facts, dict[str, Array]], object]


def _rows() -> Features:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(120, 3)).astype(np.float32)
    numeric[::5, 1] = np.nan
    codes = np.column_stack([rng.integers(0, 4, 120), rng.integers(0, 20, 120)]).astype(np.int32)
    return Features(numeric, codes, ["a", "b", "c"], ["few", "many"], [4, 20])


def _stored(name: str, folder: Path, classes: int = 3) -> Path:
    x = _rows()
    y = x.categorical[:, 0] % classes if classes else x.numeric[:, 0].astype(np.float64)
    task = Task(MULTICLASS if classes else REGRESSION, classes, "F1")
    engines.engine(name).fit(x, y.astype(np.int64 if classes else float), None, task, {}, rounds=2).save(folder)
    return folder


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("name", ["mlp", "nn-torch"])
def test_networks_are_loaded_as_they_were_saved(name: str, classes: int, tmp_path: Path) -> None:
    model = engines.load(_stored(name, tmp_path, classes), name)
    assert np.isfinite(model.predict(_rows())).all()


_ANY: list[tuple[str, Change]] = [
    ("fewer weights", lambda _, arrays: arrays.update(weights=arrays["weights"][:-1])),
    ("no weights", lambda _, arrays: arrays.pop("weights")),
    ("weights of whole numbers", lambda _, arrays: arrays.update(weights=arrays["weights"].astype(np.int32))),
    ("unknown arrays", lambda _, arrays: arrays.update(more=np.zeros(1))),
    ("another category", lambda _, arrays: arrays["levels"].__setitem__(1, 10**9)),
    ("a category twice", lambda _, arrays: arrays["embedded"].__setitem__(-1, 0)),
    ("numbers without scale", lambda _, arrays: arrays.update(fill=arrays["fill"][:-1])),
    ("no round", lambda facts, _: facts.update(rounds=0)),
    ("half a round", lambda facts, _: facts.update(rounds=1.5)),
    ("other classes", lambda facts, _: facts["outcome"].update(n_classes=9)),
    ("no prior", lambda facts, _: facts["outcome"].update(prior=None)),
]
_MEMBERS: list[tuple[str, Change]] = [
    ("many layers", lambda facts, _: facts["architecture"].update(depth=10**5)),
    ("many members", lambda facts, _: facts["architecture"].update(members=10**5)),
    ("no units", lambda facts, _: facts["architecture"].update(width=0)),
    ("a size in words", lambda facts, _: facts["architecture"].update(level_size="8")),
    ("no levels", lambda facts, _: facts["architecture"].pop("levels")),
]
_PERCEPTRON: list[tuple[str, Change]] = [
    ("a wide layer", lambda facts, _: facts["perceptron"].update(hidden=[10**9])),
    ("other numbers", lambda facts, _: facts["perceptron"].update(numbers=10**9)),
    ("less than nothing", lambda facts, _: facts["perceptron"].update(hidden=[-5])),
]


@pytest.mark.parametrize(
    ("name", "change"),
    [("nn-torch", change) for change in _ANY + _MEMBERS] + [("mlp", change) for change in _ANY + _PERCEPTRON],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_networks_whose_weights_are_not_those_of_their_layers_are_refused(
    name: str, change: tuple[str, Change], tmp_path: Path
) -> None:
    _stored(name, tmp_path)
    facts, arrays = json.loads((tmp_path / "model.json").read_text()), load_file(tmp_path / "network.safetensors")
    change[1](facts, arrays)
    (tmp_path / "model.json").write_text(json.dumps(facts))
    save_file(arrays, tmp_path / "network.safetensors")
    with pytest.raises(ConfigurationError, match="weights are not those of its layers"):
        engines.load(tmp_path, name)


def test_a_network_of_more_members_than_any_is_refused_though_it_has_their_weights(tmp_path: Path) -> None:
    _stored("nn-torch", tmp_path)
    facts, arrays = json.loads((tmp_path / "model.json").read_text()), load_file(tmp_path / "network.safetensors")
    of = facts["architecture"]
    inputs = of["numbers"] * of["number_size"] + of["extras"] + len(of["levels"]) * of["level_size"]
    each = inputs + of["depth"] * of["width"] + (of["width"] + 1) * of["outputs"]
    more = 65 - of["members"]
    facts["architecture"]["members"] = 65
    arrays["weights"] = np.concatenate([arrays["weights"], np.zeros(more * each, np.float32)])
    (tmp_path / "model.json").write_text(json.dumps(facts))
    save_file(arrays, tmp_path / "network.safetensors")
    with pytest.raises(ConfigurationError, match="weights are not those of its layers"):
        engines.load(tmp_path, "nn-torch")


_COLUMNS, _STARTS, _VALUES = np.array([0, 2]), np.array([0, 3]), np.zeros((5, 1), np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        {"columns": np.array([2, 2])},
        {"columns": np.array([-1, 2])},
        {"columns": np.array([0.0, 2.0])},
        {"columns": _COLUMNS[:1]},
        {"columns": _COLUMNS[:0], "starts": _STARTS[:0]},
        {"starts": np.array([0, 5])},
        {"values": np.zeros((5, 10**4), np.float32)},
        {"values": np.zeros(5, np.float32)},
        {"more": _STARTS},
    ],
    ids=str,
)
def test_statistics_of_columns_that_are_not_there_are_refused(arrays: dict[str, Array], tmp_path: Path) -> None:
    whole = {"columns": _COLUMNS, "starts": _STARTS, "values": _VALUES}
    save_file(whole, tmp_path / "statistics.safetensors")
    assert TargetStatistics.load(tmp_path) is not None
    save_file(whole | arrays, tmp_path / "statistics.safetensors")
    with pytest.raises(ConfigurationError, match="further columns"):
        TargetStatistics.load(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"left": np.zeros(10_001, np.int64), "right": np.zeros(10_001, np.int64)},
        {"left": np.array([0, 1])},
        {"left": np.array([-1])},
        {"left": np.array([0.5])},
        {"left": np.zeros((1, 1), np.int64)},
        {"more": np.array([1])},
    ],
    ids=lambda arrays: ",".join(f"{name} {array.shape}" for name, array in arrays.items()),
)
def test_crosses_that_are_no_pairs_or_too_many_are_refused(arrays: dict[str, Array], tmp_path: Path) -> None:
    whole = {"left": np.array([0]), "right": np.array([1])}
    save_file(whole, tmp_path / "crosses.safetensors")
    assert Crosses.load(tmp_path) is not None
    save_file(whole | arrays, tmp_path / "crosses.safetensors")
    with pytest.raises(ConfigurationError, match="further columns"):
        Crosses.load(tmp_path)


def test_a_text_column_of_any_number_of_topics_is_refused() -> None:
    nothing = {"buckets": np.zeros(0, np.int32), "idf": np.zeros(0, np.float32)}
    assert TextEncoder.restore("t", {}, {**nothing, "components": np.zeros((0, 32), np.float32)}).names
    with pytest.raises(ConfigurationError, match="1000 topics"):
        TextEncoder.restore("t", {}, {**nothing, "components": np.zeros((0, 1000), np.float32)})
