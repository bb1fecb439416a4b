"""What a model server reads and writes, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pilothouse.catalog import hosting
from pilothouse.errors import ConfigurationError
from pilothouse.hosting import answers, matrices, media, rows
from pilothouse.hosting.answers import Answers
from pilothouse.hosting.media import CSV, JSON, JSON_LINES, RECORDIO, CodecError

COLUMNS = ["age", "city", "note"]
CLASSES = ["no", "yes"]
ALL = ["predicted_label", "probability", "probabilities", "labels"]


ROWS = [["no", 0.97, [0.97, 0.03], CLASSES], ["yes", 0.75, [0.25, 0.75], CLASSES]]
CHURN = Answers(ALL, ROWS)
PRICES = Answers(["score"], [[1.5], [2.0]])


def decode(body: str | bytes, content_type: str | None = CSV) -> list[list[str]]:
    return rows.decode(body.encode() if isinstance(body, str) else body, content_type, COLUMNS)


@pytest.mark.parametrize(
    ("body", "expected"),
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
def test_csv_rows_come_in_as_they_were_written(body: str, expected: list[list[str]]) -> None:
    assert decode(body) == expected


def test_a_blank_cell_is_a_row_when_there_is_one_column() -> None:
    assert rows.decode(b"a\n \nb\n", CSV, ["only"]) == [["a"], [" "], ["b"]]


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
    assert (
        decode("1,Århus,x".encode("latin-1"), CSV) == decode("1,Århus,x".encode("utf-16"), CSV) == [["1", "Århus", "x"]]
    )


def test_other_delimiters_are_read_where_only_they_fit_the_columns() -> None:
    assert decode("1,5;Oslo;x\n2;Rome;", CSV) == [["1,5", "Oslo", "x"], ["2", "Rome", ""]]
    assert decode('1\t"a\tb"\tx\n', CSV) == [["1", "a\tb", "x"]]
    assert decode("1;2,Oslo,a;b", CSV) == [["1;2", "Oslo", "a;b"]]
    assert decode("note|city|more|age\nx|Oslo|?|1\n", "text/csv; header=present") == [["1", "Oslo", "x"]]


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
    assert answers.encode(CHURN, CSV).decode() == expected


def test_json_answers_hold_one_object_a_row() -> None:
    answer = json.loads(answers.encode(CHURN, JSON))
    assert answer["predictions"][1] == dict(zip(ALL, ROWS[1], strict=True))
    lines = answers.encode(Answers(["probability"], [[0.97], [float("nan")]]), JSON_LINES)
    assert lines == b'{"probability": 0.97}\n{"probability": null}\n'


def test_regression_answers_one_number_a_row() -> None:
    assert answers.regression_outputs({"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label"}) == ["score"]
    assert answers.encode(PRICES, CSV) == b"1.5\n2.0\n"
    assert json.loads(answers.encode(PRICES, JSON)) == {"predictions": [{"score": 1.5}, {"score": 2.0}]}


def test_members_come_in_the_order_that_was_asked_for() -> None:
    asked = {"SAGEMAKER_INFERENCE_OUTPUT": "probability , predicted_label"}
    assert answers.outputs(asked, hosting.OUTPUTS, "it") == ["probability", "predicted_label"]
    for environment in ({}, {"SAGEMAKER_INFERENCE_OUTPUT": ""}):
        assert answers.outputs(environment, hosting.OUTPUTS, "it") == ["predicted_label"]


@pytest.mark.parametrize(
    "environment",
    [
        {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,certainty"},
        {"SAGEMAKER_INFERENCE_OUTPUT": "labels", "SAGEMAKER_INFERENCE_SUPPORTED": "predicted_label"},
    ],
)
def test_an_output_that_the_model_does_not_give_is_a_configuration_error(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="SAGEMAKER_INFERENCE_OUTPUT asks for"):
        answers.outputs(environment, hosting.OUTPUTS, "a classification model")
    with pytest.raises(ConfigurationError, match="a regression model does not give"):
        answers.regression_outputs({"SAGEMAKER_INFERENCE_OUTPUT": "probabilities"})


HANDED_ON = ["probabilities", "predicted_label", "probability"]


@settings(deadline=None, max_examples=50)
@given(
    numbers=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    probabilities=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_answers_that_another_container_reads_are_the_same(numbers: list[int], probabilities: list[float]) -> None:
    given_ = Answers(HANDED_ON, [[probabilities, number, probabilities[number]] for number in numbers])
    assert answers.decode(answers.encode(given_, CSV), CSV, HANDED_ON, classes=3) == given_


@pytest.mark.parametrize(
    ("body", "content_type", "status", "part"),
    [
        ("", CSV, 400, "no rows"),
        ("1\n", CSV, 400, "Row 1 has 1 columns instead of 3: probabilities, predicted_label, probability."),
        ('"[0.1, 0.9, 0]",3,0.9\n', CSV, 400, "there is no class number 3"),
        ('"[0.1, 0.9, 0]",0.5,0.9\n', CSV, 400, "there is no class number 0.5"),
        ('"[0.1, 0.9, 0]",nan,0.9\n', CSV, 400, "there is no class number nan"),
        ('"[0.1, 0.9, 0]",yes,0.9\n', CSV, 400, "could not convert string to float"),
        ('"[0.1, 0.9]",1,0.9\n', CSV, 400, "there are 2 probabilities"),
        ("{}", JSON, 415, "Content type 'application/json' is not supported. Supported: text/csv."),
    ],
)
def test_answers_that_cannot_be_read_are_refused_with_a_sentence(
    body: str, content_type: str, status: int, part: str
) -> None:
    with pytest.raises(CodecError) as caught:
        answers.decode(body.encode(), content_type, HANDED_ON, classes=3)
    assert caught.value.status == status
    assert part in caught.value.message


@settings(deadline=None, max_examples=50)
@given(
    matrix=arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(width=32)),
    accept=st.sampled_from(matrices.FORMATS),
)
def test_a_matrix_is_the_same_in_either_format(matrix: Any, accept: str) -> None:
    assert np.array_equal(matrices.decode(matrices.encode(matrix, accept), accept), matrix, equal_nan=True)


def test_an_empty_cell_of_a_matrix_is_no_number() -> None:
    assert np.array_equal(matrices.decode(b"1,\n1e99,-3\n", CSV), [[1, np.nan], [np.inf, -3]], equal_nan=True)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "part"),
    [
        (b"", CSV, 400, "no rows"),
        (b"", RECORDIO, 400, "no rows"),
        (b"1,2\n3\n", CSV, 400, "Row 2 has 1 numbers, and the first row 2."),
        (b"1,2\n3,x\n", CSV, 400, "Row 2 does not consist of numbers: could not convert string to float: 'x'"),
        (b"1,2\n3,4\n", RECORDIO, 400, "not application/x-recordio-protobuf: There is no RecordIO frame at byte 0."),
        (b"[[1]]", JSON, 415, "Supported: application/x-recordio-protobuf, text/csv."),
    ],
)
def test_a_matrix_that_cannot_be_read_is_refused_with_a_sentence(
    body: bytes, content_type: str, status: int, part: str
) -> None:
    with pytest.raises(CodecError) as caught:
        matrices.decode(body, content_type)
    assert caught.value.status == status
    assert part in caught.value.message


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
        ("text/*", CSV),
    ],
)
def test_the_answer_has_the_format_that_was_accepted(accept: str | None, chosen: str) -> None:
    assert media.accepted(accept, CSV, answers.FORMATS) == chosen


def test_another_accept_type_is_refused_in_the_words_of_the_real_service() -> None:
    with pytest.raises(CodecError) as caught:
        media.accepted("application/x-recordio-protobuf", CSV, answers.FORMATS)
    assert caught.value.status == 406
    assert caught.value.message.startswith("Accept type 'application/x-recordio-protobuf' is not supported.")


def test_the_container_says_what_is_answered_by_default() -> None:
    assert media.default_accept({}, answers.FORMATS) == CSV
    assert media.default_accept({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json"}, answers.FORMATS) == JSON
    assert media.default_accept({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": RECORDIO}, matrices.FORMATS) == RECORDIO
    with pytest.raises(ConfigurationError):
        media.default_accept({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "image/png"}, answers.FORMATS)
