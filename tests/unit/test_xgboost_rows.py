"""XGBoost's stored models predict single rows from their file, and that is what the library predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import xgboost_file
from pilothouse.engines.base import Array, Model, Task
from pilothouse.engines.xgboost import XGBoostModel
from pilothouse.engines.xgboost_row import OneRow

TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    "absolute": Task(REGRESSION, 0, "MAE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
}


def _features(rows: int, seed: int = 0, levels: int = 12) -> Features:
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(rows, 3)).astype(np.float32).round(1)
    numeric[random.random(numeric.shape) < 0.1] = np.nan
    codes = np.stack([random.integers(0, n, rows) for n in (levels, 300, 4)], axis=1).astype(np.int32)
    return Features(numeric, codes, list("abc"), list("klm"), [levels, 300, 4])


def _stored(folder: Path, task: Task, x: Features, **params: object) -> Model:
    signal = np.nan_to_num(x.numeric[:, 0], nan=2.0) * np.nan_to_num(x.numeric[:, 2]) + x.categorical[:, 0] % 3
    y = signal.astype(np.float64) if task.regression else np.digitize(signal, [0.5, 1.5][: task.n_classes - 1])
    engines.engine("xgboost").fit(x, y, None, task, dict(params), rounds=40).save(folder)
    return engines.load(folder, "xgboost")


def _alone(model: Model, x: Features) -> Array:
    return np.concatenate([model.predict(x.take(slice(i, i + 1))) for i in range(len(x))])


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("params", [{}, {"max_cat_to_onehot": 1, "max_depth": 9}])
def test_a_row_alone_gets_what_the_library_gives_it(
    kind: str, params: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TASKS[kind]
    model, x = _stored(tmp_path, task, _features(500), **params), _features(60, seed=1)
    many = model.predict(x)
    _alone(model, x.take(slice(0, 1)))
    monkeypatch.setattr(XGBoostModel, "_many", lambda *_: pytest.fail("the library was asked"))
    np.testing.assert_allclose(_alone(model, x), many, rtol=0, atol=0 if task.regression else 2e-7)


def test_values_on_a_cut_go_where_the_library_sends_them(tmp_path: Path) -> None:
    x = Features(np.arange(40, dtype=np.float32).reshape(-1, 1) % 8, np.empty((40, 0), np.int32), ["a"], [], [])
    y = (x.numeric[:, 0] > 3).astype(np.float64)
    engines.engine("xgboost").fit(x, y, None, TASKS[REGRESSION], {"min_child_weight": 0}, rounds=5).save(tmp_path)
    model = engines.load(tmp_path, "xgboost")
    learner = xgboost_file.read(tmp_path / "model.ubj")
    cuts = xgboost_file.trees(learner) if learner else None
    assert cuts is not None
    on_cuts = np.unique(np.concatenate([cuts.cut, -cuts.cut, np.nextafter(cuts.cut, np.float32(9)), [np.nan]]))
    row = Features(on_cuts.astype(np.float32)[:, None], np.empty((len(on_cuts), 0), np.int32), ["a"], [], [])
    np.testing.assert_array_equal(_alone(model, row), model.predict(row))


def test_where_the_first_row_comes_out_otherwise_the_library_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = _stored(tmp_path, TASKS[REGRESSION], _features(300)), _features(5, seed=1)
    monkeypatch.setattr(OneRow, "_scores", lambda *_: np.zeros(1, np.float32))
    np.testing.assert_array_equal(_alone(model, x), model.predict(x))
