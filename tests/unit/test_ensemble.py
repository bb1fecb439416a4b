"""Greedy weights, the threshold, and an archive of several members."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.problems.evaluate import Array, measure
from pilothouse.problems.tabular import ensemble, threshold, train
from pilothouse.problems.tabular.dataset import TRAIN, Dataset
from pilothouse.problems.tabular.ensemble import Judge, select
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.read import Reading, prepare

ROWS = 500


def noisy(y: Array, scale: float, seed: int) -> Array:
    return np.asarray(y + np.random.default_rng(seed).normal(scale=scale, size=len(y)))


def as_probabilities(scores: Array) -> Array:
    p = 1 / (1 + np.exp(-scores))
    return np.column_stack([1 - p, p])


class TestSelect:
    def test_independent_errors_average_out(self) -> None:
        y = np.random.default_rng(0).normal(size=ROWS)
        judge = Judge(REGRESSION, "MSE", y, None)
        predictions = [noisy(y, 1.0, 1), noisy(y, 1.0, 2), noisy(y, 20.0, 3)]
        weights = select(judge, predictions)
        assert weights[0] == pytest.approx(0.5, abs=0.1)
        assert weights[1] == pytest.approx(0.5, abs=0.1)
        assert weights[2] == 0.0

    def test_weights_sum_to_one(self) -> None:
        y = np.random.default_rng(0).normal(size=ROWS)
        weights = select(Judge(REGRESSION, "MAE", y, None), [noisy(y, 1.0, seed) for seed in range(6)])
        assert sum(weights) == pytest.approx(1.0)

    @pytest.mark.parametrize("metric", ["F1", "Accuracy", "AUC", "BalancedAccuracy", "Precision", "Recall"])
    def test_never_worse_than_the_best_single_candidate(self, metric: str) -> None:
        rng = np.random.default_rng(4)
        y = rng.integers(0, 2, ROWS)
        judge = Judge(BINARY, metric, y, None)
        predictions = [as_probabilities(noisy(2.0 * y - 1, scale, seed)) for seed, scale in enumerate((1.0, 3.0, 5.0))]
        weights = select(judge, predictions)
        mixture = sum(w * p for w, p in zip(weights, predictions, strict=True))
        assert judge.objective(np.asarray(mixture)) >= max(judge.objective(p) for p in predictions)

    def test_a_single_candidate_has_all_the_weight(self) -> None:
        y = np.random.default_rng(0).normal(size=ROWS)
        assert select(Judge(REGRESSION, "RMSE", y, None), [noisy(y, 1.0, 1)]) == [1.0]

    def test_many_rows_are_sampled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ensemble, "_JUDGED_ROWS", 100)
        y = np.random.default_rng(0).normal(size=ROWS)
        weights = select(Judge(REGRESSION, "MSE", y, np.ones(ROWS)), [noisy(y, 0.1, 1), noisy(y, 9.0, 2)])
        assert weights[0] > 0.9

    def test_multiclass_predictions_mix(self) -> None:
        rng = np.random.default_rng(1)
        y = rng.integers(0, 3, ROWS)
        predictions = []
        for seed in range(3):
            raw = np.exp(2 * np.eye(3)[y] + np.random.default_rng(seed).normal(size=(ROWS, 3)))
            predictions.append(raw / raw.sum(axis=1, keepdims=True))
        judge = Judge(MULTICLASS, "Accuracy", y, None)
        mixture = sum(w * p for w, p in zip(select(judge, predictions), predictions, strict=True))
        assert judge.objective(np.asarray(mixture)) > max(judge.objective(p) for p in predictions)


class TestThreshold:
    @pytest.mark.parametrize("metric", threshold.CALIBRATED)
    def test_calibrated_metrics_do_not_lose(self, metric: str) -> None:
        rng = np.random.default_rng(0)
        y = (rng.random(3000) < 0.15).astype(np.int64)
        p = as_probabilities(noisy(1.5 * y - 2, 1.0, 1))
        cut = threshold.choose(BINARY, metric, y, p)
        best = measure(metric, BINARY, y, p, threshold=cut)
        assert best >= measure(metric, BINARY, y, p, threshold=0.5) - 0.002
        assert best >= max(measure(metric, BINARY, y, p, threshold=c) for c in np.linspace(0.01, 0.99, 99)) - 0.005

    def test_f1_of_rare_positives_wants_a_low_threshold(self) -> None:
        y = (np.random.default_rng(0).random(3000) < 0.1).astype(np.int64)
        cut = threshold.choose(BINARY, "F1", y, as_probabilities(noisy(1.5 * y - 2.5, 1.0, 1)))
        assert cut is not None
        assert cut < 0.45

    @pytest.mark.parametrize("metric", ["Precision", "Recall", "AUC"])
    def test_other_metrics_keep_one_half(self, metric: str) -> None:
        y = np.array([0, 1, 0, 1])
        assert threshold.choose(BINARY, metric, y, as_probabilities(np.array([-1.0, 2.0, 0.5, 1.0]))) == 0.5

    def test_rows_judged_by_the_cuts_of_other_folds_score_at_chance_when_there_is_nothing_to_learn(self) -> None:
        metric, scores = "BalancedAccuracy", []
        for seed in range(30):
            rng = np.random.default_rng(seed)
            y, folds = rng.permutation(np.arange(300) % 2), rng.permutation(np.arange(300) % 5)
            p = as_probabilities(rng.normal(size=300))
            cuts = threshold.choose_by_fold(BINARY, metric, y, p, folds)
            scores.append(measure(metric, BINARY, y, p, threshold=cuts))
        assert np.mean(scores) == pytest.approx(0.5, abs=0.015)

    def test_there_is_none_but_for_binary(self) -> None:
        assert threshold.choose(MULTICLASS, "Accuracy", np.array([0, 1, 2]), np.eye(3)) is None
        assert threshold.choose(REGRESSION, "MSE", np.array([0.0]), np.array([0.0])) is None


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """Two finished trials and their ensemble; the folder that holds them, and the ensemble's result."""
    folder = tmp_path_factory.mktemp("ensemble")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=ROWS), rng.choice(["red", "green", "blue"], ROWS)
    y = np.where(a + (b == "red") + 0.8 * rng.normal(size=ROWS) > 0.3, "yes", "no")
    table = pa.table({"a": [f"{v:.4f}" for v in a], "b": b.tolist(), "y": y.tolist()})
    prepare(table, None, Reading("y", min_rows=100), folder / "dataset")
    for name, algorithm, params in (("one", "lightgbm", {}), ("two", "linear-learner", {})):
        (folder / name).mkdir()
        trial = {"name": name, "algorithm": algorithm, "params": params, "folds": 3, "seed": 0, "metric": "AUC"}
        (folder / name / "trial.json").write_text(json.dumps(trial))
        train.train(str(folder / name), str(folder / "dataset"))
    (folder / "both").mkdir()
    result = ensemble.combine(folder / "both", folder / "dataset", [folder / "one", folder / "two"], "AUC")
    return folder, result


class TestCombine:
    def test_the_archive_predicts_the_weighted_mean_of_its_members(
        self, combined: tuple[Path, dict[str, object]]
    ) -> None:
        folder, result = combined
        weights = {m["name"]: m["weight"] for m in result["members"]}  # type: ignore[attr-defined]
        rows = [["0.3", "red"], ["-1.2", "blue"]]
        both = TabularPredictor.load(folder / "both" / "model").predict(rows).probabilities
        expected = sum(
            w * np.asarray(TabularPredictor.load(folder / name / "model").predict(rows).probabilities)
            for name, w in weights.items()
        )
        np.testing.assert_allclose(both, expected, atol=1e-9)

    def test_it_is_at_least_as_good_out_of_fold_as_each_member(self, combined: tuple[Path, dict[str, object]]) -> None:
        folder, result = combined
        judge = ensemble.judge_of(Dataset.load(folder / "dataset"), "AUC")
        both, *singles = (
            judge.objective(np.load(folder / n / "oof.npy").astype(float)) for n in ("both", "one", "two")
        )
        assert both >= max(singles) - 1e-6
        assert set(result["metrics"]) == {"Validation"}  # type: ignore[call-overload]

    def test_its_predictions_are_kept_like_a_trials(self, combined: tuple[Path, dict[str, object]]) -> None:
        folder, _ = combined
        data = Dataset.load(folder / "dataset")
        oof = np.load(folder / "both" / "oof.npy")
        assert oof.shape == (len(data.rows(TRAIN)), 2)

    def test_the_manifest_names_every_file(self, combined: tuple[Path, dict[str, object]]) -> None:
        model = combined[0] / "both" / "model"
        manifest = json.loads((model / "manifest.json").read_text())
        files = {str(p.relative_to(model)) for p in model.rglob("*") if p.is_file()} - {"manifest.json"}
        assert set(manifest["files"]) == files
