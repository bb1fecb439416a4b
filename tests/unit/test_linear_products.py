"""Products in linear models: found where an effect depends on another, and only there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pilothouse.data.features import Features
from pilothouse.engines import linear
from pilothouse.engines.base import Task
from pilothouse.engines.design import Design, most_products
from pilothouse.engines.linear import LinearLearner
from pilothouse.engines.products import best_pairs
from pilothouse.errors import ConfigurationError
from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular.costs import CandidatePlan, Costs, Facts

ROWS = 1_500
VALUES, TWO, THREE = (
    Task("Regression", 0, "MSE"),
    Task("BinaryClassification", 2, "F1"),
    Task("MulticlassClassification", 3, "Accuracy"),
)
ASKED = {"l2": 5.0, "products": 300}


def features(rows: int = ROWS, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(rows, 4)).astype(np.float32)
    numeric[rng.random(rows) < 0.05, 3] = np.nan
    categorical = rng.integers(0, 5, (rows, 2)).astype(np.int32)
    return Features(numeric, categorical, ["a", "b", "c", "d"], ["e", "f"], [5, 5])


def signal(x: Features, seed: int = 1) -> np.ndarray:
    """b counts for itself, a by the level of e, and c by the sign of b."""
    a, b, c = x.numeric[:, 0], x.numeric[:, 1], x.numeric[:, 2]
    noise = 0.3 * np.random.default_rng(seed).normal(size=len(x))
    return np.asarray(b + 2 * a * (x.categorical[:, 0] == 2) + b * c + noise, dtype=np.float64)


def target(task: Task, found: np.ndarray) -> np.ndarray:
    return found if task.regression else np.digitize(found, [0.0] if task.binary else [-0.7, 0.7]).astype(np.int64)


def loss(task: Task, predicted: np.ndarray, y: np.ndarray) -> float:
    if task.regression:
        return float(((predicted - y) ** 2).mean())
    return float(-np.log(np.clip(predicted[np.arange(len(y)), y], 1e-9, 1)).mean())


@pytest.mark.parametrize("task", [VALUES, TWO, THREE], ids=lambda task: task.problem_type)
def test_what_depends_on_something_else_is_learnt(task: Task) -> None:
    x, further = features(), features(seed=7)
    y, later = target(task, signal(x)), target(task, signal(further, 8))
    plain, products = (
        loss(task, LinearLearner().fit(x, y, None, task, params).predict(further), later) for params in ({}, ASKED)
    )
    assert products < 0.6 * plain


def test_where_nothing_depends_on_anything_products_do_little_harm() -> None:
    x, further = features(), features(seed=7)
    rng = np.random.default_rng(3)
    y, later = (np.asarray(rows.numeric[:, 1] + rng.normal(size=ROWS), np.float64) for rows in (x, further))
    plain, products = (
        loss(VALUES, LinearLearner().fit(x, y, None, VALUES, params).predict(further), later) for params in ({}, ASKED)
    )
    assert products < 1.05 * plain


def test_the_pair_that_matters_comes_first() -> None:
    columns = np.random.default_rng(0).normal(size=(800, 12))
    wanted = columns[:, 3] * columns[:, 8] + columns[:, 1]
    assert best_pairs(columns, np.arange(12), 12, wanted[:, None], np.ones(800), 5)[0].tolist() == [3, 8]


def test_columns_of_one_source_are_not_multiplied_but_numbers_may_be_squared() -> None:
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 900)
    columns = np.column_stack([rng.normal(size=900), level == 0, level == 1, level == 2]).astype(float)
    wanted = columns[:, 0] ** 2 + rng.normal(size=900)
    pairs = best_pairs(columns, np.array([0, -1, -1, -1]), 1, wanted[:, None], np.ones(900), 100).tolist()
    assert [0, 0] in pairs
    assert all(left == 0 for left, _ in pairs)


def test_what_two_rows_say_together_is_not_taken_for_an_effect() -> None:
    def found(both: int) -> bool:
        """Whether two levels that `both` rows have together, and those with a target of their own, are a pair."""
        rng = np.random.default_rng(0)
        columns, wanted = rng.normal(size=(2_000, 30)), 0.01 * rng.normal(size=2_000)
        columns[:, :2] = 0
        columns[:200, 0], columns[200 - both : 400, 1] = 1, 1
        wanted[200 - both : 200] += 5.0
        return [0, 1] in best_pairs(columns, np.arange(30), 0, wanted[:, None], np.ones(2_000), 500).tolist()

    assert not found(2)
    assert found(40)


def test_one_category_alone_has_no_pairs() -> None:
    level = np.arange(60) % 3
    columns = np.column_stack([level == 0, level == 1, level == 2]).astype(float)
    assert best_pairs(columns, np.full(3, -1), 0, columns[:, :1], np.ones(60), 10).shape == (0, 2)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e30])
def test_the_unit_of_the_target_does_not_matter(unit: float) -> None:
    columns = np.random.default_rng(0).normal(size=(500, 3))
    wanted = columns[:, 0] * columns[:, 1] + columns[:, 2]
    assert [0, 1] in best_pairs(columns, np.arange(3), 3, unit * wanted[:, None], np.ones(500), 9).tolist()


def test_rows_without_weight_choose_nothing() -> None:
    columns = np.random.default_rng(0).normal(size=(2_000, 8))
    wanted, counts = columns[:, 0] * columns[:, 1], np.ones(2_000)
    wanted[1_000:], counts[1_000:] = 5 * columns[1_000:, 2] * columns[1_000:, 3], 0
    pairs = best_pairs(columns, np.arange(8), 8, wanted[:, None], counts, 1)
    assert pairs.tolist() == [[0, 1]]
    columns[1_000:] = 3
    assert [0, 1] in best_pairs(columns, np.arange(8), 8, wanted[:, None], counts, 9).tolist()


def test_constant_columns_and_targets_have_no_pairs() -> None:
    columns = np.column_stack([np.ones(50), np.linspace(-1, 1, 50)])
    assert best_pairs(columns[:, :1], np.arange(1), 1, columns[:, 1:], np.ones(50), 10).shape == (0, 2)
    assert best_pairs(columns, np.arange(2), 2, np.ones((50, 1)), np.ones(50), 10).shape == (0, 2)


@pytest.mark.parametrize("task", [VALUES, TWO, THREE], ids=lambda task: task.problem_type)
def test_a_stored_model_answers_the_same_row_by_row(task: Task, tmp_path: Path) -> None:
    x = features()
    model = LinearLearner().fit(x, target(task, signal(x)), None, task, ASKED)
    model.save(tmp_path)
    again = LinearLearner().load(tmp_path)
    unknown = features(40, seed=9)
    unknown.categorical[:3] = 99
    expected = model.predict(unknown)
    np.testing.assert_array_equal(again.predict(unknown), expected)
    rows = [again.predict(unknown.take(slice(i, i + 1)))[0] for i in range(len(unknown))]
    np.testing.assert_allclose(rows, expected, rtol=1e-9)


def test_scores_are_the_design_matrix_times_the_coefficients() -> None:
    x = features()
    design = Design.fit(x).multiplied(x, signal(x)[:, None], np.ones(len(x)), 50)
    assert len(design.left) > 0
    matrix, (standard, missing) = design.matrix(x), design.numbers(x)
    np.testing.assert_allclose(
        matrix[:, -len(design.left) :], design.products(design.plain(x, standard, missing)), rtol=1e-12
    )
    assert matrix.shape[1] == design.width + len(design.bent) + len(design.left)


def test_long_data_get_fewer_products_and_all_are_planned_for() -> None:
    assert most_products(300, 1_000) == 300
    assert most_products(300, 200_000) == 100
    assert most_products(300, 10**9) == 0
    facts = Facts(50_000, 10, "BinaryClassification", 2, numeric=10)
    plain, products = (CandidatePlan("linear-learner-1", "linear-learner", params) for params in ({}, ASKED))
    assert memory.peak(products, facts) - memory.peak(plain, facts) == 300 * 50_000 * 8
    for columns in (2, 5, 10):
        long = Facts(200_000, columns, "Regression", 0, numeric=columns)
        room = memory.peak(products, long) - (20 << 20)
        fewer = memory.fitted(products, long, room)
        assert fewer is not None
        assert memory.peak(fewer, long) <= room
    assert Costs(facts).seconds(products) > Costs(facts).seconds(plain)


def test_wide_designs_have_no_products() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 100, (600, 11)).astype(np.int32)
    x = Features(np.zeros((600, 0), np.float32), codes, [], [f"c{i}" for i in range(11)], [100] * 11)
    assert len(Design.fit(x).multiplied(x, rng.normal(size=(600, 1)), np.ones(600), 300).left) == 0


def test_many_rows_are_predicted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features()
    model = LinearLearner().fit(x, signal(x), None, VALUES, ASKED)
    expected = model.predict(x)
    monkeypatch.setattr(linear, "_STREAMED_CELLS", 5_000)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"left": np.array([0, 10**6])},
        {"right": np.array([-1, 0])},
        {"left": np.array([0.0, 1.0])},
        {"sizes": np.ones(1)},
        {"levels": np.array([10**10, 5])},
        {"levels": np.array([-1, 11])},
        {"levels": np.array([5.0, np.nan])},
        {"levels": np.full(4, 2**62)},
        {"intercept": np.ones(3), "coefficients": np.ones((3, 3))},
        {"intercept": np.array(1.0)},
        {"terms": np.ones((4, 3), np.float32)},
        {"coefficients": np.ones((3, 1))},
        {"bent": np.array([99])},
        {"unknown": np.ones(1)},
    ],
    ids=lambda change: "-".join(change),
)
def test_arrays_that_name_what_is_not_there_are_refused(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    x = features()
    LinearLearner().fit(x, signal(x), None, VALUES, {"l2": 5.0, "products": 2}).save(tmp_path)
    arrays = load_file(tmp_path / "linear.safetensors")
    assert len(arrays["left"]) == 2
    save_file(arrays | change, tmp_path / "linear.safetensors")
    with pytest.raises(ConfigurationError, match="archive is damaged"):
        LinearLearner().load(tmp_path)


@pytest.mark.parametrize("facts", [{"n_classes": 3}, {}, {"n_classes": "many"}])
def test_a_model_for_other_classes_is_refused(facts: dict[str, object], tmp_path: Path) -> None:
    x = features()
    LinearLearner().fit(x, signal(x), None, VALUES, ASKED).save(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigurationError, match="archive is damaged"):
        LinearLearner().load(tmp_path)
