"""Models of several containers: stage by stage, in series, one by one, and what does not go together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pilothouse.errors import ConfigurationError
from pilothouse.hosting import pipeline as pipelines
from pilothouse.hosting.media import CSV, JSON, JSON_LINES, RECORDIO
from pilothouse.hosting.replica import TARGET, ModelServer
from pilothouse.problems import staged
from pilothouse.problems.base import InputError, Prediction

ALL = "predicted_label,labels,probability,probabilities"
HANDED_ON = "predicted_label,probability,probabilities"
FIRST = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": RECORDIO, "AUTOML_TRANSFORM_MODE": "feature-transform"}
SECOND = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": CSV, "SAGEMAKER_INFERENCE_OUTPUT": HANDED_ON}
THIRD = {"SAGEMAKER_INFERENCE_INPUT": HANDED_ON, "SAGEMAKER_INFERENCE_OUTPUT": ALL}
ROWS = b"0.3,Oslo\n,Rome\n0.45,Bonn\n1,Oslo\n"


@dataclass
class Features:
    """A number as it is, and whether the city is Rome."""

    columns: list[str] = field(default_factory=lambda: ["number", "city"])
    names: list[str] = field(default_factory=lambda: ["number", "rome"])

    def transform(self, rows: list[list[str]]) -> Any:
        if any(len(row) != 2 for row in rows):
            raise InputError("Received data of unknown size.")
        return np.array([[float(number or "nan"), city == "Rome"] for number, city in rows], np.float32)


@dataclass
class Algorithm:
    """Probabilities that depend on the row alone; fails for a number of -1."""

    classes_count: int
    width: int = 2
    threshold: float | None = None

    @property
    def problem_type(self) -> str:
        return {0: "Regression", 2: "BinaryClassification"}.get(self.classes_count, "MulticlassClassification")

    def predict(self, matrix: Any) -> Any:
        if (matrix[:, 0] == -1).any():
            raise RuntimeError("out of order")
        numbers = np.nan_to_num(matrix[:, 0].astype(np.float64), nan=0.9) / 3
        if not self.classes_count:
            return numbers
        rest = np.tile((1 - numbers)[:, None] / (self.classes_count - 1), self.classes_count - 1)
        return np.column_stack([rest, numbers])


@dataclass
class Labels:
    classes: list[str]


class Whole:
    """The stages as one predictor."""

    def __init__(self, algorithm: Algorithm, labels: Labels | None) -> None:
        self.staged = staged.StagedPredictor(Features(), algorithm, labels)
        self.columns, self.problem_type, self.classes = (
            self.staged.columns,
            self.staged.problem_type,
            self.staged.classes,
        )

    def predict(self, rows: list[list[str]]) -> Prediction:
        return self.staged.predict(rows)


STAGES: dict[str, tuple[str, Any]] = {
    "features": ("features", Features()),
    "wider": ("features", Features(names=["a", "b", "c"])),
    "binary": ("algorithm", Algorithm(2, threshold=0.25)),
    "multiclass": ("algorithm", Algorithm(3)),
    "regression": ("algorithm", Algorithm(0)),
    "yes": ("labels", Labels(["no", "yes, of course"])),
    "colours": ("labels", Labels(["red", "green", "blue"])),
    "whole": ("predictor", Whole(Algorithm(3), Labels(["red", "green", "blue"]))),
    "number": ("predictor", Whole(Algorithm(0), None)),
}


@pytest.fixture(autouse=True)
def archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that hold the stages of their names."""
    monkeypatch.setattr("pilothouse.problems.staged.load", lambda folder: STAGES[folder.name])


def definition(name: str, **environment: str) -> dict[str, Any]:
    return {"name": name, "model": f"/archives/{name}", "environment": environment}


def server(*definitions: dict[str, Any], direct: bool = False) -> ModelServer:
    return ModelServer.load(definitions, direct)


def ask(model: ModelServer, body: bytes, **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(model.app())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return await client.post("/invocations", content=body, headers={"content-type": CSV, **named})

    return asyncio.run(send())


def classifier(algorithm: str = "multiclass", labels: str = "colours") -> list[dict[str, Any]]:
    return [definition("features", **FIRST), definition(algorithm, **SECOND), definition(labels, **THIRD)]


def regressor() -> list[dict[str, Any]]:
    return [definition("features", **FIRST), definition("regression", SAGEMAKER_INFERENCE_OUTPUT="predicted_label")]


def one_after_another(definitions: list[dict[str, Any]], body: bytes, accept: str) -> bytes:
    """What the containers answer in models of their own, each asked what the one before it answered."""
    content_type = CSV
    for number, one in enumerate(definitions, start=1):
        headers = {"accept": accept} if number == len(definitions) else {}
        answer = ask(server(one), body, content_type=content_type, **headers)
        assert answer.status_code == 200, answer.text
        body, content_type = answer.content, answer.headers["content-type"]
    return body


@pytest.mark.parametrize("between", [CSV, RECORDIO])
@pytest.mark.parametrize("accept", [CSV, JSON, JSON_LINES])
@pytest.mark.parametrize("make", [classifier, regressor, lambda: classifier("binary", "yes")])
def test_in_series_the_answer_is_that_of_the_containers_one_after_another(
    make: Callable[[], list[dict[str, Any]]], accept: str, between: str
) -> None:
    definitions = make()
    definitions[0]["environment"]["SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"] = between
    answer = ask(server(*definitions), ROWS, accept=accept)
    assert answer.headers["content-type"].split(";")[0] == accept
    assert answer.content == one_after_another(definitions, ROWS, accept)


def test_many_rows_in_batches_are_answered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask(server(*classifier()), ROWS * 50).content
    monkeypatch.setattr(pipelines, "BATCH", 7)
    assert ask(server(*classifier()), ROWS * 50).content == whole
    assert ask(server(*regressor()), ROWS * 50).content == ask(server(*regressor()), ROWS).content * 50


@pytest.mark.parametrize("accept", [CSV, JSON, JSON_LINES])
def test_a_pipeline_answers_in_the_form_of_a_single_container(accept: str) -> None:
    for pipeline, single in ((classifier(), "whole"), (regressor(), "number")):
        environment = {"SAGEMAKER_INFERENCE_OUTPUT": ALL} if single == "whole" else {}
        expected = ask(server(definition(single, **environment)), ROWS, accept=accept).content
        assert ask(server(*pipeline), ROWS, accept=accept).content == expected


def test_json_goes_in_as_for_a_single_container() -> None:
    body = json.dumps({"instances": [{"city": "Rome", "number": None}, [0.3, "Oslo"]]}).encode()
    answer = ask(server(*classifier()), body, content_type=JSON)
    assert [line.split(",")[0] for line in answer.text.splitlines()] == ["red", "red"]


def test_the_features_alone_answer_numbers() -> None:
    csv = ask(server(definition("features", **FIRST)), b"0.1,Rome\n,Oslo\n", accept=CSV)
    assert csv.text == "0.10000000149011612,1.0\nnan,0.0\n"
    records = ask(server(definition("features", **FIRST)), b"0.1,Rome\n")
    assert records.headers["content-type"] == RECORDIO
    assert records.content.startswith(bytes.fromhex("0a23d7ce"))
    assert ask(server(definition("features", **FIRST)), ROWS, accept=JSON).status_code == 406


def test_the_algorithm_alone_answers_class_numbers_and_the_probability_of_the_true_class_of_two() -> None:
    environment = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label, probability"}
    binary = ask(server(definition("binary", **environment)), b"0.6,0\n0.9,1\n")
    assert [row.split(",")[0] for row in binary.text.split()] == ["0", "1"]
    assert [float(row.split(",")[1]) for row in binary.text.split()] == pytest.approx([0.2, 0.3])
    several = ask(server(definition("multiclass", **environment)), b"0.6,0\n3,1\n")
    assert [row.split(",")[0] for row in several.text.split()] == ["0", "2"]
    assert [float(row.split(",")[1]) for row in several.text.split()] == pytest.approx([0.4, 1.0])


def test_the_labels_alone_turn_class_numbers_into_labels() -> None:
    assert ask(server(definition("yes")), b"1\n0\n1.0\n").text == '"yes, of course"\nno\n"yes, of course"\n'
    listed = definition("yes", SAGEMAKER_INFERENCE_INPUT="probability", SAGEMAKER_INFERENCE_OUTPUT="labels,probability")
    assert ask(server(listed), b"0.25\n", accept=JSON).json() == {
        "predictions": [{"labels": ["no", "yes, of course"], "probability": 0.25}]
    }


def test_what_the_first_container_cannot_read_is_the_callers_fault() -> None:
    answer = ask(server(*classifier()), b"1\n")
    assert (answer.status_code, answer.text.partition(".")[0]) == (400, "Received data of unknown size")
    assert ask(server(*classifier()), ROWS, content_type=RECORDIO).status_code == 415
    assert ask(server(*classifier()), ROWS, accept=RECORDIO).status_code == 406


def test_a_container_that_fails_is_named() -> None:
    answer = ask(server(*classifier()), b"-1,Oslo\n")
    assert (answer.status_code, answer.text) == (500, "The prediction failed: multiclass: RuntimeError: out of order")


@pytest.mark.parametrize(
    ("definitions", "part"),
    [
        (
            [definition("multiclass"), definition("features")],
            "features (features) cannot follow multiclass (algorithm).",
        ),
        ([definition("whole"), definition("yes")], "yes (labels) cannot follow whole (predictor)."),
        ([definition("wider"), definition("binary")], "There are 3 features, and the algorithm takes 2."),
        ([definition("binary"), definition("colours")], "predicts 2 classes, and there are labels for 3."),
        ([definition("regression"), definition("colours")], "predicts no classes, and there are labels for 3."),
        (
            [definition("binary", SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=JSON), definition("yes")],
            "binary answers application/json, which yes does not read.",
        ),
        (
            [definition("binary", **SECOND), definition("yes")],
            "binary answers predicted_label, probability, probabilities, and yes expects predicted_label.",
        ),
        (
            [definition("features"), definition("binary", SAGEMAKER_INFERENCE_OUTPUT="labels")],
            "binary: SAGEMAKER_INFERENCE_OUTPUT asks for 'labels', which the algorithm of a classification model does",
        ),
        ([definition("yes", SAGEMAKER_INFERENCE_INPUT="labels")], "INPUT names 'labels', which no container hands on."),
        (
            [definition("yes", SAGEMAKER_INFERENCE_OUTPUT="probability")],
            "which a container that receives predicted_label (SAGEMAKER_INFERENCE_INPUT) does not give",
        ),
        ([definition("features", SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=JSON)], "Accept type 'application/json' is not"),
    ],
)
def test_containers_that_do_not_go_together_are_refused_when_loaded(
    definitions: list[dict[str, Any]], part: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        server(*definitions)
    assert part in caught.value.message


def test_direct_containers_answer_by_name() -> None:
    model = server(definition("whole"), definition("number"), definition("yes"), direct=True)
    assert ask(model, b"3,Oslo\n", **{TARGET: "whole"}).text == "blue\n"
    assert ask(model, b"3,Oslo\n", **{TARGET: "number"}).text == "1.0\n"
    for headers in ({}, {TARGET: "gone"}):
        answer = ask(model, b"3,Oslo\n", **headers)
        assert (answer.status_code, "There is whole, number, yes." in answer.text) == (400, True)


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir()
        (root / name / "manifest.json").write_text("{}")
    return root


def test_stages_in_folders_predict_as_one(tmp_path: Path) -> None:
    predictor = staged.load_staged(folders(tmp_path, "yes", "binary", "features"))
    assert (predictor.columns, predictor.classes) == (["number", "city"], ["no", "yes, of course"])
    prediction = predictor.predict([["0.3", "Oslo"], ["1", "Rome"]])
    assert prediction.labels == ["no", "yes, of course"]
    assert prediction.probabilities is not None
    assert prediction.probabilities[1].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_regression_needs_no_labels(tmp_path: Path) -> None:
    predictor = staged.load_staged(folders(tmp_path, "features", "regression"))
    assert predictor.classes is None
    values = predictor.predict([["0.3", "Oslo"]]).values
    assert values is not None
    assert values.tolist() == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["features", "binary"], "holds the archives algorithm, features. A model in parts is one each of"),
        (["features", "wider", "binary", "yes"], "holds the archives algorithm, features, features, labels."),
        (["features", "regression", "yes"], "one each of algorithm, features."),
        (["wider", "binary", "yes"], "There are 3 features, and the algorithm takes 2."),
        (["features", "binary", "colours"], "labels for 3. They are of different models."),
    ],
)
def test_stages_that_are_no_model_are_refused(tmp_path: Path, names: list[str], part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        staged.load_staged(folders(tmp_path, *names))
    assert part in caught.value.message
