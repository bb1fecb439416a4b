"""What every engine promises, for every problem type."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines.base import Array, Task, heard_by
from pilothouse.problems.evaluate import evaluate

ROWS = 400
QUICK = {
    "lightgbm": {"max_rounds": 200},
    "xgboost": {"max_rounds": 200},
    "catboost": {"max_rounds": 200, "learning_rate": 0.2},
    "randomforest": {"n_estimators": 40},
    "extra-trees": {"n_estimators": 40},
    "linear-learner": {},
    "nn-torch": {"max_rounds": 40, "batch": 64, "members": 2, "width": 48, "learning_rate": 0.005},
    "fastai": {"max_rounds": 40, "batch": 32, "layers": [48, 24]},
    "mlp": {"max_rounds": 40, "batch": 32, "layers": [48, 24], "learning_rate": 0.005},
}
BOOSTERS = ("lightgbm", "xgboost", "catboost")
TASKS = {
    kind: Task(kind, n, metric)
    for kind, n, metric in ((REGRESSION, 0, "MSE"), (BINARY, 2, "F1"), (MULTICLASS, 4, "Accuracy"))
}


def make(kind: str, rows: int = ROWS, seed: int = 0) -> tuple[Features, Array]:
    """Three numeric columns (one with missing values) and two categorical ones; all of them matter."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(rows, 3)).astype(np.float32)
    categorical = np.column_stack([rng.integers(0, 4, rows), rng.integers(0, 30, rows)]).astype(np.int32)
    signal = (
        2 * numeric[:, 0]
        - numeric[:, 1]
        + np.array([0.0, 2.0, -2.0, 1.0])[categorical[:, 0]]
        + 0.3 * rng.normal(size=rows)
    )
    numeric[rng.random(rows) < 0.1, 2] = np.nan
    x = Features(numeric, categorical, ["a", "b", "c"], ["d", "e"], [4, 30])
    if kind == REGRESSION:
        return x, signal * 1000.0
    cuts = [0.0] if kind == BINARY else [-2.0, 0.0, 2.0]
    return x, np.digitize(signal, cuts).astype(np.int64)


@cache
def fitted(name: str, kind: str) -> Any:
    """The model of `make(kind)` with all else at its default, for tests that do no more than ask it."""
    x, y = make(kind)
    return engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name])


FEW_ROUNDS = {
    **{booster: {"max_rounds": 3} for booster in ("lightgbm", "xgboost", "catboost")},
    **{forest: {"n_estimators": 3} for forest in ("randomforest", "extra-trees")},
    **{network: {**QUICK[network], "max_rounds": 2} for network in ("nn-torch", "fastai", "mlp")},
    "linear-learner": {},
}
"""What is enough to see that an engine can do with data at all."""

NETWORKS = ("nn-torch", "fastai", "mlp")


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.slow] * (n in NETWORKS)) for n in engines.ENGINES])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(TASKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestEveryEngine:
    def test_beats_a_constant_on_unseen_rows(self, name: str, kind: str) -> None:
        unseen, truth = make(kind, seed=1)
        metrics = evaluate(kind, truth, fitted(name, kind).predict(unseen))
        if kind == REGRESSION:
            assert metrics["R2"] > 0.6
        else:
            assert metrics["Accuracy"] > np.bincount(truth).max() / len(truth) + 0.1

    @pytest.mark.parametrize("unit", [1e-13, 1e25])
    def test_a_regression_targets_unit_does_not_matter(self, name: str, unit: float) -> None:
        (x, y), (watched, known), (unseen, truth) = (make(REGRESSION, seed=seed) for seed in range(3))
        valid = watched, known * unit, None
        model = engines.engine(name).fit(x, y * unit, None, TASKS[REGRESSION], QUICK[name], valid=valid)
        assert evaluate(REGRESSION, truth * unit, model.predict(unseen))["R2"] > 0.6

    def test_predicts_float64_in_class_order(self, name: str, kind: str) -> None:
        prediction = fitted(name, kind).predict(make(kind)[0])
        assert prediction.dtype == np.float64
        assert np.isfinite(prediction).all()
        if kind == REGRESSION:
            assert prediction.shape == (ROWS,)
        else:
            assert prediction.shape == (ROWS, TASKS[kind].n_classes)
            np.testing.assert_allclose(prediction.sum(axis=1), 1.0, atol=1e-9)

    def test_a_saved_model_predicts_the_same(self, name: str, kind: str, tmp_path: Path) -> None:
        x, y = make(kind)
        model = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], valid=(*make(kind, 100, seed=1), None))
        before = model.predict(x)
        model.save(tmp_path)
        loaded = engines.load(tmp_path, name)
        np.testing.assert_allclose(loaded.predict(x), before, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(loaded.predict(x.take(slice(0, 1))), before[:1], rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("classes", [0, 2, 100])
    def test_takes_more_columns_than_rows(self, name: str, classes: int, tmp_path: Path) -> None:
        rows, columns = 200, 1000
        numeric = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
        x = Features(numeric, np.empty((rows, 0), np.int32), [f"n{i}" for i in range(columns)], [], [])
        y = np.arange(rows) % classes if classes else numeric[:, 0].astype(np.float64)
        task = Task({0: REGRESSION, 2: BINARY}.get(classes, MULTICLASS), classes, "Accuracy" if classes else "MSE")
        model = engines.engine(name).fit(x, y, None, task, FEW_ROUNDS[name], valid=(x, y, None))
        model.save(tmp_path)
        predicted = engines.load(tmp_path, name).predict(x)
        assert predicted.shape == ((rows, classes) if classes else (rows,))
        assert np.isfinite(predicted).all()

    def test_a_row_alone_is_predicted_as_among_others(self, name: str, kind: str) -> None:
        x, y = make(kind)
        x.numeric[:3, 0] = np.nan, 1e30, -1e30
        x.categorical[3:5, 1] = 0
        model = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name])
        alone = np.concatenate([model.predict(x.take(slice(i, i + 1))) for i in range(20)])
        together = model.predict(x)
        np.testing.assert_allclose(alone, together[:20], rtol=1e-6, atol=1e-6 * np.abs(together).max())

    def test_saved_files_are_native_formats(self, name: str, kind: str, tmp_path: Path) -> None:
        fitted(name, kind).save(tmp_path)
        assert {path.suffix for path in tmp_path.iterdir()} <= {".txt", ".ubj", ".cbm", ".json", ".safetensors"}

    def test_the_same_seed_gives_the_same_model(self, name: str, kind: str) -> None:
        x, y = make(kind)
        again = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name])
        np.testing.assert_array_equal(fitted(name, kind).predict(x), again.predict(x))

    def test_a_class_that_is_missing_has_a_small_probability(self, name: str) -> None:
        x, y = make(MULTICLASS)
        keep = np.flatnonzero(y != 2)
        model = engines.engine(name).fit(x.take(keep), y[keep], None, TASKS[MULTICLASS], QUICK[name])
        probabilities = model.predict(x)
        assert probabilities.shape == (ROWS, 4)
        assert (probabilities[:, 2] < 0.05).all()
        assert (probabilities[:, 2] > 0).all()

    def test_a_fold_with_one_class_only_trains(self, name: str) -> None:
        x, _ = make(BINARY)
        model = engines.engine(name).fit(x, np.ones(ROWS, dtype=np.int64), None, TASKS[BINARY], QUICK[name])
        assert (model.predict(x)[:, 1] > 0.9).all()

    def test_weights_count(self, name: str, kind: str) -> None:
        x, y = make(kind)
        other = y + 5000.0 if kind == REGRESSION else (y + 1) % TASKS[kind].n_classes
        both = Features(
            np.vstack([x.numeric, x.numeric]),
            np.vstack([x.categorical, x.categorical]),
            x.numeric_names,
            x.categorical_names,
            x.cardinalities,
        )
        weights = np.repeat([1.0, 1e-3], ROWS)
        model = engines.engine(name).fit(both, np.concatenate([y, other]), weights, TASKS[kind], QUICK[name])
        metrics = evaluate(kind, y, model.predict(x))
        assert metrics["R2" if kind == REGRESSION else "Accuracy"] > 0.6

    def test_a_deadline_in_the_past_gives_a_usable_model_at_once(self, name: str, kind: str) -> None:
        x, y = make(kind)
        engines.warm(name)
        begun = time.monotonic()
        params = {"max_rounds": 100_000} if name in BOOSTERS else {}
        if name in ("randomforest", "extra-trees"):
            params = {"n_estimators": 100_000}
        model = engines.engine(name).fit(x, y, None, TASKS[kind], params, deadline=begun)
        assert time.monotonic() - begun < 30
        assert np.isfinite(model.predict(x)).all()

    @pytest.mark.parametrize("drop", ["numeric", "categorical"])
    def test_features_of_one_kind_are_enough(self, name: str, drop: str) -> None:
        x, y = make(BINARY)
        numeric = x.numeric if drop == "categorical" else x.numeric[:, :0]
        categorical = x.categorical if drop == "numeric" else x.categorical[:, :0]
        part = Features(
            numeric,
            categorical,
            x.numeric_names[: numeric.shape[1]],
            x.categorical_names[: categorical.shape[1]],
            x.cardinalities[: categorical.shape[1]],
        )
        model = engines.engine(name).fit(part, y, None, TASKS[BINARY], QUICK[name])
        assert evaluate(BINARY, y, model.predict(part))["AUC"] > 0.6

    def test_unseen_codes_and_missing_numbers_are_predicted(self, name: str, kind: str) -> None:
        x, _ = make(kind)
        blank = Features(
            np.full((2, 3), np.nan, np.float32),
            np.zeros((2, 2), np.int32),
            x.numeric_names,
            x.categorical_names,
            x.cardinalities,
        )
        assert np.isfinite(fitted(name, kind).predict(blank)).all()

    def test_importing_an_engine_does_not_import_its_library(self, name: str) -> None:
        libraries = "{'lightgbm', 'xgboost', 'catboost', 'sklearn', 'scipy', 'torch', 'fastai'}"
        load = f"import sys; from pilothouse.engines import engine; engine({name!r})"
        code = f"{load}; print({libraries} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", BOOSTERS)
class TestBoosters:
    def test_stop_early_on_the_valid_rows(self, name: str) -> None:
        x, y = make(BINARY)
        noise = np.random.default_rng(0).integers(0, 2, ROWS)
        model = engines.engine(name).fit(x, y, None, TASKS[BINARY], {"max_rounds": 3000}, valid=(x, noise, None))
        assert model.rounds is not None
        assert model.rounds < 100

    def test_train_exactly_the_rounds_they_are_given(self, name: str, kind: str) -> None:
        x, y = make(kind)
        model = engines.engine(name).fit(x, y, None, TASKS[kind], {}, rounds=17)
        assert model.rounds == 17

    def test_learn_what_two_columns_tell_only_together(self, name: str) -> None:
        rng = np.random.default_rng(0)
        numeric, categorical = rng.normal(size=(ROWS, 1)).astype(np.float32), rng.integers(1, 3, (ROWS, 1), np.int32)
        y = ((numeric[:, 0] > 0.5) != (categorical[:, 0] == 1)).astype(np.int64)
        x = Features(numeric, categorical, ["a"], ["b"], [3])
        model = engines.engine(name).fit(x, y, None, TASKS[BINARY], QUICK[name], rounds=150)
        assert evaluate(BINARY, y, model.predict(x))["Accuracy"] > 0.95

    def test_predict_with_fewer_rounds(self, name: str, kind: str) -> None:
        x, y = make(kind)
        longer = engines.engine(name).fit(x, y, None, TASKS[kind], {}, rounds=30)
        shorter = engines.engine(name).fit(x, y, None, TASKS[kind], {}, rounds=10)
        assert not np.allclose(longer.predict(x, 10), longer.predict(x))
        if name != "catboost":  # CatBoost's random permutations depend on the number of rounds
            np.testing.assert_allclose(longer.predict(x, 10), shorter.predict(x), rtol=1e-6)
        np.testing.assert_array_equal(longer.predict(x, 1000), longer.predict(x))

    @pytest.mark.parametrize("rounds", [4, 1000])
    def test_save_the_rounds_that_they_shall_answer_with(
        self, name: str, kind: str, rounds: int, tmp_path: Path
    ) -> None:
        x, y = make(kind)
        model = engines.engine(name).fit(x, y, None, TASKS[kind], {}, rounds=9)
        first = x.take(slice(0, 1))
        model.predict(first)
        expected, model.rounds = model.predict(x, rounds), rounds
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-6)
        np.testing.assert_allclose(model.predict(first), expected[:1], rtol=1e-5)
        model.save(tmp_path)
        np.testing.assert_allclose(engines.load(tmp_path, name).predict(x), expected, rtol=1e-6)

    def test_minimise_absolute_errors_for_mae(self, name: str) -> None:
        x, y = make(REGRESSION)
        skewed = np.exp(y / 2000.0)
        mae, mse = (
            engines.engine(name).fit(x, skewed, None, Task(REGRESSION, 0, metric), {}, rounds=200).predict(x)
            for metric in ("MAE", "MSE")
        )
        assert not np.allclose(mae, mse)


@pytest.mark.parametrize("penalties", [{}, {"lambda": 5.0, "alpha": 2.0, "gamma": 0.5}, {"reg_lambda": 3.0}])
def test_small_targets_are_learnt_by_xgboost_as_if_their_spread_were_one(penalties: dict[str, float]) -> None:
    (x, y), (unseen, _) = make(REGRESSION), make(REGRESSION, seed=1)
    one, small = (
        engines.engine("xgboost").fit(x, y / np.std(y) * unit, None, TASKS[REGRESSION], penalties, rounds=50)
        for unit in (1.000001, 0.001)
    )
    np.testing.assert_allclose(small.predict(unseen) * 1000.0, one.predict(unseen), atol=1e-4)


@pytest.mark.parametrize("far", [0.0, 2.0**20])
@pytest.mark.parametrize("metric", ["MSE", "MAE"])
def test_huge_targets_are_learnt_by_xgboost_as_smaller_ones_are(metric: str, far: float, tmp_path: Path) -> None:
    """Also where one is far from all others."""
    (x, y), (watched, known), (unseen, _) = (make(REGRESSION, seed=seed) for seed in range(3))
    y = y + far * (np.arange(len(y)) == 0)
    told: list[list[float]] = []
    models = []
    for unit in (1.0, 2.0**80):
        told.append([])
        task, valid = Task(REGRESSION, 0, metric), (watched, known * unit, None)
        with heard_by(lambda _rounds, loss, unit=unit: told[-1].append(loss / unit)):
            models.append(engines.engine("xgboost").fit(x, y * unit, None, task, {"max_rounds": 40}, valid=valid))
    np.testing.assert_allclose(told[1], told[0], rtol=1e-5)
    predicted = models[1].predict(unseen)
    np.testing.assert_allclose(predicted / 2.0**80, models[0].predict(unseen), rtol=1e-4, atol=0.1)
    models[1].save(tmp_path)
    stored = engines.load(tmp_path, "xgboost")
    np.testing.assert_array_equal(stored.predict(unseen), predicted)
    one = [float(stored.predict(unseen.take(slice(i, i + 1)))[0]) for i in range(5)]
    np.testing.assert_allclose(one, predicted[:5], rtol=1e-6)


@pytest.mark.parametrize("name", ["randomforest", "extra-trees"])
class TestForests:
    def test_predict_what_scikit_learn_predicts(self, name: str, kind: str) -> None:
        import sklearn.ensemble

        x, y = make(kind)
        numeric = np.nan_to_num(x.numeric)
        x = Features(numeric, x.categorical, x.numeric_names, x.categorical_names, x.cardinalities)
        unseen, _ = make(kind, seed=3)
        unseen = Features(
            np.nan_to_num(unseen.numeric), unseen.categorical, x.numeric_names, x.categorical_names, x.cardinalities
        )
        family = "RandomForest" if name == "randomforest" else "ExtraTrees"
        reference = getattr(sklearn.ensemble, family + ("Regressor" if kind == REGRESSION else "Classifier"))
        params = {"n_estimators": 30, "max_features": 0.7, "min_samples_leaf": 2}
        ours = engines.engine(name).fit(x, y, None, TASKS[kind], params, seed=3)
        theirs = reference(random_state=3, n_jobs=1, **params).fit(np.hstack([numeric, x.categorical]), y)
        values = np.hstack([unseen.numeric, unseen.categorical])
        expected = theirs.predict(values) if kind == REGRESSION else theirs.predict_proba(values)
        np.testing.assert_allclose(ours.predict(unseen), expected, rtol=0, atol=1e-6 * np.abs(expected).max())

    def test_the_leaves_of_a_forest_are_bounded(
        self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("pilothouse.engines.forest._MOST_LEAVES", 1000)
        x, y = make(REGRESSION)
        engines.engine(name).fit(x, y, None, TASKS[REGRESSION], {"n_estimators": 50}).save(tmp_path)
        assert (tmp_path / "forest.safetensors").stat().st_size < 60_000

    def test_the_values_of_leaves_are_bounded_by_classes_too(
        self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("pilothouse.engines.forest._MOST_CELLS", 8_000)
        x, y = make(REGRESSION)
        for classes, leaf in ((2, 2), (20, 2), (20, 1)):
            of_each = np.argsort(np.argsort(y)) * classes // len(y)
            params = {"n_estimators": 20, "min_samples_leaf": leaf}
            task = Task(MULTICLASS, classes, "F1")
            model = engines.engine(name).fit(x, of_each, None, task, params)
            model.save(tmp_path)
            forest = load_file(tmp_path / "forest.safetensors")
            assert forest["value"].size <= 8_000
            assert len(forest["root"]) >= 13
            # Leaves of one row are of one class: many of them, few values.
            assert leaf > 1 or np.count_nonzero(forest["feature"] < 0) > 20 * 100

    @pytest.mark.parametrize(("limit", "trees"), [(6_000, 15), (4_000, 20)])
    def test_a_folds_forest_is_grown_as_the_refit_will_be(
        self, name: str, limit: int, trees: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("pilothouse.engines.forest._MOST_LEAVES", limit)
        x, y = make(REGRESSION)
        half, task = np.arange(len(y) // 2), replace(TASKS[REGRESSION], rows=len(y))
        rows_a_leaf = []
        for rows in (half, np.arange(len(y))):
            params = {"n_estimators": 20, "min_samples_leaf": 1}
            engines.engine(name).fit(x.take(rows), y[rows], None, task, params).save(tmp_path)
            forest = load_file(tmp_path / "forest.safetensors")
            assert len(forest["root"]) == trees
            rows_a_leaf.append(trees * len(rows) / np.count_nonzero(forest["feature"] < 0))
        assert rows_a_leaf[0] == pytest.approx(rows_a_leaf[1], rel=0.2)


def test_an_unknown_engine_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="no engine 'svm'"):
        engines.engine("svm")


def test_a_task_needs_classes_that_fit_its_problem_type() -> None:
    with pytest.raises(ValueError, match="Regression task cannot have 3 classes"):
        Task(REGRESSION, 3, "MSE")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
class TestNetworks:
    """The engines that need torch to fit."""

    def test_train_exactly_the_rounds_they_are_given(self, name: str, kind: str) -> None:
        x, y = make(kind)
        assert engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], rounds=7).rounds == 7

    def test_stop_early_on_the_valid_rows(self, name: str) -> None:
        x, y = make(BINARY)
        noise = np.random.default_rng(0).integers(0, 2, ROWS)
        model = engines.engine(name).fit(x, y, None, TASKS[BINARY], QUICK[name], valid=(x, noise, None))
        assert model.rounds is not None
        assert model.rounds < 20

    def test_predict_with_fewer_rounds(self, name: str, kind: str) -> None:
        x, y = make(kind)
        longer, shorter = (
            engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], rounds=rounds) for rounds in (9, 4)
        )
        assert not np.allclose(longer.predict(x, 4), longer.predict(x))
        if name != "fastai":  # its cycle is as long as its rounds
            np.testing.assert_allclose(longer.predict(x, 4), shorter.predict(x), rtol=1e-6)
        np.testing.assert_array_equal(longer.predict(x, 1000), longer.predict(x))

    @pytest.mark.parametrize("rounds", [4, 1000])
    def test_save_the_rounds_that_they_shall_answer_with(
        self, name: str, kind: str, rounds: int, tmp_path: Path
    ) -> None:
        x, y = make(kind)
        model = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], rounds=9)
        first = x.take(slice(0, 1))
        model.predict(first)
        expected, model.rounds = model.predict(x, rounds), rounds
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-6)
        np.testing.assert_allclose(model.predict(first), expected[:1], rtol=1e-5)
        model.save(tmp_path)
        np.testing.assert_allclose(engines.load(tmp_path, name).predict(x), expected, rtol=1e-6)

    def test_minimise_absolute_errors_for_mae(self, name: str) -> None:
        x, y = make(REGRESSION)
        mae, mse = (
            engines.engine(name).fit(x, np.exp(y / 2000.0), None, Task(REGRESSION, 0, metric), QUICK[name])
            for metric in ("MAE", "MSE")
        )
        assert not np.allclose(mae.predict(x), mse.predict(x))

    def test_never_predict_beyond_the_targets_they_saw(self, name: str) -> None:
        x, y = make(REGRESSION)
        far = Features(x.numeric * 1e6, x.categorical, x.numeric_names, x.categorical_names, x.cardinalities)
        predicted = fitted(name, REGRESSION).predict(far)
        assert predicted.min() >= y.min()
        assert predicted.max() <= y.max()

    def test_leave_torchs_threads_as_they_were(self, name: str) -> None:
        import torch

        before = torch.get_num_threads()
        x, y = make(BINARY)
        engines.engine(name).fit(x, y, None, TASKS[BINARY], QUICK[name], rounds=1, threads=before + 1)
        assert torch.get_num_threads() == before

    def test_predict_without_torch(self, name: str, kind: str, tmp_path: Path) -> None:
        x, y = make(kind)
        model = engines.engine(name).fit(x, y, None, TASKS[kind], QUICK[name], rounds=3)
        model.save(tmp_path / ".")
        np.save(tmp_path / "expected.npy", model.predict(x))
        x.save(tmp_path / "features")
        code = (
            "import sys, numpy as np; sys.modules['torch'] = None; sys.modules['fastai'] = None\n"
            "from pathlib import Path; from pilothouse import engines; from pilothouse.data.features import Features\n"
            f"place = Path({str(tmp_path)!r}); model = engines.load(place, {name!r})\n"
            "found = model.predict(Features.load(place / 'features'))\n"
            "np.testing.assert_allclose(found, np.load(place / 'expected.npy'), rtol=1e-6)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
