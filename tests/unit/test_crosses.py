"""Crosses: differences and ratios of numbers, chosen by the training rows and kept with the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines.base import Array, Task
from pilothouse.engines.crosses import LARGEST, Crosses
from pilothouse.engines.widened import WidenedModel

TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
}
CROSSED = {"crosses": 3, "max_rounds": 60}
FLOATS = st.floats(width=32, allow_infinity=False)


def _features(numeric: Array, seed: int = 0) -> Features:
    codes = np.random.default_rng(seed).integers(0, 4, (len(numeric), 1), np.int32)
    names = [f"n{i}" for i in range(numeric.shape[1])]
    return Features(numeric.astype(np.float32), codes, names, ["c"], [4])


def _ratio(kind: str, rows: int = 900, seed: int = 0) -> tuple[Features, Array]:
    """A target that lies in the ratio of two of five numbers."""
    rng = np.random.default_rng(seed)
    numeric = rng.uniform(1, 10, (rows, 5))
    value = numeric[:, 1] / numeric[:, 3] + 0.05 * rng.normal(size=rows)
    cuts = [1.0] if kind == BINARY else [0.7, 1.5]
    return _features(numeric), value if kind == REGRESSION else np.digitize(value, cuts).astype(np.int64)


def _fitted(x: Features, y: Array, kind: str, columns: int = 2) -> Crosses:
    crosses = Crosses.fit(x, y, None, TASKS[kind], columns, seed=0, threads=1)
    assert crosses is not None
    return crosses


@pytest.mark.parametrize("kind", list(TASKS))
def test_the_columns_that_matter_are_crossed(kind: str) -> None:
    crosses = _fitted(*_ratio(kind), kind)
    assert {int(crosses.left[0]), int(crosses.right[0])} == {1, 3}


def test_differences_come_before_ratios_and_have_names() -> None:
    x = _features(np.array([[6.0, 3.0, 2.0], [1.0, 0.0, np.nan]]))
    widened = Crosses(np.array([0, 0]), np.array([1, 2])).apply(x)
    assert widened.numeric_names == ["n0", "n1", "n2", "n0-n1", "n0-n2", "n0/n1", "n0/n2"]
    np.testing.assert_array_equal(widened.numeric[:, 3:], [[3, 4, 2, 3], [1, np.nan, np.nan, np.nan]])


@given(left=FLOATS, right=FLOATS)
def test_crosses_are_finite_or_missing(left: float, right: float) -> None:
    made = Crosses(np.array([0]), np.array([1])).apply(_features(np.array([[left, right]]))).numeric[0, 2:]
    assert (np.isnan(made) | (np.abs(made) <= np.float32(LARGEST))).all()


@pytest.mark.parametrize("name", ["lightgbm", "catboost", "xgboost"])
def test_trees_learn_a_ratio_better_with_crosses(name: str) -> None:
    x, y = _ratio(REGRESSION)
    unseen, truth = _ratio(REGRESSION, seed=1)
    errors = [
        np.square(engines.engine(name).fit(x, y, None, TASKS[REGRESSION], p).predict(unseen) - truth).mean()
        for p in (CROSSED, {"max_rounds": 60})
    ]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("name", ["lightgbm", "catboost", "xgboost"])
@pytest.mark.parametrize("kind", list(TASKS))
def test_a_saved_model_makes_the_same_crosses_of_a_row_as_of_many(name: str, kind: str, tmp_path: Path) -> None:
    x, y = _ratio(kind)
    model = engines.engine(name).fit(x, y, None, TASKS[kind], CROSSED)
    assert isinstance(model, WidenedModel)
    model.save(tmp_path)
    loaded = engines.load(tmp_path, name)
    expected = model.predict(x)
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=0, atol=1e-12)
    alone = np.concatenate([loaded.predict(x.take(slice(i, i + 1))) for i in range(5)])
    np.testing.assert_allclose(alone, expected[:5], rtol=1e-6)


def test_without_two_numbers_that_matter_there_are_none() -> None:
    x, y = _ratio(REGRESSION)
    flat = _features(np.column_stack([x.numeric[:, 1], np.zeros(len(x))]))
    model = engines.engine("lightgbm").fit(flat, y, None, TASKS[REGRESSION], CROSSED)
    assert not isinstance(model, WidenedModel)


def test_other_rows_choose_other_columns() -> None:
    """What a fold holds out has no part in its crosses: they follow the rows that are given."""
    x, y = _ratio(REGRESSION)
    elsewhere = x.numeric[:, 0] * x.numeric[:, 2]
    assert {*_fitted(x, elsewhere, REGRESSION).left, *_fitted(x, elsewhere, REGRESSION).right} == {0, 2}
    assert {*_fitted(x, y, REGRESSION).left, *_fitted(x, y, REGRESSION).right} == {1, 3}
