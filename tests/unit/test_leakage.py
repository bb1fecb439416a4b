"""A target that nothing tells: no candidate, second layer or ensemble scores above chance on unseen rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from pilothouse.engines import statistics
from pilothouse.problems.tabular import bag, ensemble, train
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.read import Reading, prepare

ROWS, LEVELS = 1500, 300
SINGLE: dict[str, dict[str, Any]] = {
    "lightgbm": {"max_rounds": 40, "learning_rate": 0.2},
    "linear-learner": {"l2": 1.0, "products": 100},
    "extra-trees": {"n_estimators": 30},
}
CHANCE = 0.05
"""Three standard errors of the AUC of so many rows."""


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data in which a coin is the target, with target statistics of a category whatever they are worth."""
    folder, rng = tmp_path_factory.mktemp("coin"), np.random.default_rng(5)
    columns = {f"x{i}": [f"{value:.3f}" for value in rng.normal(size=ROWS)] for i in range(4)}
    columns["name"] = [f"n{number}" for number in rng.integers(0, LEVELS, ROWS)]
    columns["y"] = np.where(rng.random(ROWS) < 0.5, "heads", "tails").tolist()
    prepare(pa.table(columns), None, Reading("y", metric="AUC"), folder / "dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RELIABLE", 0.0)
        yield folder / "dataset"


def aucs(folder: Path, dataset: Path) -> dict[str, float]:
    """The out-of-fold AUC of each algorithm's candidate, of a stacked one, and of the ensemble of all."""
    for name, params in SINGLE.items():
        finish(folder, dataset, name, name, params)
    stacked(folder, dataset)
    (folder / "ensemble").mkdir()
    trials = [folder / name for name in (*SINGLE, "stacked")]
    results = {path.name: json.loads((path / "result.json").read_text()) for path in trials}
    results["ensemble"] = ensemble.combine(folder / "ensemble", dataset, trials, "AUC")
    return {name: result["metrics"]["Train"]["AUC"] for name, result in results.items()}


def stacked(folder: Path, dataset: Path) -> dict[str, Any]:
    inputs = [str(folder / name) for name in SINGLE]
    return finish(folder, dataset, "stacked", "lightgbm", {"num_leaves": 7, "max_rounds": 40}, inputs)


def finish(
    folder: Path, dataset: Path, name: str, algorithm: str, params: dict[str, Any], inputs: list[str] | None = None
) -> dict[str, Any]:
    (folder / name).mkdir()
    trial = {"name": name, "algorithm": algorithm, "params": params, "folds": 3, "seed": 0, "metric": "AUC"}
    (folder / name / "trial.json").write_text(json.dumps({**trial, "inputs": inputs or []}))
    train.train(str(folder / name), str(dataset))
    return dict(json.loads((folder / name / "result.json").read_text()))


def leak(patch: pytest.MonkeyPatch) -> None:
    """Lets each fold's model learn from the rows that it will be judged on."""
    fit = bag._fit_fold

    def seeing(trial: Any, data: Dataset, fit_rows: Any, held_out: Any, *more: Any) -> Any:
        return fit(trial, data, np.union1d(fit_rows, held_out), held_out, *more)

    patch.setattr(bag, "_fit_fold", seeing)


def test_a_shuffled_target_scores_at_chance_in_every_layer(coin: Path, tmp_path: Path) -> None:
    scores = aucs(tmp_path, coin)
    assert set(scores) == {*SINGLE, "stacked", "ensemble"}
    assert max(scores.values()) < 0.5 + CHANCE, scores
    assert (tmp_path / "lightgbm/model/members/0/statistics.safetensors").exists()
    assert len(load_file(tmp_path / "linear-learner/model/members/0/linear.safetensors")["left"])


def test_models_that_saw_the_rows_that_judge_them_are_found_out_by_their_score(coin: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leak(patch)
        scores = aucs(tmp_path, coin)
    assert min(scores.values()) > 0.5 + CHANCE, scores


def test_a_second_layer_that_is_fed_by_models_that_saw_its_rows_is_found_out_too(coin: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        leak(patch)
        for name, params in SINGLE.items():
            finish(tmp_path, coin, name, name, params)
    assert stacked(tmp_path, coin)["metrics"]["Train"]["AUC"] > 0.5 + CHANCE
