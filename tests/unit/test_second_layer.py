"""The second layer: models that also see what the first layer predicts, in training, in archives and in the vote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import load_predictor
from pilothouse.problems.tabular import ensemble, stack, train, verdict, voting
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.read import Reading, prepare

ROWS = 400
QUESTIONS = [["0.3", "red"], ["-1.2", "blue"], ["", "green"]]


def job(folder: Path, kind: str) -> Path:
    """Data of the problem type, and two finished trials of the first layer, `a` and `b`."""
    rng = np.random.default_rng(0)
    x, color = rng.normal(size=ROWS), rng.choice(["red", "green", "blue"], ROWS)
    signal = x + (color == "red") + 0.5 * rng.normal(size=ROWS)
    y = {
        "Regression": [f"{value:.4f}" for value in signal],
        "BinaryClassification": np.where(signal > 0.3, "yes", "no").tolist(),
        "MulticlassClassification": np.digitize(signal, [-0.5, 0.8]).astype(str).tolist(),
    }[kind]
    table = pa.table({"x": [f"{v:.4f}" for v in x], "color": color.tolist(), "y": y})
    prepare(table, None, Reading("y", problem_type=kind, min_rows=100), folder / "dataset")
    finish(folder, "a", params={"num_leaves": 7, "max_rounds": 20})
    finish(folder, "b", params={"num_leaves": 3, "max_rounds": 20}, seed=100)
    return folder


def finish(folder: Path, name: str, **document: Any) -> dict[str, Any]:
    """Trains a trial as a job would."""
    (folder / name).mkdir()
    metric = Dataset.load(folder / "dataset").metric
    trial = {"name": name, "algorithm": "lightgbm", "params": {}, "folds": 3, "seed": 0, "metric": metric} | document
    (folder / name / "trial.json").write_text(json.dumps(trial))
    train.train(str(folder / name), str(folder / "dataset"))
    return dict(json.loads((folder / name / "result.json").read_text()))


def manifest(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / name / "model" / "manifest.json").read_text()))


def answers(folder: Path, name: str) -> Any:
    prediction = TabularPredictor.load(folder / name / "model").predict(QUESTIONS)
    return prediction.values if prediction.probabilities is None else prediction.probabilities


@pytest.mark.parametrize("kind", ["Regression", "BinaryClassification", "MulticlassClassification"])
def test_a_second_layer_candidate_deploys_alone_with_all_that_feeds_it(tmp_path: Path, kind: str) -> None:
    job(tmp_path, kind)
    result = finish(tmp_path, "top", inputs=[str(tmp_path / "a"), str(tmp_path / "b")], params={"max_rounds": 20})
    assert result["layer"] == 2
    written = manifest(tmp_path, "top")
    assert written["version"] == 2
    assert [member.get("inputs") for member in written["members"]] == [None, None, [[0], [1]]]
    assert [member["weight"] for member in written["members"]] == [0, 0, 1]
    data, own = Dataset.load(tmp_path / "dataset"), load_predictor(tmp_path / "top" / "model")
    assert isinstance(own, TabularPredictor)
    rows = data.pipeline().transform_rows(QUESTIONS)
    fed = stack.extended(rows, [own.members[i].model.predict(rows) for i in (0, 1)])
    expected = own.members[2].model.predict(fed)
    expected = expected if own.calibration is None else own.calibration(expected)
    np.testing.assert_allclose(answers(tmp_path, "top"), expected, atol=1e-9)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = job(tmp_path_factory.mktemp("binary"), "BinaryClassification")
    finish(folder, "top", inputs=[str(folder / "a"), str(folder / "b")], params={"max_rounds": 20})
    return folder


def test_training_rows_are_fed_predictions_of_models_that_did_not_see_them(binary: Path) -> None:
    data, fed = Dataset.load(binary / "dataset"), stack.inputs([binary / "a", binary / "b"])
    columns = stack.stacked(data, fed).features.numeric[:, -2:]
    for part, name in ((TRAIN, "oof"), (VALIDATION, "validation")):
        p = np.load(binary / "a" / f"{name}.npy").astype(float)
        np.testing.assert_allclose(columns[data.rows(part), 0], np.log(p[:, 1] / p[:, 0]), rtol=1e-5)


def test_a_row_has_the_same_second_layer_features_alone_and_in_a_batch(binary: Path) -> None:
    own = TabularPredictor.load(binary / "top" / "model")
    together = own.predict(QUESTIONS).probabilities
    alone = [own.predict([question]).probabilities for question in QUESTIONS]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-9)


def test_trials_on_other_folds_do_not_feed(binary: Path) -> None:
    finish(binary, "other", folds=2, params={"max_rounds": 5})
    assert [one.name for one in stack.inputs([binary / "a", binary / "other", binary / "b"])] == ["a", "b"]


def test_a_second_layer_trial_does_not_feed_another(binary: Path) -> None:
    assert [one.name for one in stack.inputs([binary / "a", binary / "top"])] == ["a"]
    with pytest.raises(ConfigurationError, match="first layer"):
        stack.inputs([binary / "top"])


def test_trials_with_as_many_folds_are_on_the_same_whatever_their_seeds(binary: Path) -> None:
    digests = {json.loads((binary / name / "result.json").read_text())["folds_digest"] for name in ("a", "b", "top")}
    assert len(digests) == 1


def test_an_archive_of_both_layers_holds_each_model_once(binary: Path, tmp_path: Path) -> None:
    data = Dataset.load(binary / "dataset")
    top, a = (Finished.load(binary / name) for name in ("top", "a"))
    reached = verdict.reach(data, "F1", top.oof, top.validation, data.folds[data.rows(TRAIN)])
    archive = ensemble.compose(tmp_path / "model", [(top, 0.75), (a, 0.25)], data, reached, "F1")
    members = json.loads((archive / "manifest.json").read_text())["members"]
    assert [member["weight"] for member in members] == [0.25, 0, 0.75]
    both = TabularPredictor.load(archive)
    both = TabularPredictor(**{**vars(both), "calibration": None})
    expected = 0.75 * _uncalibrated(binary / "top") + 0.25 * _uncalibrated(binary / "a")
    np.testing.assert_allclose(both.predict(QUESTIONS).probabilities, expected, atol=1e-9)


def _uncalibrated(trial: Path) -> Any:
    own = TabularPredictor.load(trial / "model")
    return TabularPredictor(**{**vars(own), "calibration": None}).predict(QUESTIONS).probabilities


@pytest.mark.parametrize("inputs", [[[2]], [[7]], [[-1]], [[]], "0", [0], [[True]], [["0"]]])
def test_a_manifest_with_impossible_inputs_is_refused(inputs: Any) -> None:
    members = [{"weight": 0}, {"weight": 0}, {"weight": 1, "inputs": inputs}]
    with pytest.raises(ConfigurationError, match="inputs"):
        voting.feeds(members)


def test_a_candidate_without_a_second_layer_stays_readable_by_the_first_release(binary: Path) -> None:
    written = manifest(binary, "a")
    assert written["version"] == (2 if "calibration" in written else 1)
    assert all(set(member) == {"path", "engine", "weight"} for member in written["members"])


@pytest.mark.parametrize(("classes", "rounds"), [(3, 10), (60, 2)])
def test_rare_and_many_classes_and_weights_go_through_both_layers(tmp_path: Path, classes: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    y = np.digitize(x + 0.3 * rng.normal(size=ROWS), np.linspace(-2, 2, classes - 2))
    y[:2] = classes - 1
    weight = rng.integers(0, 3, ROWS).astype(float)
    table = pa.table({"x": [f"{v:.4f}" for v in x], "y": y.astype(str).tolist(), "w": weight.astype(str).tolist()})
    reading = Reading("y", problem_type="MulticlassClassification", weight="w", metric="BalancedAccuracy", min_rows=100)
    prepare(table, None, reading, tmp_path / "dataset")
    few = {"max_rounds": rounds, "min_data_in_leaf": 5}
    finish(tmp_path, "a", params=few)
    finish(tmp_path, "b", params={"l2": 1.0}, algorithm="linear-learner")
    finish(tmp_path, "top", params=few, inputs=[str(tmp_path / "a"), str(tmp_path / "b")])
    folders = [tmp_path / name for name in ("a", "b", "top")]
    (tmp_path / "all").mkdir()
    result = ensemble.combine(tmp_path / "all", tmp_path / "dataset", folders, "BalancedAccuracy", seconds=5.0)
    assert sum(member["weight"] for member in result["members"]) == pytest.approx(1.0)
    assert 0 < result["ranking"] <= 1
    probabilities = load_predictor(tmp_path / "all" / "model").predict([["0.1"], ["-1"]]).probabilities
    np.testing.assert_allclose(np.asarray(probabilities).sum(axis=1), 1.0)
