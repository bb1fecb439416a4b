"""Many rows take the compiled walk, which must lead where the forest's own walk does."""

from __future__ import annotations

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import forest, forest_compiled
from pilothouse.engines.base import Task
from pilothouse.engines.forest import ForestModel

_CLASSES = {REGRESSION: 0, BINARY: 2, MULTICLASS: 5}


def _features(rows: int, seed: int = 0) -> Features:
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(rows, 4)).astype(np.float32)
    numeric[random.random(numeric.shape) < 0.1] = np.nan
    return Features(numeric, random.integers(0, 6, (rows, 1), np.int32), list("abcd"), ["e"], [6])


def _forest(kind: str = MULTICLASS) -> ForestModel:
    x, classes = _features(400), _CLASSES[kind]
    signal = np.nan_to_num(x.numeric[:, 0]) + x.categorical[:, 0]
    y = np.digitize(signal, np.linspace(0, 5, classes - 1)) if classes else signal.astype(np.float64)
    model = engines.engine("extra-trees").fit(x, y, None, Task(kind, classes, "any"), {"n_estimators": 12})
    assert isinstance(model, ForestModel)
    return model


@pytest.mark.parametrize("kind", [REGRESSION, BINARY, MULTICLASS])
def test_many_rows_get_what_few_rows_get(kind: str) -> None:
    model, x = _forest(kind), _features(forest._COMPILED_FROM + 7, seed=1)
    by_part = np.concatenate([model.predict(x.take(slice(start, start + 500))) for start in range(0, len(x), 500)])
    np.testing.assert_allclose(model.predict(x), by_part, rtol=0, atol=1e-12)


def test_many_rows_take_the_compiled_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = _forest(), _features(forest._COMPILED_FROM)
    monkeypatch.setattr(forest, "_COMPARED", 0)
    monkeypatch.setattr(model, "_walk", lambda *_: pytest.fail("the rows were walked in NumPy"))
    assert model.predict(x).shape == (len(x), 5)


@pytest.mark.parametrize("wrong", [None, 1.0])
def test_rows_are_walked_in_numpy_where_the_compiled_walk_fails(
    wrong: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = _forest(), _features(forest._COMPILED_FROM)
    expected = model.predict(x)
    monkeypatch.setattr(forest_compiled, "total", lambda *_: wrong if wrong is None else np.full((len(x), 5), wrong))
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-12)


def test_a_tree_that_leads_into_another_is_not_compiled() -> None:
    arrays = dict(_forest()._arrays)
    assert forest_compiled.total(arrays, np.zeros((3, 5), np.float32)) is not None
    arrays["child"] = arrays["child"].copy()
    arrays["child"][0] = arrays["root"][1]
    assert forest_compiled.total(arrays, np.zeros((3, 5), np.float32)) is None


def test_rows_of_another_width_are_not_compiled() -> None:
    assert forest_compiled.total(_forest()._arrays, np.zeros((3, 4), np.float32)) is None


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_leaves_of_equal_values_share_a_row(outputs: int) -> None:
    values = np.random.default_rng(0).integers(-2, 3, (200, outputs)).astype(np.float32) / 3
    rows, place = forest._distinct(values)
    assert len(rows) == len(np.unique(values, axis=0)) < len(values)
    np.testing.assert_array_equal(rows[place], values)
    assert rows.dtype == np.float32
