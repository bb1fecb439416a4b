"""Candidates of several containers as a user of boto3 deploys them: in series, by name, and stage by stage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.client.model import Model
from pilothouse.contract import recordio

pytestmark = pytest.mark.slow

ROWS = "0.5,red\n-1.25,green\n,violet\n1e3,\n"


def test_a_classifiers_containers_answer_as_its_stages_do_in_process(user: Any, candidates: dict[str, Path]) -> None:
    name = user.serve("classes", user.containers(candidates["classes"]))
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
    name = user.serve("values", user.containers(candidates["values"]))
    user.wait(name)
    answers = [float(line) for line in user.ask(name, ROWS).splitlines()]
    assert answers[0] > answers[1]
    row = json.dumps({"instances": [{"colour": "red", "a": 0.5}]})
    document = json.loads(user.ask(name, row, ContentType="application/json", Accept="application/json"))
    assert document == {"predictions": [{"score": answers[0]}]}


def test_the_stages_one_after_another_answer_as_the_pipeline(user: Any, candidates: dict[str, Path]) -> None:
    """Mode Direct: each container of one endpoint asked by its name."""
    mode = {"InferenceExecutionConfig": {"Mode": "Direct"}}
    name = user.serve("direct", user.containers(candidates["classes"], named=True), **mode)
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
    series = user.serve("series", user.containers(candidates["classes"]))
    user.wait(series)
    assert answers == user.ask(series, ROWS)
    with pytest.raises(ClientError, match="Set TargetContainerHostname to one of features, algorithm, labels"):
        user.ask(name, ROWS)


def test_stages_of_different_models_fail_the_endpoint_with_the_reason(user: Any, candidates: dict[str, Path]) -> None:
    mixed = [user.containers(candidates["values"])[0], *user.containers(candidates["classes"])[1:]]
    described = user.wait(user.serve("mixed", mixed), "Failed")
    assert "They are of different models." in described["FailureReason"]


def test_containers_in_a_wrong_order_are_refused_at_once(user: Any, candidates: dict[str, Path]) -> None:
    with pytest.raises(ClientError, match=r"container-2 \(features\) cannot follow container-1 \(algorithm\)"):
        user.serve("wrong", user.containers(candidates["values"])[::-1])
