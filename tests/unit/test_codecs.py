"""What a model server reads and writes, byte for byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pilothouse.errors import ConfigurationError
from pilothouse.hosting import codecs
from pilothouse.hosting.codecs import CSV, JSON, JSON_LINES, CodecError

COLUMNS = ["age", "city", "note"]
CLASSES = ["no", "yes"]
ALL = ["predicted_label", "probability", "probabilities", "labels"]


@dataclass
class Predicted:
    labels: list[str] | None = None
    values: Any = None
    probabilities: Any = None


CHURN = Predicted(labels=["no", "yes"], probabilities=np.array([[0.97, 0.03], [0.25, 0.75]]))
PRICES = Predicted(values=np.array([1.5, 2.0]))


def decode(body: str | bytes, content_type: str | None = CSV) -> list[list[str]]:
    return codecs.decode(body.encode() if isinstance(body, str) else body, content_type, COLUMNS)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("1,Oslo,x\n2,Rome,y\n", [["1", "Oslo", "x"], ["2", "Rome", "y"]]),
        ("1,Oslo,x", [["1", "Oslo", "x"]]),
        ("1,Oslo,x\r\n\r\n2,,\r\n\r\n", [["1", "Oslo", "x"], ["2", "", ""]]),
        ('1,"Oslo, Norway","two\nlines"\n', [["1", "Oslo, Norway", "two\nlines"]]),
        ('1,"say ""hi""",x', [["1", 'say "hi"', "x"]]),
        ("\n   \n1,Oslo,x\n", [["1", "Oslo", "x"]]),
        ("\ufeff1,Århus,x", [["1", "Århus", "x"]]),
    ],
)
def test_csv_rows_come_in_as_they_were_written(body: str, rows: list[list[str]]) -> None:
    assert decode(body) == rows


def test_a_blank_cell_is_a_row_when_there_is_one_column() -> None:
    assert codecs.decode(b"a\n \nb\n", CSV, ["only"]) == [["a"], [" "], ["b"]]


def test_csv_may_say_that_it_has_a_header() -> None:
    assert decode("age,city,note\n1,Oslo,x\n", "text/csv; header=present") == [["1", "Oslo", "x"]]


def test_under_a_header_columns_may_be_in_any_order_and_more() -> None:
    body = "city,extra,note,age\nOslo,0,x,1\n"
    assert decode(body, "text/csv; header=present") == [["1", "Oslo", "x"]]


@pytest.mark.parametrize(
    ("body", "content_type", "part"),
    [
        ("age,city\n1,Oslo\n", "text/csv; header=present", "The header lacks 1 of 3 columns: note."),
        ("age,city,note\n1,Oslo\n", "text/csv; header=present", "Row 1 has 2 cells under a header of 3."),
        ("age,city,note\n", "text/csv; header=present", "no rows"),
        ("age,city,note\n1,Oslo,x\n", CSV, "The first row holds the names of the columns."),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_a_sentence(body: str, content_type: str, part: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(body, content_type)
    assert caught.value.status == 400
    assert part in caught.value.message


def test_csv_may_be_in_another_charset() -> None:
    assert decode("1,Århus,x".encode("latin-1"), "text/csv; charset=latin-1") == [["1", "Århus", "x"]]


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [[1, "Oslo", None]]},
        {"instances": [{"features": [1, "Oslo", None]}]},
        {"instances": [{"city": "Oslo", "age": 1, "note": None, "more": True}]},
        {"features": [1.0, "Oslo", ""]},
        {"age": 1, "city": "Oslo", "note": ""},
        [[1, "Oslo", None]],
        [1, "Oslo", None],
        [{"age": 1, "city": "Oslo", "note": float("nan")}],
    ],
)
def test_json_rows_come_in_all_the_usual_shapes(document: Any) -> None:
    assert decode(json.dumps(document), JSON) == [["1", "Oslo", ""]]


def test_json_lines_hold_one_row_each() -> None:
    body = '[1, "Oslo", "x"]\n{"features": [2.5, "Rome", "y"]}\n\n{"age": true, "city": "Bonn", "note": "z"}\n'
    assert decode(body, JSON_LINES) == [["1", "Oslo", "x"], ["2.5", "Rome", "y"], ["True", "Bonn", "z"]]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "part"),
    [
        ("1,Oslo", CSV, 400, "Expected number of columns is 3. Number of columns in the received data is 2."),
        ("1,Oslo,x\n1,Oslo,x,y", CSV, 400, "Number of columns in the received data is 4. (Row 2;"),
        ("", CSV, 400, "no rows"),
        ("\n\n", CSV, 400, "no rows"),
        ('1,"Oslo,x', CSV, 400, "not valid CSV"),
        (b"\xff\xfe1", CSV, 400, "not utf-8 text"),
        ("1,Oslo,x", "text/csv; charset=klingon", 400, "not klingon text"),
        ("{", JSON, 400, "not valid JSON"),
        ("[" * 100_000, JSON, 400, "not valid JSON"),
        ("3", JSON, 400, "Send JSON rows as"),
        ("[]", JSON, 400, "no rows"),
        ('{"instances": []}', JSON, 400, "no rows"),
        ('{"instances": [[1, "Oslo", ["x"]]]}', JSON, 400, "A cell must be"),
        ('{"age": 1}', JSON, 400, "lacks 2 of 3 columns: city, note"),
        ('{"instances": [1, [2]]}', JSON, 400, "Send each row as"),
        ("3\n", JSON_LINES, 400, "Send each row as"),
        ("x", "application/x-npy", 415, "Content type 'application/x-npy' is not supported."),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(
    body: str | bytes, content_type: str, status: int, part: str
) -> None:
    with pytest.raises(CodecError) as caught:
        decode(body, content_type)
    assert caught.value.status == status
    assert part in caught.value.message


def test_no_content_type_means_csv() -> None:
    assert decode("1,Oslo,x", None) == [["1", "Oslo", "x"]]


def test_a_classifier_answers_csv_as_the_real_service_does() -> None:
    expected = """no,0.97,"[0.97, 0.03]","['no', 'yes']"\nyes,0.75,"[0.25, 0.75]","['no', 'yes']"\n"""
    assert codecs.encode(CHURN, ALL, CLASSES, CSV).decode() == expected


def test_members_come_in_the_order_that_was_asked_for() -> None:
    members = codecs.outputs({"SAGEMAKER_INFERENCE_OUTPUT": "probability , predicted_label"}, classification=True)
    assert codecs.encode(CHURN, members, CLASSES, CSV).decode() == "0.97,no\n0.75,yes\n"


def test_a_classifier_answers_with_the_label_alone_by_default() -> None:
    for environment in ({}, {"SAGEMAKER_INFERENCE_OUTPUT": ""}):
        assert codecs.outputs(environment, classification=True) == ["predicted_label"]
    assert codecs.encode(CHURN, ["predicted_label"], CLASSES, CSV) == b"no\nyes\n"


def test_json_answers_hold_one_object_a_row() -> None:
    answer = json.loads(codecs.encode(CHURN, ["predicted_label", "probabilities"], CLASSES, JSON))
    assert answer["predictions"][1] == {"predicted_label": "yes", "probabilities": [0.25, 0.75]}
    lines = codecs.encode(CHURN, ["probability"], CLASSES, JSON_LINES)
    assert lines == b'{"probability": 0.97}\n{"probability": 0.75}\n'


def test_regression_answers_one_number_a_row() -> None:
    members = codecs.outputs({"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label"}, classification=False)
    assert codecs.encode(PRICES, members, None, CSV) == b"1.5\n2.0\n"
    assert json.loads(codecs.encode(PRICES, members, None, JSON)) == {"predictions": [{"score": 1.5}, {"score": 2.0}]}


@pytest.mark.parametrize(
    ("environment", "classification"),
    [
        ({"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,certainty"}, True),
        ({"SAGEMAKER_INFERENCE_OUTPUT": "labels", "SAGEMAKER_INFERENCE_SUPPORTED": "predicted_label"}, True),
        ({"SAGEMAKER_INFERENCE_OUTPUT": "probabilities"}, False),
    ],
)
def test_an_output_that_the_model_does_not_give_is_a_configuration_error(
    environment: dict[str, str], classification: bool
) -> None:
    with pytest.raises(ConfigurationError, match="SAGEMAKER_INFERENCE_OUTPUT asks for"):
        codecs.outputs(environment, classification)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, CSV),
        ("", CSV),
        ("*/*", CSV),
        ("text/csv; charset=utf-8", CSV),
        ("application/json", JSON),
        ("application/json;q=0.5, application/jsonlines", JSON_LINES),
        ("image/png, application/json", JSON),
        ("application/*", JSON),
    ],
)
def test_the_answer_has_the_format_that_was_accepted(accept: str | None, chosen: str) -> None:
    assert codecs.accepted(accept, CSV) == chosen


def test_another_accept_type_is_refused_in_the_words_of_the_real_service() -> None:
    with pytest.raises(CodecError) as caught:
        codecs.accepted("application/x-recordio-protobuf", CSV)
    assert caught.value.status == 406
    assert caught.value.message.startswith("Accept type 'application/x-recordio-protobuf' is not supported.")


def test_the_container_says_what_is_answered_by_default() -> None:
    assert codecs.default_accept({}) == CSV
    assert codecs.default_accept({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json"}) == JSON
    with pytest.raises(ConfigurationError):
        codecs.default_accept({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "image/png"})
