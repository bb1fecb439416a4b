"""Candidates of several containers as a user of boto3 deploys them: in series, by name, and stage by stage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from pilothouse import engines
from pilothouse.catalog import images
from pilothouse.client.model import Model
from pilothouse.contract import recordio
from pilothouse.contract.pack import pack
from pilothouse.engines.base import Task
from pilothouse.problems.tabular import stages
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.verdict import Verdict

pytestmark = pytest.mark.slow

ROWS = "0.5,red\n-1.25,green\n,violet\n1e3,\n"
OUTPUT = "predicted_label,probability,probabilities"
FEATURES = {
    "AUTOML_TRANSFORM_MODE": "feature-transform",
    "AUTOML_SPARSE_ENCODE_RECORDIO_PROTOBUF": "1",
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/x-recordio-protobuf",
}
ALGORITHM = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv", "SAGEMAKER_INFERENCE_OUTPUT": OUTPUT}
LABELS = {
    "AUTOML_TRANSFORM_MODE": "inverse-label-transform",
    "SAGEMAKER_INFERENCE_INPUT": OUTPUT,
    "SAGEMAKER_INFERENCE_OUTPUT": f"{OUTPUT},labels",
}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the stages of a classifier of three classes and of a regressor, and their archives beside them."""
    folder = tmp_path_factory.mktemp("candidates")
    rng = np.random.default_rng(0)
    a, colour = rng.normal(size=600), rng.choice(["red", "green", "blue"], 600)
    score = a + (colour == "red") + 0.1 * rng.normal(size=600)
    columns = {"a": [f"{value:.5f}" for value in a], "colour": colour.tolist()}
    label = np.select([score < -0.3, score < 0.8], ["low", "middle"], "high").tolist()
    value = [f"{number:.6f}" for number in score]
    return {
        "classes": candidate(folder / "classes", pa.table({**columns, "y": label}), 2),
        "values": candidate(folder / "values", pa.table({**columns, "y": value}), 10),
    }


def candidate(folder: Path, table: pa.Table, one_hot: int) -> Path:
    data = prepare(table, None, Reading("y"), folder / "dataset")
    pipeline = DataPipeline.fit(PipelineSpec("dpp0", "xgboost", "raw", one_hot=one_hot), data.features)
    matrix = stages.as_features(pipeline.transform(data.features), pipeline.names)
    data = Dataset(**{**vars(data), "features": matrix})
    task = Task(data.problem_type, len(data.classes or []), "Accuracy" if data.classes else "MSE")
    model = engines.engine("xgboost").fit(matrix, data.y, None, task, {}, rounds=10)
    verdict = Verdict(None, None, {}, 0.0, 0.0, 0.0, 0.0)
    parts = folder / "stages"
    stages.save_features(parts / "features", data, pipeline)
    stages.save_algorithm(parts / "algorithm", [model], "xgboost", data, verdict, task.metric)
    if data.classes:
        stages.save_labels(parts / "labels", data.classes)
    for part in list(parts.iterdir()):
        pack(part, folder / f"{part.name}.tar.gz")
    return folder


def containers(user: Any, folder: Path, *, named: bool = False) -> list[dict[str, Any]]:
    """The definitions of a candidate's containers, as ListCandidatesForAutoMLJob gives them."""
    described = [
        ("features", images.TABULAR_TRANSFORM, FEATURES),
        ("algorithm", images.TABULAR_ALGORITHM, ALGORITHM),
        ("labels", images.TABULAR_TRANSFORM, LABELS),
    ]
    if not (folder / "labels.tar.gz").exists():
        described = [described[0], (*described[1][:2], {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label"})]
    return [
        user.container(f"registry/{image}", folder / f"{part}.tar.gz", part if named else None, **environment)
        for part, image, environment in described
    ]


def test_a_classifiers_containers_answer_as_its_stages_do_in_process(user: Any, candidates: dict[str, Path]) -> None:
    name = user.serve("classes", containers(user, candidates["classes"]))
    described = user.wait(name)
    assert len(described["ProductionVariants"][0]["DeployedImages"]) == 3
    answers = list(csv.reader(user.ask(name, ROWS).splitlines()))
    model = Model(candidates["classes"] / "stages")
    rows = [dict(zip(model.columns, line.split(","), strict=True)) for line in ROWS.splitlines()]
    assert [row[0] for row in answers] == model.predict(rows)
    expected = [list(one.values()) for one in model.predict_proba(rows)]
    assert [json.loads(row[2]) for row in answers] == expected
    assert [float(row[1]) for row in answers] == [max(row) for row in expected]
    assert {row[3] for row in answers} == {"['high', 'low', 'middle']"}
    document = json.loads(user.ask(name, ROWS, Accept="application/json"))
    assert [row["probabilities"] for row in document["predictions"]] == expected


def test_a_regressors_two_containers_answer_one_number_a_row(user: Any, candidates: dict[str, Path]) -> None:
    name = user.serve("values", containers(user, candidates["values"]))
    user.wait(name)
    answers = [float(line) for line in user.ask(name, ROWS).splitlines()]
    assert answers[0] > answers[1]
    row = json.dumps({"instances": [{"colour": "red", "a": 0.5}]})
    document = json.loads(user.ask(name, row, ContentType="application/json", Accept="application/json"))
    assert document == {"predictions": [{"score": answers[0]}]}


def test_the_stages_one_after_another_answer_as_the_pipeline(user: Any, candidates: dict[str, Path]) -> None:
    """Mode Direct: each container of one endpoint asked by its name."""
    mode = {"InferenceExecutionConfig": {"Mode": "Direct"}}
    name = user.serve("direct", containers(user, candidates["classes"], named=True), **mode)
    user.wait(name)
    matrix = user.invoke(name, ROWS, TargetContainerHostname="features")
    assert recordio.read(matrix).features.shape[0] == 4
    readable = user.ask(name, ROWS, TargetContainerHostname="features", Accept="text/csv")
    assert [float(line.split(",")[0]) for line in readable.splitlines()] == pytest.approx(
        [0.5, -1.25, float("nan"), 1e3], nan_ok=True
    )
    options = {"TargetContainerHostname": "algorithm", "ContentType": "application/x-recordio-protobuf"}
    numbers = user.ask(name, matrix, **options)
    assert numbers == user.ask(name, readable, TargetContainerHostname="algorithm")
    answers = user.ask(name, numbers, TargetContainerHostname="labels")
    series = user.serve("series", containers(user, candidates["classes"]))
    user.wait(series)
    assert answers == user.ask(series, ROWS)
    with pytest.raises(ClientError, match="Set TargetContainerHostname to one of features, algorithm, labels"):
        user.ask(name, ROWS)


def test_stages_of_different_models_fail_the_endpoint_with_the_reason(user: Any, candidates: dict[str, Path]) -> None:
    mixed = [containers(user, candidates["values"])[0], *containers(user, candidates["classes"])[1:]]
    described = user.wait(user.serve("mixed", mixed), "Failed")
    assert "They are of different models." in described["FailureReason"]


def test_containers_in_a_wrong_order_are_refused_at_once(user: Any, candidates: dict[str, Path]) -> None:
    with pytest.raises(ClientError, match=r"container-2 \(features\) cannot follow container-1 \(algorithm\)"):
        user.serve("wrong", containers(user, candidates["values"])[::-1])
