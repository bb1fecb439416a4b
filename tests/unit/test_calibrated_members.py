"""Members of an ensemble that vote by a calibration of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.errors import ConfigurationError
from pilothouse.problems.evaluate import Array
from pilothouse.problems.tabular import ensemble, train, verdict, voting
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished, predictions
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.voting import Voter

ROWS = 600
QUESTIONS = [["0.3", "red"], ["-1.2", "blue"], ["", "green"]]
MAP = Calibration(2.5, [0.1, -0.2, 0.1])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of three classes, and two finished trials: a booster, and a forest that is not sure enough of itself."""
    folder = tmp_path_factory.mktemp("calibrated")
    rng = np.random.default_rng(0)
    x, color = rng.normal(size=ROWS), rng.choice(["red", "green", "blue"], ROWS)
    y = np.digitize(x + (color == "red") + 0.1 * rng.normal(size=ROWS), [-0.5, 0.8]).astype(str)
    table = pa.table({"x": [f"{v:.4f}" for v in x], "color": color.tolist(), "y": y.tolist()})
    prepare(table, None, Reading("y", problem_type="MulticlassClassification", min_rows=100), folder / "dataset")
    few = {"n_estimators": 20, "max_features": 0.3, "min_samples_leaf": 40}
    for name, algorithm, params in (("one", "lightgbm", {"max_rounds": 20}), ("two", "extra-trees", few)):
        (folder / name).mkdir()
        trial = {"name": name, "algorithm": algorithm, "params": params, "folds": 3, "seed": 0, "metric": "Accuracy"}
        (folder / name / "trial.json").write_text(json.dumps(trial))
        train.train(str(folder / name), str(folder / "dataset"))
    return folder


def test_a_trial_keeps_its_calibrated_predictions(job: Path) -> None:
    data, two = Dataset.load(job / "dataset"), Finished.load(job / "two")
    assert two.calibration is not None
    assert two.calibration.scale > 1.2
    assert two.applied is None
    calibrated = two.calibrated()
    assert calibrated.applied == two.calibration
    np.testing.assert_allclose(calibrated.oof, predictions(job / "two", "calibrated"))
    np.testing.assert_allclose(calibrated.validation, two.calibration(two.validation), rtol=1e-5)
    y = data.y[data.rows(TRAIN)]
    judged = json.loads((job / "two" / "result.json").read_text())["metrics"]["Train"]["LogLoss"]
    assert -np.log(calibrated.oof[np.arange(len(y)), y]).mean() == pytest.approx(judged, abs=1e-6)


def test_an_archive_votes_by_its_members_calibrations(job: Path, tmp_path: Path) -> None:
    data = Dataset.load(job / "dataset")
    one, two = replace(Finished.load(job / "one"), applied=MAP), replace(Finished.load(job / "two"), applied=None)
    reached = replace(verdict.reach(data, "Accuracy", one.oof, one.validation, folds(data)), calibration=None)
    ensemble.compose(tmp_path / "model", [(one, 0.75), (two, 0.25)], data, reached, "Accuracy")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["version"] == 3
    voting_by = [member.get("calibration") for member in manifest["members"]]
    assert voting_by[0] == MAP.document()
    assert voting_by[-1] is None

    rows = data.pipeline().transform_rows(QUESTIONS)
    answers = [[v.model.predict(rows) for v in TabularPredictor.load(job / name / "model").members] for name in TWO]
    expected = 0.75 * np.mean([MAP(answer) for answer in answers[0]], axis=0) + 0.25 * np.mean(answers[1], axis=0)
    found = TabularPredictor.load(tmp_path / "model").predict(QUESTIONS).probabilities
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-9)


TWO = ("one", "two")


def folds(data: Dataset) -> Array:
    return np.asarray(data.folds[data.rows(TRAIN)])


def test_a_member_feeds_others_what_it_says_without_its_calibration(job: Path) -> None:
    data = Dataset.load(job / "dataset")
    rows = data.pipeline().transform_rows(QUESTIONS)
    model = TabularPredictor.load(job / "two" / "model").members[0].model

    class Sees:
        rounds = None

        def predict(self, x: object, rounds: int | None = None) -> Array:
            self.seen = np.asarray(x.numeric)[:, -3:]  # type: ignore[attr-defined]
            return np.full((len(QUESTIONS), 3), 1 / 3)

    plain, calibrated = Sees(), Sees()
    for second, own in ((plain, None), (calibrated, MAP)):
        voting.vote([Voter(0.5, model, calibration=own), Voter(0.5, second, inputs=((0,),))], rows)
    np.testing.assert_array_equal(plain.seen, calibrated.seen)


def made(folder: Path, name: str, data: Dataset, sure: float, noise: float, trust: float = 1.0) -> Finished:
    """A candidate that is right as often as `noise` lets it, and as `sure` of it as told; its calibration makes up for
    that in the training rows, and `trust` times so in the validation rows.
    """
    parts = {}
    for part in (TRAIN, VALIDATION):
        y = data.y[data.rows(part)]
        scores = 3.0 * np.eye(3)[y] + np.random.default_rng(len(name) + part).normal(scale=noise, size=(len(y), 3))
        parts[part] = softmax(scores)
    (folder / name).mkdir()
    np.save(folder / name / "calibrated.npy", parts[TRAIN])
    flat = Calibration(sure)
    return Finished(
        folder / name,
        name,
        "lightgbm",
        flat(parts[TRAIN]),
        flat(parts[VALIDATION]),
        calibration=Calibration(trust / sure),
    )


def softmax(scores: Array) -> Array:
    p = np.exp(scores)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def test_who_is_not_sure_enough_gets_its_share_once_it_is_calibrated(job: Path, tmp_path: Path) -> None:
    data = Dataset.load(job / "dataset")
    modest = made(tmp_path, "modest", data, sure=0.1, noise=1.0)
    plain = replace(made(tmp_path, "plain", data, sure=1.0, noise=2.0), calibration=None)
    selected = ensemble.choose(data, "Accuracy", [modest, plain])
    weights = {one.name: (weight, one.applied is not None) for one, weight in selected.voters()}
    assert weights["modest"][0] > 0.5
    assert weights["modest"][1]
    alone = ensemble.choose(data, "Accuracy", [replace(modest, calibration=None), plain])
    assert selected.score > alone.score


def test_a_calibration_that_the_validation_rows_contradict_is_left_out(job: Path, tmp_path: Path) -> None:
    data = Dataset.load(job / "dataset")
    modest = made(tmp_path, "modest", data, sure=0.5, noise=1.0, trust=0.02)
    plain = replace(made(tmp_path, "plain", data, sure=1.0, noise=2.0), calibration=None)
    selected = ensemble.choose(data, "Accuracy", [modest, plain])
    assert all(one.applied is None for one, _ in selected.voters())


def test_a_members_calibration_that_cannot_be_applied_is_refused(job: Path, tmp_path: Path) -> None:
    data = Dataset.load(job / "dataset")
    one = replace(Finished.load(job / "one"), applied=Calibration(2.0, [0.5]))
    reached = verdict.reach(data, "Accuracy", one.oof, one.validation, folds(data))
    ensemble.compose(tmp_path / "model", [(one, 1.0)], data, reached, "Accuracy")
    with pytest.raises(ConfigurationError, match="calibration"):
        TabularPredictor.load(tmp_path / "model")
