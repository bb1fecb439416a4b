"""A linear model needs the columns of its rows once, and not again for each step on the way to the coefficients."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import solvers
from pilothouse.engines.base import Array, Task
from pilothouse.engines.design import Design
from pilothouse.engines.solvers import WIDEST_SOLVED, Columns, ridge
from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular.costs import CandidatePlan, Facts

ROWS = 30_000


@pytest.mark.parametrize("products", [0, 100])
def test_the_columns_are_made_in_little_more_than_their_own_memory(products: int) -> None:
    rng = np.random.default_rng(0)
    numeric, categorical = (
        rng.normal(size=(ROWS, 2)).astype(np.float32),
        rng.integers(0, 60, (ROWS, 3)).astype(np.int32),
    )
    x = Features(numeric, categorical, ["a", "b"], ["c", "d", "e"], [60, 60, 60])
    signal = x.numeric[:, :1].astype(np.float64) * (x.categorical % 3).sum(axis=1, keepdims=True)
    design = Design.fit(x).multiplied(x, signal, np.ones(ROWS), products)
    assert bool(len(design.left)) == bool(products)
    tracemalloc.start()
    try:
        columns = design.matrix(x)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert columns.shape[1] > 180
    assert most < 1.2 * columns.nbytes


def test_least_squares_over_pieces_of_the_rows_are_those_over_all() -> None:
    rng = np.random.default_rng(0)
    dense, w = rng.normal(size=(ROWS, 6)) * [1, 10, 0.1, 3, 1, 1] + 5, rng.random(ROWS) + 0.5
    y = dense @ [1.0, -2.0, 3.0, 0.5, 0.0, 1.0] + rng.normal(size=ROWS)
    theta, intercept = ridge(Columns(dense), y, w, 2.0, None)
    centred = dense - np.average(dense, axis=0, weights=w)
    gram = centred.T @ (centred * w[:, None]) + 2.0 * np.eye(6)
    expected = np.linalg.solve(gram, centred.T @ (w * (y - np.average(y, weights=w))))
    np.testing.assert_allclose(theta[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(intercept, np.average(y - dense @ expected, weights=w), rtol=1e-9)


def _wide() -> tuple[Columns, Array, Array]:
    rng = np.random.default_rng(0)
    dense, w = rng.normal(size=(300, WIDEST_SOLVED + 1)) + 1, rng.random(300) + 0.5
    return Columns(dense), dense[:, :5].sum(axis=1) + rng.normal(size=300), w


def test_least_squares_over_many_columns_are_those_of_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    a, y, w = _wide()
    tracemalloc.start()
    try:
        theta, intercept = ridge(a, y, w, 20.0, None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < a.dense.nbytes / 2
    monkeypatch.setattr(solvers, "WIDEST_SOLVED", a.count)
    expected, level = ridge(a, y, w, 20.0, None)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=5e-3 * np.abs(expected).max())
    np.testing.assert_allclose(intercept, level, rtol=1e-3)


def test_least_squares_over_many_columns_end_at_the_deadline() -> None:
    a, y, w = _wide()
    early, late = (ridge(a, y, w, 20.0, time.monotonic() + seconds)[0] for seconds in (-1.0, 60.0))
    assert early.any()
    assert np.linalg.norm(early - late) > 0.1 * np.linalg.norm(late)


@pytest.mark.parametrize(("rows", "columns"), [(1000, 200), (500, 1000)])
def test_a_regressions_memory_is_planned(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(rows, columns)).astype(np.float32)
    x = Features(numeric, np.empty((rows, 0), np.int32), [f"n{i}" for i in range(columns)], [], [])
    y = numeric[:, :5].sum(axis=1).astype(np.float64)
    engine = engines.engine("linear-learner")
    tracemalloc.start()
    try:
        engine.fit(x, y, None, Task(REGRESSION, 0, "MSE"), {})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    facts = Facts(rows, columns, REGRESSION, 0, numeric=columns)
    assert most < memory.peak(CandidatePlan("linear-learner-1", "linear-learner"), facts) - memory._PROCESS
