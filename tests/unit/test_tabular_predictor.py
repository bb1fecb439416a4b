"""Loading a model archive and answering rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import Column
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import InputError, Predictor, digest, load_predictor
from pilothouse.problems.tabular import predictor as tabular
from pilothouse.problems.tabular import voting

COLUMNS = [Column("x", "numeric", "", 0.0, 0, 0), Column("id", "ignored", "", 0.0, 0, 0)]


class _Shifted:
    """Takes column x, moved by what its folder is called, as the probability of the last class or as the value."""

    rounds = None

    def __init__(self, shift: float, classes: int) -> None:
        self.shift = shift
        self.classes = classes

    def predict(self, x: Features, rounds: int | None = None) -> np.ndarray:
        value = np.nan_to_num(x.numeric[:, 0].astype(float)) + self.shift
        if not self.classes:
            return value
        return np.column_stack([*[(1 - value) / (self.classes - 1)] * (self.classes - 1), value])


def _archive(directory: Path, classes: list[str] | None, problem_type: str, threshold: float | None = None) -> Path:
    FeaturePipeline.fit(pa.table({"x": ["1", "2"], "id": ["a", "b"]}), COLUMNS).save(directory / "pipeline")
    manifest = {
        "format": "pilothouse-model",
        "version": 1,
        "problem": "tabular",
        "problem_type": problem_type,
        "target": "y",
        "classes": classes,
        "columns": ["x", "id"],
        "threshold": threshold,
        "objective": "F1",
        "members": [
            {"path": "0.0", "engine": "lightgbm", "weight": 3},
            {"path": "0.4", "engine": "lightgbm", "weight": 1},
        ],
    }
    files = {str(path.relative_to(directory)): digest(path) for path in directory.rglob("*") if path.is_file()}
    (directory / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    return directory


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def loader(classes: list[str] | None, problem_type: str, threshold: float | None = None) -> Predictor:
        monkeypatch.setattr(tabular.engines, "load", lambda d, _: _Shifted(float(d.name), len(classes or [])))
        return load_predictor(_archive(tmp_path, classes, problem_type, threshold))

    return loader


def test_members_vote_by_weight(load: Any) -> None:
    prediction = load(None, "Regression").predict([["1", "a"], ["2.5", "b"], ["x", ""]])
    assert prediction.values.tolist() == pytest.approx([1.1, 2.6, 0.1])
    assert prediction.labels is prediction.probabilities is None


def test_binary_rows_are_positive_from_the_threshold_on(load: Any) -> None:
    prediction = load(["no", "yes"], "BinaryClassification", 0.3).predict([["0.19", ""], ["0.21", ""]])
    assert prediction.labels == ["no", "yes"]
    assert prediction.probabilities[:, 1].tolist() == pytest.approx([0.29, 0.31])


def test_the_most_probable_of_many_classes_wins(load: Any) -> None:
    prediction = load(["a", "b", "c"], "MulticlassClassification").predict([["0.1", ""], ["0.4", ""]])
    assert prediction.labels == ["a", "c"]


def test_a_predictor_knows_its_columns_and_classes(load: Any) -> None:
    predictor = load(["a", "b", "c"], "MulticlassClassification")
    assert (predictor.columns, predictor.classes) == (["x", "id"], ["a", "b", "c"])
    assert predictor.problem_type == "MulticlassClassification"


def test_rows_with_a_wrong_number_of_columns_are_refused_in_the_words_of_the_service(load: Any) -> None:
    predictor = load(None, "Regression")
    sentence = (
        r"^Received data of unknown size\. Expected number of columns is 2\. "
        r"Number of columns in the received data is 3\.$"
    )
    with pytest.raises(InputError, match=sentence):
        predictor.predict([["1", "a"], ["1", "a", "b"]])
    with pytest.raises(InputError, match="no rows"):
        predictor.predict([])


def test_many_rows_are_answered_in_batches(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "LEAST_BATCH", 3)
    prediction = load(None, "Regression").predict([[str(i), ""] for i in range(10)])
    assert prediction.values.tolist() == pytest.approx([i + 0.1 for i in range(10)])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"version": 4}, "version 4"), ({"format": "other"}, "'other'"), ({"problem": "poetry"}, "'poetry'")],
)
def test_models_of_another_kind_are_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    manifest = {"format": "pilothouse-model", "version": 1, "problem": "tabular"} | change
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match=complaint):
        load_predictor(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigurationError, match="holds no model"):
        load_predictor(tmp_path)


@pytest.mark.parametrize("path", ["../../etc", "/etc", "members/../../0"])
def test_a_manifest_cannot_name_a_folder_outside_of_its_archive(tmp_path: Path, path: str) -> None:
    manifest = json.loads((_archive(tmp_path, None, "Regression") / "manifest.json").read_text())
    manifest["members"] = [{"path": path, "engine": "lightgbm", "weight": 1}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match="outside"):
        load_predictor(tmp_path)


def _with_members(directory: Path, *members: dict[str, Any]) -> Path:
    manifest = json.loads((_archive(directory, None, "Regression") / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | {"members": members}))
    return directory


@pytest.mark.parametrize(
    "weights", [(), (0, 0.0), (1, -0.5), (1, float("nan")), (float("inf"),), (10**400,), ("1",), (None,)]
)
def test_members_must_have_weights_that_can_be_shares(tmp_path: Path, weights: tuple[Any, ...]) -> None:
    members = [{"path": str(i), "engine": "lightgbm", "weight": weight} for i, weight in enumerate(weights)]
    with pytest.raises(ConfigurationError, match="weights"):
        load_predictor(_with_members(tmp_path, *members))


def test_a_manifest_cannot_name_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="engine 'oracle'; this release has lightgbm"):
        load_predictor(_with_members(tmp_path, {"path": "0", "engine": "oracle", "weight": 1}))


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (["0"], "list of objects"),
        ({"path": "0"}, "list of objects"),
        ([{"path": "0"}, {"path": "./0/"}], "a path of its own"),
        ([{"path": 3}], "a path of its own"),
        ([{"path": str(i)} for i in range(1001)], "at most 1,000"),
    ],
)
def test_members_are_a_bounded_list_of_objects_with_paths_of_their_own(members: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        voting.listed(members)


def test_a_manifest_without_calibration_and_classes_has_no_calibration() -> None:
    assert tabular.calibration_of({}, 2) is None
