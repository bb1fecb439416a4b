"""The ensemble of finished trials: its predictions, its metrics and its archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.problems.evaluate import Array
from pilothouse.problems.tabular import ensemble, train
from pilothouse.problems.tabular.dataset import TRAIN, Dataset
from pilothouse.problems.tabular.finished import Finished
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.read import Reading, prepare

ROWS = 500


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

    def test_it_reports_both_sets_and_what_it_is_ranked_by(self, combined: tuple[Path, dict[str, object]]) -> None:
        _, result = combined
        measured: Any = result["metrics"]
        low, high = sorted(measured[part]["AUC"] for part in ("Train", "Validation"))
        assert low <= float(str(result["ranking"])) <= high

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

    @pytest.mark.parametrize("name", ["one", "both"])
    def test_the_manifest_has_the_metrics_and_the_columns_types(
        self, combined: tuple[Path, dict[str, object]], name: str
    ) -> None:
        folder, result = combined
        measured: Any = result if name == "both" else json.loads((folder / name / "result.json").read_text())
        manifest = json.loads((folder / name / "model" / "manifest.json").read_text())
        latency = {"InferenceLatency": measured["metrics"]["Validation"]["InferenceLatency"]}
        validation = manifest["metrics"]["Validation"] | latency
        assert {"Train": manifest["metrics"]["Train"], "Validation": validation} == measured["metrics"]
        assert manifest["metrics"]["Train"]["AUC"] > 0.7
        assert dict(zip(manifest["columns"], manifest["column_types"], strict=True)) == {
            "a": "numeric",
            "b": "categorical",
        }


def trial(name: str, oof: Array, validation: Array, *fed_by: str) -> Finished:
    inputs = [Path(one) for one in fed_by]
    return Finished(Path(name), name, "lightgbm", oof, validation, inputs=inputs)


class TestChoose:
    """Which layers vote, on the targets of the prepared data and made-up predictions."""

    @pytest.fixture
    def data(self, combined: tuple[Path, dict[str, object]]) -> Dataset:
        return Dataset.load(combined[0] / "dataset")

    def made_up(self, data: Dataset, part: int, noise: float, seed: int) -> Array:
        y = data.y[data.rows(part)]
        score = 2.0 * y - 1 + np.random.default_rng(seed).normal(scale=noise, size=len(y))
        p = 1 / (1 + np.exp(-score))
        return np.column_stack([1 - p, p])

    @pytest.mark.parametrize(("held_out_noise", "layer"), [(0.3, 2), (30.0, 1)])
    def test_the_second_layer_votes_where_the_validation_rows_agree_that_it_helps(
        self, data: Dataset, held_out_noise: float, layer: int
    ) -> None:
        base = trial("base", self.made_up(data, 0, 2.0, 1), self.made_up(data, 1, 2.0, 2))
        top = trial("top", self.made_up(data, 0, 0.3, 3), self.made_up(data, 1, held_out_noise, 4), "base")
        selected = ensemble.choose(data, "AUC", [base, top])
        assert max(one.layer for one, _ in selected.voters()) == layer

    def test_a_useless_second_layer_has_no_vote(self, data: Dataset) -> None:
        base = trial("base", self.made_up(data, 0, 1.0, 1), self.made_up(data, 1, 1.0, 2))
        top = trial("top", self.made_up(data, 0, 30.0, 3), self.made_up(data, 1, 0.1, 4), "base")
        assert ensemble.choose(data, "AUC", [base, top]).voters() == [(base, 1.0)]

    def test_noise_gains_nothing_where_every_row_is_weighted_by_the_other_folds(self, data: Dataset) -> None:
        rows = data.rows(TRAIN)
        judge, folds = ensemble.judge_of(data, "AUC", TRAIN), np.asarray(data.folds[rows])
        scores = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            noise = [rng.uniform(0.3, 0.7, len(rows)) for _ in range(8)]
            predictions = [np.column_stack([1 - p, p]) for p in noise]
            mixed, _ = ensemble.nested("greedy", judge, predictions, folds, [0.0] * 8, predictions)
            scores.append(judge.objective(mixed))
        assert np.mean(scores) == pytest.approx(0.5, abs=0.03)
