"""A trial of a tuned candidate: what it is judged on, what it says while it trains, and what its values mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.catalog.tuning_ranges import ranges as read_ranges
from pilothouse.problems.evaluate import evaluate
from pilothouse.problems.tabular import held_out, ranges, threshold, tuned
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.pipelines.menu import Kinds, menu
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.stages import AlgorithmStage, FeatureStage, save_features
from pilothouse.problems.tabular.trial import TimeBudget, Trial
from pilothouse.tuning.ranges import Space

PROBLEMS = ("BinaryClassification", "MulticlassClassification", "Regression")


def dataset(folder: Path, problem: str, rows: int = 600) -> Dataset:
    rng = np.random.default_rng(0)
    a, b, colour = rng.normal(size=rows), rng.normal(size=rows), rng.choice(["red", "green", "blue"], rows)
    signal = 2 * a - b + (colour == "red") + 0.3 * rng.normal(size=rows)
    y = {
        "Regression": [f"{value * 100:.3f}" for value in signal],
        "BinaryClassification": np.where(signal > 0.5, "yes", "no").tolist(),
        "MulticlassClassification": np.digitize(signal, [-1, 1]).astype(str).tolist(),
    }[problem]
    table = pa.table({"a": [f"{v:.5f}" for v in a], "b": [f"{v:.5f}" for v in b], "colour": colour.tolist(), "y": y})
    return prepare(table, None, Reading("y", problem_type=problem), folder / "dataset")


def ready(folder: Path, data: Dataset, algorithm: str) -> tuple[Dataset, Path]:
    """The data on the first pipeline of an algorithm, and that pipeline's stage."""
    spec = menu(Kinds.of(data.facts), [algorithm])[0]
    pipeline = DataPipeline.fit(spec, data.features.take(data.rows(TRAIN)))
    pipeline.write(data.features, folder / "matrix.npy")
    return tuned.on_matrix(data, folder / "matrix.npy"), save_features(folder / "first", data, pipeline)


def trial(data: Dataset, algorithm: str, folds: int = 5, **changes: str) -> Trial:
    tunable = ranges.tunable(algorithm, data.problem_type)
    few = {"xgboost": {"num_round": "80"}, "mlp": {"epochs": "15", "learning_rate": "0.01"}}
    values = {**tunable.static, **tunable.first, **few.get(algorithm, {}), **changes}
    params = ranges.params(algorithm, values, data.facts["train_rows"])
    return Trial("t", algorithm, params, folds, 1, data.metric)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("algorithm", ["xgboost", "linear-learner", pytest.param("mlp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("folds", [5, 1])
def test_the_metrics_are_those_of_rows_that_the_models_had_not_seen(
    tmp_path: Path, problem: str, algorithm: str, folds: int
) -> None:
    data, first = ready(tmp_path, dataset(tmp_path, problem), algorithm)
    result = tuned.run(trial(data, algorithm, folds), data, tmp_path, first)
    judged, numbers = data, data.folds[data.rows(TRAIN)]
    if folds == 1:
        bag, judged = held_out.fit(trial(data, algorithm, folds), data, TimeBudget(None))
        numbers = bag.numbers
    rows, oof = judged.rows(TRAIN), np.load(tmp_path / "oof.npy").astype(np.float64)
    assert len(oof) == len(rows)
    cuts = threshold.choose_by_fold(problem, data.metric, data.y[rows], oof, numbers)
    if result["calibration"] is None:
        assert result["metrics"]["Train"] == pytest.approx(evaluate(problem, data.y[rows], oof, threshold=cuts))
        held = np.load(tmp_path / "validation.npy").astype(np.float64)
        expected = evaluate(problem, data.y[data.rows(VALIDATION)], held, threshold=result["threshold"])
        assert result["metrics"]["Validation"] == pytest.approx(expected, rel=1e-4)
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["metrics"] == result["metrics"]
    types = json.loads((first / "manifest.json").read_text())["column_types"]
    assert types == ["numeric", "numeric", "categorical"]
    stage = AlgorithmStage.load(tmp_path / "model")
    assert (stage.problem_type, stage.threshold) == (problem, result["threshold"])
    predicted = stage.predict(FeatureStage.load(first).transform([["0.5", "-1", "red"]] * 2))
    assert predicted.shape == ((2,) if problem == "Regression" else (2, len(data.classes or [])))
    known = evaluate(problem, data.y, stage.predict(data.features.numeric), threshold=stage.threshold)
    assert known["R2" if problem == "Regression" else "Accuracy"] > 0.7


def test_the_rows_of_one_split_have_a_part_each(tmp_path: Path) -> None:
    data, _ = ready(tmp_path, dataset(tmp_path, "BinaryClassification"), "xgboost")
    bag, judged = held_out.fit(trial(data, "xgboost", 1), data, TimeBudget(None))
    train, judging = data.rows(TRAIN), judged.rows(TRAIN)
    held = train[data.folds[train] == 0]
    assert set(judging) < set(held)
    assert abs(2 * len(judging) - len(held)) <= 1
    assert bag.learnt == len(train) - len(held)
    assert len(bag.oof) == len(bag.numbers) == len(judging)
    np.testing.assert_array_equal(judged.rows(VALIDATION), data.rows(VALIDATION))
    best = bag.best[0]
    assert best is not None
    assert best <= (bag.refit_rounds(len(data)) or 0) <= 2 * best


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("algorithm", ["xgboost", "linear-learner", pytest.param("mlp", marks=pytest.mark.slow)])
def test_with_one_split_a_trial_reports_comparable_losses_as_it_goes(
    tmp_path: Path, problem: str, algorithm: str
) -> None:
    data, first = ready(tmp_path, dataset(tmp_path, problem), algorithm)
    step = 1 if algorithm == "mlp" else 10
    tuned.run(trial(data, algorithm, 1), data, tmp_path, first, step)
    lines = [json.loads(line) for line in (tmp_path / tuned.REPORTS).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines
    classes = len(data.classes or [])
    assert 0 < min(line["loss"] for line in lines) < (np.log(classes) if classes else 1.0) * 0.8


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("algorithm", ["xgboost", "linear-learner", "mlp"])
def test_what_is_tried_first_lies_in_the_ranges(problem: str, algorithm: str) -> None:
    tunable = ranges.tunable(algorithm, problem)
    space = Space(read_ranges(tunable.ranges))
    point = space.point(tunable.first)
    assert point is not None
    assert set(tunable.first) == {each.name for each in space.ranges}
    for unit in (0.0, 0.5, 1.0):
        values = {**tunable.static, **space.values([unit] * len(space.ranges))}
        assert ranges.params(algorithm, values, 1000)


def test_an_absolute_penalty_makes_coefficients_zero(tmp_path: Path) -> None:
    data, _ = ready(tmp_path, dataset(tmp_path, "Regression"), "linear-learner")
    kept = []
    for l1 in ("1e-07", "0.05"):
        bag, _ = held_out.fit(trial(data, "linear-learner", 1, l1=l1), data, TimeBudget(None))
        model: Any = bag.models[0]
        kept.append(int((np.abs(model._coefficients) > 1e-6 * np.abs(model._coefficients).max()).sum()))
    assert kept[1] < kept[0]


@pytest.mark.parametrize("loss", ["huber", "absolute"])
def test_an_outlier_leads_a_linear_model_less_with_another_loss(tmp_path: Path, loss: str) -> None:
    data, _ = ready(tmp_path, dataset(tmp_path, "Regression"), "linear-learner")
    y = np.array(data.y)
    y[data.rows(TRAIN)[::40]] = 1e5
    spoilt = Dataset(**{**vars(data), "y": y})
    errors = {}
    for name in ("squared", loss):
        bag, _ = held_out.fit(trial(data, "linear-learner", 1, loss=name), spoilt, TimeBudget(None))
        errors[name] = np.median(np.abs(bag.models[0].predict(data.features) - data.y))
    assert errors[loss] < errors["squared"] / 2
