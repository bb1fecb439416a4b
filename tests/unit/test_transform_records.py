"""Batch transform without a model: paths, records, filters and joins."""

from __future__ import annotations

import csv
import io
import json
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.catalog.json_path import JsonPath
from pilothouse.catalog.transform_jobs import TransformJob
from pilothouse.errors import DataError, ValidationError
from pilothouse.hosting.transform import capture
from pilothouse.hosting.transform.processing import Processing
from pilothouse.hosting.transform.records import batches


@pytest.mark.parametrize(
    ("path", "document", "found"),
    [
        ("$", [1, 2], [1, 2]),
        ("$[0]", ["a", "b"], "a"),
        ("$[-1]", ["a", "b"], "b"),
        ("$[1:]", ["a", "b", "c"], ["b", "c"]),
        ("$[:-1]", ["a", "b", "c"], ["a", "b"]),
        ("$[0, 2]", ["a", "b", "c"], ["a", "c"]),
        ("$.row.cells[1]", {"row": {"cells": [1, 2]}}, 2),
        ("$['row']", {"row": 1}, 1),
        ("$['id','SageMakerOutput']", {"id": 1, "x": 2, "SageMakerOutput": 3}, {"id": 1, "SageMakerOutput": 3}),
    ],
)
def test_a_path_leads_to_members_and_places(path: str, document: Any, found: Any) -> None:
    assert JsonPath.parse(path).find(document) == found


@pytest.mark.parametrize("path", ["", "x", "$.", "$[", "$[]", "$[?(@.x>1)]", "$..x", "$.x[*]", "$ .x", "$['a',1]"])
def test_a_path_that_is_not_served_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="no JSONPath that is served"):
        JsonPath.parse(path)


@settings(deadline=None, max_examples=50)
@given(path=st.text(alphabet="$.[]'\",:-0123ab *?", max_size=20))
def test_any_path_is_read_or_refused(path: str) -> None:
    try:
        JsonPath.parse(path)
    except ValidationError:
        pass


@pytest.mark.parametrize(("path", "document"), [("$[2]", [1]), ("$.x", {"y": 1}), ("$.x", [1]), ("$[0]", {"0": 1})])
def test_what_is_not_there_is_a_lookup_error(path: str, document: Any) -> None:
    with pytest.raises(LookupError):
        JsonPath.parse(path).find(document)


def cut(body: bytes, split: str = "Line", single: bool = False, limit: int = 100) -> list[list[bytes]]:
    return list(batches(io.BytesIO(body), split, single=single, limit=limit))


def test_lines_go_together_as_far_as_they_fit() -> None:
    assert cut(b"1,a\n2,b\n\n  \n3,c", limit=8) == [[b"1,a\n", b"2,b\n"], [b"3,c"]]
    assert cut(b"1,a\n2,b\n", single=True) == [[b"1,a\n"], [b"2,b\n"]]
    assert cut(b"") == []


@settings(deadline=None, max_examples=50)
@given(lines=st.lists(st.binary(min_size=1, max_size=9).filter(lambda line: b"\n" not in line and line.strip())))
def test_no_line_is_lost_and_no_batch_is_too_large(lines: list[bytes]) -> None:
    found = cut(b"\n".join(lines), limit=20)
    assert [line.rstrip(b"\n") for batch in found for line in batch] == lines
    assert all(0 < sum(map(len, batch)) <= 20 for batch in found)


def test_no_more_is_read_than_a_batch_needs() -> None:
    stream = io.BytesIO(b"0123456789\n" * 10_000)
    for _ in batches(stream, "Line", single=False, limit=110):
        assert stream.tell() <= 121
        break


def test_an_object_without_a_split_is_one_record() -> None:
    assert cut(b"1,a\n2,b\n", "None") == [[b"1,a\n2,b\n"]]
    with pytest.raises(DataError, match="The object is larger than MaxPayloadInMB allows"):
        cut(b"12345", "None", limit=4)
    with pytest.raises(DataError, match="Record 2 is larger"):
        cut(b"1\n12345\n", limit=4)


def frame(content: bytes) -> bytes:
    return struct.pack("<II", 0xCED7230A, len(content)) + content + bytes(-len(content) % 4)


def test_recordio_is_cut_between_its_frames() -> None:
    first, second = frame(b"12345"), frame(b"")
    assert cut(first + second + first, "RecordIO", limit=24) == [[first, second], [first]]
    for broken in (first[:-1], first[:5], b"1,2,3,4,5,6"):
        with pytest.raises(DataError, match="not RecordIO"):
            cut(broken, "RecordIO")
    with pytest.raises(DataError, match="Record 1 is larger"):
        cut(first, "RecordIO", limit=10)


STARTED = 1661820555.25


def processing(content_type: str = "text/csv", *, with_ids: bool = False, **members: str) -> Processing:
    return Processing(job(content_type, with_ids=with_ids, **members), STARTED)


def job(content_type: str = "text/csv", *, with_ids: bool = False, **members: str) -> TransformJob:
    request = {
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}},
            "ContentType": content_type,
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": "s3://b/out", "Accept": content_type},
        "DataProcessing": members,
        "DataCaptureConfig": {"DestinationS3Uri": "s3://b/captured", "GenerateInferenceId": with_ids},
    }
    return TransformJob.of(request, [{}])


def test_without_filters_nothing_is_touched() -> None:
    assert processing().request([b"1, a\r\n", b"2"]) == b"1, a\r\n2"
    assert processing().answer([b"1\n", b"2\n"], b'{"predictions": []}') == b'{"predictions": []}'


def identifiers(texts: list[str]) -> list[int]:
    """The versions of the UUIDs, which must differ."""
    assert len(set(texts)) == len(texts)
    return [uuid.UUID(text).version or 0 for text in texts]


def test_each_line_of_csv_gets_an_id_and_the_time_of_the_start() -> None:
    answer = processing(with_ids=True).answer([b"the whole"], b'no,"[1, 2]"\nyes,"two\nlines"\n')
    rows = list(csv.reader(io.StringIO(answer.decode())))
    assert [row[:2] for row in rows] == [["no", "[1, 2]"], ["yes", "two\nlines"]]
    assert identifiers([row[2] for row in rows]) == [4, 4]
    assert {row[3] for row in rows} == {"2022-08-30T00:49:15Z"}


def test_ids_come_behind_what_the_output_filter_leaves() -> None:
    joined = processing(with_ids=True, JoinSource="Input", OutputFilter="$[0]")
    rows = list(csv.reader(io.StringIO(joined.answer([b"id-1,2\n", b"id-2,3\n"], b"yes\nno\n").decode())))
    assert [row[0] for row in rows] == ["id-1", "id-2"]
    assert [len(row) for row in rows] == [3, 3]


def test_json_lines_get_their_id_as_members() -> None:
    answer = processing("application/jsonlines", with_ids=True).answer([b"{}", b"{}"], b'{"output": 0}\n5\n')
    lines = [json.loads(line) for line in answer.splitlines()]
    assert identifiers([line.pop("SageMakerInferenceId") for line in lines]) == [4, 4]
    started = {"SageMakerInferenceTime": "2022-08-30T00:49:15Z"}
    assert lines == [{"output": 0, **started}, {"SageMakerOutput": 5, **started}]


def test_manifests_name_what_was_read_and_what_was_made() -> None:
    found = [
        {"bucket": "in", "key": f"data/{name}", "etag": "", "output": f"s3://b/out/{name}.out"} for name in ("a", "c/d")
    ]
    made = capture.manifests(job(), found)
    assert json.loads(made["input"]) == [{"prefix": "s3://in/data/"}, "a", "c/d"]
    assert json.loads(made["output"]) == [{"prefix": "s3://b/out/"}, "a.out", "c/d.out"]
    assert capture.manifests(job(), []) == {}


def test_csv_is_filtered_joined_and_filtered_again() -> None:
    both = processing(InputFilter="$[1:]", JoinSource="Input", OutputFilter="$[0,-1]")
    lines = [b'id-1,"a, b",2\n', b"id-2,c,3"]
    assert both.request(lines) == b'"a, b",2\nc,3\n'
    assert both.answer(lines, b"yes,0.9\nno,0.2\n") == b"id-1,0.9\nid-2,0.2\n"
    assert processing(OutputFilter="$[0]").answer(lines, b"yes,0.9\nno,0.2\n") == b"yes\nno\n"
    assert processing(JoinSource="Input").answer(lines, b"yes\nno\n") == b'id-1,"a, b",2,yes\nid-2,c,3,no\n'


def test_json_lines_are_joined_under_names_of_their_own() -> None:
    joined = processing("application/jsonlines", JoinSource="Input")
    lines = [b'{"id": 1}\n', b"[2]\n"]
    answers = [json.loads(line) for line in joined.answer(lines, b'{"score": 5}\n6\n').splitlines()]
    assert answers == [{"id": 1, "SageMakerOutput": {"score": 5}}, {"SageMakerInput": [2], "SageMakerOutput": 6}]
    picked = processing("application/jsonlines", InputFilter="$.features", OutputFilter="$.score")
    assert picked.request([b'{"id": 1, "features": ["\xc3\xa5", 2]}\n']) == '["å", 2]\n'.encode()
    assert picked.answer([b"{}\n"], b'{"score": 5}\n') == b"5\n"


def test_a_json_document_is_joined_as_a_whole() -> None:
    joined = processing("application/json", JoinSource="Input", OutputFilter="$['id','SageMakerOutput']")
    document, answer = b'{\n "id": 7,\n "instances": [[1]]\n}\n', b'{"predictions":\n [{"score": 2}]}'
    expected = {"id": 7, "SageMakerOutput": {"predictions": [{"score": 2}]}}
    assert json.loads(joined.answer([document], answer)) == expected
    picked = processing("application/json", InputFilter="$.instances").request([document])
    assert json.loads(picked) == [[1]]


@pytest.mark.parametrize("rows", ["text/csv", "application/jsonlines"])
def test_input_in_a_declared_charset_is_joined_as_utf8_and_asked_for_in_its_own(rows: str) -> None:
    joined = processing(f"{rows}; charset=Latin-1", InputFilter="$[1:]", JoinSource="Input", OutputFilter="$")
    record = "id-1,é\n" if rows == "text/csv" else '["id-1", "é"]\n'
    asked, answer = joined.request([record.encode("latin-1")]), '"å"\n'.encode()
    found = joined.answer([record.encode("latin-1")], answer).decode()
    if rows == "text/csv":
        assert (asked.decode("latin-1"), found) == ("é\n", "id-1,é,å\n")
    else:
        assert (json.loads(asked.decode("latin-1")), json.loads(found)) == (
            ["é"],
            {"SageMakerInput": ["id-1", "é"], "SageMakerOutput": "å"},
        )


@pytest.mark.parametrize("charset", ["ascii", "no-such", "hex"])
def test_input_that_is_not_in_its_charset_is_the_datas_fault(charset: str) -> None:
    with pytest.raises(DataError, match="A record is not text/csv: "):
        processing(f"text/csv; charset={charset}", InputFilter="$[1:]").request([b"1,\xe9\n"])


def test_half_of_a_surrogate_pair_goes_through_in_the_form_that_json_has_for_it() -> None:
    joined = processing("application/jsonlines", InputFilter="$.a", JoinSource="Input")
    record = b'{"a": "\\ud800", "b": "\xc3\xa5"}\n'
    assert joined.request([record]) == b'"\\ud800"\n'
    assert joined.answer([record], b"1\n") == record[:-2] + b', "SageMakerOutput": 1}\n'


@pytest.mark.parametrize("place", ["container", "job"])
def test_without_accept_the_format_is_what_the_last_container_answers_in(place: str) -> None:
    asked = {"Environment": {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/jsonlines"}}
    request = {
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}},
            "ContentType": "application/jsonlines",
        },
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "DataProcessing": {"JoinSource": "Input"},
        **(asked if place == "job" else {}),
    }
    containers = [{}, asked if place == "container" else {}]
    joined = Processing(TransformJob.of(request, containers)).answer([b'{"id": 1}'], b'{"score": 5, "of": 6}\n')
    assert json.loads(joined) == {"id": 1, "SageMakerOutput": {"score": 5, "of": 6}}


def test_an_answer_of_several_lines_in_quotes_or_of_a_blank_is_one_answer() -> None:
    joined, lines = processing(JoinSource="Input"), [b"id-1\n", b"id-2\n", b"id-3"]
    rows = csv.reader(io.StringIO(joined.answer(lines, b'"two\nlines",0.9\n \n""\n').decode(), newline=""))
    assert list(rows) == [["id-1", "two\nlines", "0.9"], ["id-2", " "], ["id-3", ""]]


@pytest.mark.parametrize("rows", ["text/csv", "application/jsonlines"])
def test_a_request_has_no_byte_order_marks_within(rows: str) -> None:
    """Python's utf-8-sig, which puts one at the start of whatever it writes."""
    asked = processing(f"{rows}; charset=utf-8-sig", InputFilter="$[1:]").request([b'[1, "a"]\n', b'[2, "b"]\n'])
    assert asked.decode("utf-8-sig").isascii()


def test_lines_that_cannot_be_filtered_or_joined_are_the_datas_fault() -> None:
    with pytest.raises(DataError, match=r"does not have what a filter asks for: \$\[5\]"):
        processing(InputFilter="$[5]").request([b"1,2\n"])
    with pytest.raises(DataError, match="answered 1 lines to 2 records"):
        processing(JoinSource="Input").answer([b"1\n", b"2\n"], b"yes\n")
    with pytest.raises(DataError, match="must not go over several lines"):
        processing(InputFilter="$[1:]").request([b'1,"two\n'])
    with pytest.raises(DataError, match="A record is not application/jsonlines"):
        processing("application/jsonlines", InputFilter="$.x").request([b"{\n"])
