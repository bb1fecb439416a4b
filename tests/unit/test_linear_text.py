"""The linear engine on n-grams."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines.base import Array, Task
from pilothouse.engines.solvers import Columns, ridge
from pilothouse.problems.evaluate import evaluate

TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
}


def _make(kind: str, rows: int = 500, seed: int = 0) -> tuple[Features, Array]:
    """200 terms, five in a row; the first three decide."""
    rng = np.random.default_rng(seed)
    hits = np.zeros((rows, 200), np.float32)
    for row in hits:
        row[rng.choice(np.arange(3, 200), 4, replace=False)] = 0.4
    chosen = rng.integers(0, 3, rows)
    hits[np.arange(rows), chosen] = 0.6
    numeric = rng.normal(size=(rows, 1)).astype(np.float32)
    x = Features(numeric, np.zeros((rows, 0), np.int32), ["x"], [], [], csr_matrix(hits))
    values = chosen * 10.0 + numeric[:, 0] if kind == REGRESSION else np.minimum(chosen, TASKS[kind].n_classes - 1)
    return x, values


@pytest.mark.parametrize("kind", list(TASKS))
def test_terms_are_learnt_and_kept(kind: str, tmp_path: Path) -> None:
    x, y = _make(kind)
    model = engines.engine("linear-learner").fit(x, y, None, TASKS[kind], {"l2": 1.0})
    unseen, truth = _make(kind, seed=1)
    before = model.predict(unseen)
    assert evaluate(kind, truth, before)["R2" if kind == REGRESSION else "Accuracy"] > 0.9
    model.save(tmp_path)
    loaded = engines.load(tmp_path, "linear-learner")
    np.testing.assert_array_equal(loaded.predict(unseen), before)
    np.testing.assert_allclose(loaded.predict(unseen.take(slice(2, 3))), before[2:3], rtol=1e-9)


def test_a_model_without_terms_needs_no_sparse_part() -> None:
    x, y = _make(BINARY)
    plain = Features(x.numeric, x.categorical, x.numeric_names, [], [])
    engine = engines.engine("linear-learner")
    assert not getattr(engine.fit(plain, y, None, TASKS[BINARY], {}), "reads_sparse", True)
    assert getattr(engine.fit(x, y, None, TASKS[BINARY], {}), "reads_sparse", False)


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_deadline_in_the_past_still_gives_a_model(kind: str) -> None:
    x, y = _make(kind)
    model = engines.engine("linear-learner").fit(x, y, None, TASKS[kind], {}, deadline=time.monotonic())
    assert np.isfinite(model.predict(x)).all()


def test_sparse_ridge_is_dense_ridge() -> None:
    x, y = _make(REGRESSION)
    w = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    dense = np.asarray(x.numeric, np.float64)
    sparse = Columns.of(dense, x.sparse)
    whole = Columns(np.hstack([dense, sparse.sparse.toarray()]))
    for found, expected in zip(ridge(sparse, y, w, 1.0, None), ridge(whole, y, w, 1.0, None), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-2)
