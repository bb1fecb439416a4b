"""A linear model needs the columns of its rows once, and not again for each step on the way to the coefficients."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pilothouse.data.features import Features
from pilothouse.engines.design import Design
from pilothouse.engines.solvers import Columns, ridge

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
