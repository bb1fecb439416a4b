"""Target statistics: what they say, what they never see, and that they are kept with the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import statistics
from pilothouse.engines.base import Array, Task
from pilothouse.engines.statistics import TargetStatistics
from pilothouse.engines.widened import WidenedModel
from pilothouse.problems.evaluate import evaluate

TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
}
QUICK = {
    "lightgbm": {"max_rounds": 60},
    "xgboost": {"max_rounds": 60},
    "randomforest": {"n_estimators": 30},
    "extra-trees": {"n_estimators": 30},
}


def _features(*codes: Array, levels: int) -> Features:
    categorical = np.column_stack(codes).astype(np.int32)
    names = [f"c{i}" for i in range(len(codes))]
    numeric = np.zeros((len(categorical), 1), np.float32)
    return Features(numeric, categorical, ["x"], names, [levels] * len(codes))


def _known(kind: str, rows: int = 1200, levels: int = 80, seed: int = 0) -> tuple[Features, Array]:
    """One category, in whose levels alone the target lies."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, levels, rows)
    effect = np.random.default_rng(99).normal(size=levels)[codes] + 0.3 * rng.normal(size=rows)
    x = _features(codes, levels=levels)
    return (x, effect) if kind == REGRESSION else (x, np.digitize(effect, [0.0, 0.8][: TASKS[kind].n_classes - 1]))


def _fitted(x: Features, y: Array, kind: str, w: Array | None = None) -> tuple[TargetStatistics, Features]:
    fitted = TargetStatistics.fit(x, y, w, TASKS[kind], seed=0)
    assert fitted is not None
    return fitted


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_category_gets_a_statistic_for_each_output(kind: str) -> None:
    x, y = _known(kind)
    learnt, widened = _fitted(x, y, kind)
    outputs = 3 if kind == MULTICLASS else 1
    assert widened.numeric.shape == (len(x), 1 + outputs)
    assert len(widened.numeric_names) == 1 + outputs
    assert np.isfinite(learnt.apply(x).numeric).all()
    assert np.corrcoef(widened.numeric[:, -1], y == 2 if kind == MULTICLASS else y)[0, 1] > 0.5


def test_a_statistic_lies_between_the_levels_mean_and_the_mean_of_all() -> None:
    x, y = _known(REGRESSION)
    learnt, _ = _fitted(x, y, REGRESSION)
    for level in range(80):
        mine = x.categorical[:, 0] == level
        low, high = sorted([y[mine].mean(), y.mean()])
        assert low - 1e-5 <= learnt.values[level, 0] <= high + 1e-5


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_rows_own_target_never_enters_its_statistic(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The prior's size is one number estimated from all rows; held still, what is left is the row's own.
    monkeypatch.setattr(statistics, "_prior_rows", lambda total, *_: np.full(total.shape[1] - 1, 5.0))
    x, y = _known(kind, rows=300, levels=40)
    _, before = _fitted(x, y, kind)
    for row in range(0, 300, 29):
        changed = y.copy()
        changed[row] = y[row] + 100.0 if kind == REGRESSION else (y[row] + 1) % TASKS[kind].n_classes
        _, after = _fitted(x, changed, kind)
        np.testing.assert_array_equal(after.numeric[row], before.numeric[row])
        assert (after.numeric != before.numeric).any()


@pytest.mark.parametrize("name", list(QUICK))
def test_a_random_category_says_nothing_about_a_random_target(name: str) -> None:
    rng = np.random.default_rng(3)
    codes, y = rng.integers(0, 1000, 4000), rng.integers(0, 2, 4000)
    x, fold = _features(codes, levels=1000), np.arange(4000) % 4
    oof = np.zeros((4000, 2))
    for held in range(4):
        learn = np.flatnonzero(fold != held)
        model = engines.engine(name).fit(x.take(learn), y[learn], None, TASKS[BINARY], QUICK[name])
        oof[fold == held] = model.predict(x.take(fold == held))
    assert 0.45 < evaluate(BINARY, y, oof)["AUC"] < 0.55


def test_unreliable_statistics_are_left_out() -> None:
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 1000, 4000), rng.integers(0, 2, 4000)
    assert TargetStatistics.fit(_features(codes, levels=1000), y, None, TASKS[BINARY], 0) is None
    known, target = _known(BINARY, 4000, seed=5)
    both = _features(codes, known.categorical[:, 0], levels=1000)
    assert _fitted(both, target, BINARY)[0].columns.tolist() == [1]


def test_weights_count_as_rows_do() -> None:
    x, y = _known(REGRESSION, rows=400, levels=40)
    w = np.random.default_rng(0).integers(1, 4, 400).astype(np.float64)
    weighted, _ = _fitted(x, y, REGRESSION, w)
    scaled, _ = _fitted(x, y, REGRESSION, w * 7.5)
    np.testing.assert_allclose(weighted.values, scaled.values, rtol=1e-5)
    ignored = np.where(x.categorical[:, 0] < 20, 1e-9, 1.0)
    learnt, _ = _fitted(x, y, REGRESSION, ignored)
    np.testing.assert_allclose(learnt.values[:20, 0], np.average(y, weights=ignored), atol=1e-3)


def test_few_levels_or_many_classes_have_no_statistics() -> None:
    x, y = _known(BINARY, levels=20)
    assert TargetStatistics.fit(x, y, None, TASKS[BINARY], 0) is None
    wide, _ = _known(BINARY)
    assert TargetStatistics.fit(wide, np.arange(1200) % 30, None, Task(MULTICLASS, 30, "Accuracy"), 0) is None


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_statistics_are_finite_whatever_the_rows(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(TASKS)))
    rows = data.draw(st.integers(2, 60))
    codes = np.array(data.draw(st.lists(st.integers(0, 39), min_size=rows, max_size=rows)))
    limit = TASKS[kind].n_classes
    values = st.integers(0, limit - 1) if limit else st.floats(-1e30, 1e30)
    y = np.array(data.draw(st.lists(values, min_size=rows, max_size=rows)))
    w = np.array(data.draw(st.lists(st.floats(0, 1e6), min_size=rows, max_size=rows)))
    fitted = TargetStatistics.fit(_features(codes, levels=40), y, w, TASKS[kind], 0)
    if fitted is not None:
        assert np.isfinite(fitted[0].values).all()
        assert np.isfinite(fitted[1].numeric).all()


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("name", list(QUICK))
def test_a_saved_model_keeps_its_statistics(name: str, kind: str, tmp_path: Path) -> None:
    x, y = _known(kind)
    model = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], valid=(*_known(kind, 200, seed=1), None))
    assert isinstance(model, WidenedModel)
    unseen, truth = _known(kind, 500, seed=2)
    before = model.predict(unseen)
    assert evaluate(kind, truth, before)["R2" if kind == REGRESSION else "Accuracy"] > 0.6
    model.save(tmp_path)
    loaded = engines.load(tmp_path, name)
    np.testing.assert_allclose(loaded.predict(unseen), before, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(loaded.predict(unseen.take(slice(3, 4))), before[3:4], rtol=1e-6, atol=1e-9)
    assert loaded.rounds == model.rounds
