"""Training on rows that stay on disk gives what training on rows in memory gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data import selection
from pilothouse.data.features import Features
from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, Model, Task, capped
from pilothouse.problems.evaluate import evaluate

ROWS = 3000
TASKS = [Task(REGRESSION, 0, "MSE"), Task(BINARY, 2, "F1"), Task(MULTICLASS, 3, "Accuracy")]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "LARGE_CELLS", 1000)
    monkeypatch.setattr(selection, "BLOCK_CELLS", 5 * 400)
    monkeypatch.setattr("pilothouse.engines.linear._ROWS_IN_MEMORY", 1000)
    monkeypatch.setattr("pilothouse.engines.linear._STREAMED_CELLS", 40_000)
    monkeypatch.setattr("pilothouse.engines.nets.streamed._PIECE", 64)
    monkeypatch.setattr("pilothouse.engines.nets.streamed._CELLS", 64 * 20 * 8)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Three numeric columns, one with missing values, and two categories, one of many levels; all matter."""
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(ROWS, 3)).astype(np.float32)
    numeric[rng.random(ROWS) < 0.1, 2] = np.nan
    categorical = np.column_stack([rng.integers(0, 4, ROWS), rng.integers(0, 60, ROWS)]).astype(np.int32)
    folder = tmp_path_factory.mktemp("features")
    Features(numeric, categorical, ["a", "b", "c"], ["d", "e"], [4, 60]).save(folder)
    return Features.load(folder)


def _targets(x: Features, task: Task) -> Array:
    of_level = np.random.default_rng(1).normal(size=60)
    signal = 2 * x.numeric[:, 0] - x.numeric[:, 1] * (x.categorical[:, 0] - 1) + 2 * of_level[x.categorical[:, 1]]
    if task.regression:
        return np.asarray(signal, np.float64)
    return np.digitize(signal, [0.0] if task.binary else [-1.5, 1.5]).astype(np.int64)


def _fitted(name: str, mapped: Features, folder: Path | None, task: Task, params: dict[str, Any], **how: Any) -> Model:
    """Trained on two rows of three, watched on the third, from disk if there is a `folder` for pages."""
    y, w = _targets(mapped, task), np.random.default_rng(2).random(ROWS)
    third = np.arange(ROWS) % 3 == 0

    def labelled(rows: Array) -> tuple[Features, Array, Array]:
        return Selection(mapped, rows, folder) if folder else mapped.take(rows), y[rows], w[rows]

    train, watched = labelled(np.flatnonzero(~third)), labelled(np.flatnonzero(third))
    return engines.engine(name).fit(*train, task, params, valid=watched, **how)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("params", [{}, {"paged": True}, {"crosses": 3}])
def test_xgboost_gives_the_same_model(mapped: Features, tmp_path: Path, task: Task, params: dict[str, Any]) -> None:
    whole = _fitted("xgboost", mapped, None, task, {"max_rounds": 20, **params})
    streamed = _fitted("xgboost", mapped, tmp_path, task, {"max_rounds": 20, **params})
    assert streamed.rounds == whole.rounds
    np.testing.assert_allclose(streamed.predict(mapped), whole.predict(mapped), rtol=1e-4, atol=1e-4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("linear-learner", {}),
        ("linear-learner", {"l1": 1.0}),
        pytest.param("nn-torch", {"max_rounds": 12, "members": 2, "width": 32}, marks=pytest.mark.slow),
        pytest.param("mlp", {"max_rounds": 12, "layers": [32]}, marks=pytest.mark.slow),
    ],
)
def test_other_engines_give_as_good_a_model(
    mapped: Features, tmp_path: Path, name: str, params: dict[str, Any], task: Task
) -> None:
    y = _targets(mapped, task)
    metric = "R2" if task.regression else "Accuracy"
    whole, streamed = (
        evaluate(task.problem_type, y, _fitted(name, mapped, folder, task, params).predict(mapped))[metric]
        for folder in (None, tmp_path)
    )
    assert streamed > whole - 0.03
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", TASKS)
def test_a_linear_model_whose_time_is_over_has_learnt_from_some_rows(
    mapped: Features, tmp_path: Path, task: Task
) -> None:
    model = _fitted("linear-learner", mapped, tmp_path, task, {}, deadline=0.0)
    prediction = model.predict(mapped)
    assert np.isfinite(prediction).all()


LINEAR = [*((task, {"l1": l1}) for task in TASKS for l1 in (0.0, 5.0)), (TASKS[0], {"loss": "huber"})]


@pytest.mark.parametrize(("task", "params"), LINEAR)
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_linear_model_of_rows_that_come_block_by_block_is_that_of_all_rows(
    mapped: Features, monkeypatch: pytest.MonkeyPatch, task: Task, params: dict[str, Any], on_disk: bool
) -> None:
    y, w = _targets(mapped, task), np.random.default_rng(2).random(ROWS)
    engine = engines.engine("linear-learner")
    few = engine.fit(*capped(mapped, y, w, {"max_rows": 1000}, 0), task, {"knots": 0, **params})
    streamed = engine.fit(Selection(mapped) if on_disk else mapped, y, w, task, {"knots": 0, **params})
    monkeypatch.setattr("pilothouse.engines.linear._ROWS_IN_MEMORY", ROWS)
    whole = engine.fit(mapped, y, w, task, {"knots": 0, **params})

    def distance(model: Model) -> float:
        return float(np.abs(model.predict(mapped) - whole.predict(mapped)).mean())

    # What is left is that the design's means are those of fewer rows, and that solvers end when they are close.
    assert distance(streamed) < 0.15 * distance(few)


def test_a_linear_model_sees_every_row_and_has_few_in_memory(mapped: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[tuple[int, int]] = []
    part = Selection._part

    def counted(self: Selection, start: int, stop: int) -> Features:
        blocks.append((start, stop))
        return part(self, start, stop)

    monkeypatch.setattr(Selection, "_part", counted)
    monkeypatch.setattr("pilothouse.engines.linear._STREAMED_CELLS", 7_000)
    engines.engine("linear-learner").fit(Selection(mapped), _targets(mapped, TASKS[1]), None, TASKS[1], {"l1": 1.0})
    assert max(stop - start for start, stop in blocks) == 1000  # those that the start is learnt from
    walked = [(start, stop) for start, stop in blocks if stop - start not in (0, 1, 1000)]
    walk = walked[: walked.index((walked[0][0], walked[0][1]), 1)]
    assert [start for start, _ in walk] == [0, *(stop for _, stop in walk[:-1])]
    assert walk[-1][1] == ROWS
    assert len(walk) > 10
    assert len(walked) % len(walk) == 0


def test_a_linear_model_of_n_grams_is_solved_block_by_block(tmp_path: Path) -> None:
    from scipy.sparse import random as random_sparse

    rng = np.random.default_rng(0)
    terms = random_sparse(2000, 50, 0.1, "csr", np.float32, rng=rng)
    numeric = rng.normal(size=(2000, 2)).astype(np.float32)
    Features(numeric, np.empty((2000, 0), np.int32), ["a", "b"], [], [], terms).save(tmp_path)
    x = Features.load(tmp_path)
    y = np.asarray(numeric[:, 0] + 5 * terms[:, 0].toarray()[:, 0], np.float64)
    engine, task = engines.engine("linear-learner"), TASKS[0]
    whole = engine.fit(x, y, None, task, {}).predict(x)
    streamed = engine.fit(Selection(x), y, None, task, {}).predict(x)
    assert np.corrcoef(whole, streamed)[0, 1] > 0.999


def test_a_selection_is_the_rows_that_are_selected(mapped: Features) -> None:
    rows = np.array([2, 3, 5, 700, 2999])
    chosen, expected = Selection(mapped, rows), mapped.take(rows)
    assert len(chosen) == 5
    assert np.array_equal(chosen.numeric, expected.numeric, equal_nan=True)
    assert np.array_equal(chosen.take(np.array([1, 4])).categorical, expected.categorical[[1, 4]])
    odd = np.arange(ROWS) % 2 == 1
    assert np.array_equal(Selection(mapped).take(odd).take(slice(3, 5)).categorical, mapped.categorical[[7, 9]])
    assert chosen.codes(1).tolist() == expected.categorical[:, 1].tolist()
    assert [len(block) for block in chosen.blocks(2)] == [2, 2, 1]
    assert [len(block) for block in chosen.take(slice(0, 0)).blocks()] == [0]
    assert sum(len(block) for block in selection.blocks(Selection(mapped))) == ROWS


def test_what_makers_add_goes_with_the_rows(mapped: Features) -> None:
    def numbered(block: Features, rows: Array) -> Features:
        numeric = np.concatenate([block.numeric, rows[:, None].astype(np.float32)], axis=1)
        return replace(block, numeric=numeric, numeric_names=[*block.numeric_names, "row"])

    wider = Selection(mapped, np.array([4, 8, 9, 11])).widened(numbered).take(np.array([0, 2, 3]))
    assert wider.numeric_names == ["a", "b", "c", "row"]
    assert [block.numeric[:, 3].tolist() for block in wider.blocks(2)] == [[4.0, 9.0], [11.0]]


def test_few_enough_rows_come_into_memory(mapped: Features) -> None:
    y = np.zeros(ROWS, np.int64)
    assert type(capped(Selection(mapped), y, None, {"max_rows": 100}, 0)[0]) is Features
    assert isinstance(capped(Selection(mapped), y, None, {"max_rows": 1000}, 0)[0], Selection)
