"""A model folder, with a predictor that only counts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pilothouse.cli import main
from pilothouse.client.model import Model
from pilothouse.errors import DataError
from pilothouse.problems import staged
from pilothouse.problems.base import Prediction


class FakePredictor:
    columns = ["b", "a"]

    def __init__(self, classes: list[str] | None) -> None:
        self.classes = classes
        self.problem_type = "BinaryClassification" if classes else "Regression"

    def predict(self, rows: list[list[str]]) -> Prediction:
        values = np.array([float(b) + 10 * float(a) for b, a in rows])
        if self.classes is None:
            return Prediction(values=values)
        positive = values / 100
        labels = [self.classes[int(p > 0.5)] for p in positive]
        return Prediction(labels=labels, probabilities=np.column_stack([1 - positive, positive]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    return tmp_path / "model"


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "load", lambda _: ("predictor", FakePredictor(["no", "yes"])))


@pytest.fixture
def regressor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "load", lambda _: ("predictor", FakePredictor(None)))


ROWS: list[dict[str, Any]] = [{"a": 2, "b": 5}, {"a": 7, "b": 5}]


@pytest.mark.usefixtures("classifier")
def test_a_classifier_predicts_labels_and_probabilities(folder: Path) -> None:
    model = Model(folder)
    assert model.predict(ROWS) == ["no", "yes"]
    assert model.predict_proba(ROWS) == [{"no": 0.75, "yes": 0.25}, {"no": 0.25, "yes": 0.75}]


@pytest.mark.usefixtures("regressor")
def test_a_regressor_predicts_values_and_has_no_probabilities(folder: Path) -> None:
    assert Model(folder).predict(ROWS) == [25.0, 75.0]
    with pytest.raises(DataError, match="Use predict"):
        Model(folder).predict_proba(ROWS)


@pytest.mark.usefixtures("classifier")
def test_predictions_are_csv_with_a_header(folder: Path) -> None:
    out = io.StringIO()
    assert Model(folder).write_predictions(io.StringIO("y,a,b\nno,2,5\nno,7,5\n"), out) == 2
    assert out.getvalue() == (
        "predicted_label,probability,probability_no,probability_yes\nno,0.75,0.75,0.25\nyes,0.75,0.25,0.75\n"
    )


@pytest.mark.usefixtures("regressor")
def test_a_file_without_rows_gives_a_header_only(folder: Path) -> None:
    out = io.StringIO()
    assert Model(folder).write_predictions(io.StringIO("a,b\n"), out) == 0
    assert out.getvalue() == "prediction\n"


@pytest.mark.usefixtures("regressor")
def test_the_command_reads_stdin_and_writes_stdout(folder: Path) -> None:
    result = CliRunner().invoke(main, ["predict", str(folder), "-"], input="b,a\n5,2\n")
    assert result.stdout == "prediction\n25.0\n"


@pytest.mark.usefixtures("regressor")
def test_the_command_names_a_missing_column(folder: Path) -> None:
    result = CliRunner().invoke(main, ["predict", str(folder), "-"], input="b\n5\n")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "columns that the model was trained on: a." in result.stderr


def test_a_folder_that_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a model folder"):
        Model(tmp_path)


def test_archives_in_folders_of_their_own_are_one_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "load_staged", lambda _: FakePredictor(["no", "yes"]))
    assert Model(folder.parent).predict(ROWS) == ["no", "yes"]


def test_one_archive_of_several_asks_for_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "load", lambda _: ("features", None))
    with pytest.raises(DataError, match="is one stage of a candidate, its features"):
        Model(folder)


def test_a_model_of_several_archives_is_not_exported(folder: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(folder.parent), "--format", "onnx"])
    assert result.exit_code == 1
    assert "A candidate of several containers cannot be exported." in result.stderr
