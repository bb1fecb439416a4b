"""Errors on the wire: every class of the tree has its code at every door, and clients read it."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
from botocore.parsers import create_parser

from pilothouse import errors
from pilothouse.errors import ModelError, PilothouseError, RequestTimeSkewed, S3Error, WrongScope
from pilothouse.wire import faults, models
from pilothouse.wire.faults import Door, fault

DOORS: tuple[Door, ...] = get_args(Door)
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, PilothouseError)]
PROTOCOLS = {
    "sagemaker": "json",
    "logs": "json",
    "runtime": "rest-json",
    "sts": "query",
    "iam": "query",
    "cloudwatch": "json",
    "cloudwatch-query": "query",
    "s3": "rest-xml",
}


def made(error_class: type[PilothouseError]) -> PilothouseError:
    arguments: dict[type, tuple[Any, ...]] = {
        ModelError: (500, "boom", "arn"),
        S3Error: ("NoSuchKey", "gone", 404),
        WrongScope: ("sign again", "eu-west-1"),
        RequestTimeSkewed: ("check the clocks", "20260131T120000Z", "20260131T123000Z"),
    }
    return error_class(*arguments.get(error_class, ("a <message> & more",)))


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("door", DOORS)
def test_clients_read_code_and_message_of_every_error(error_class: type[PilothouseError], door: Door) -> None:
    error = made(error_class)
    told = fault(error, door, "id-1")
    answer = faults.answer(told, door, "id-1", "/bucket/key")
    response = {"status_code": answer.status, "headers": dict(answer.headers), "body": answer.body}
    response["headers"] = {name.lower(): value for name, value in answer.headers.items()}
    parsed = create_parser(PROTOCOLS[door]).parse(response, None)
    assert answer.status >= 400
    assert parsed["Error"]["Code"] == told.code
    assert parsed["Error"]["Message"] == told.message
    assert told.message == error.message or "id-1" in told.message


@pytest.mark.parametrize("door", DOORS)
def test_an_unexpected_error_tells_the_client_nothing_but_the_request_id(door: Door) -> None:
    told = fault(KeyError("a secret"), door, "id-1")
    assert (told.status, "secret" in told.message, "id-1" in told.message) == (500, False, True)
    assert fault(errors.LeaseLost("internals"), door, "id-1").status == 500


def test_the_same_error_is_spelled_as_each_service_spells_it() -> None:
    def codes(error: PilothouseError) -> list[str]:
        return [fault(error, door, "").code for door in ("sagemaker", "logs", "iam", "runtime")]

    assert codes(errors.ValidationError()) == [
        "ValidationException",
        "InvalidParameterException",
        "ValidationError",
        "ValidationError",
    ]
    assert codes(errors.ResourceNotFound())[:3] == ["ResourceNotFound", "ResourceNotFoundException", "NoSuchEntity"]


def test_modelled_errors_come_with_their_members() -> None:
    told = fault(ModelError(406, "no json", "arn:log"), "runtime", "")
    assert (told.code, told.status) == ("ModelError", 424)
    assert told.members == {"OriginalStatusCode": 406, "OriginalMessage": "no json", "LogStreamArn": "arn:log"}
    assert set(told.members) <= set(models.service("sagemaker-runtime").shape_for("ModelError").members)


def test_s3_is_told_the_region_to_sign_for() -> None:
    answer = faults.answer(fault(WrongScope("no", "eu-west-1"), "s3", ""), "s3", "", "/b")
    assert b"<Region>eu-west-1</Region>" in answer.body


def test_s3_is_told_both_times_when_the_clocks_differ() -> None:
    error = RequestTimeSkewed("no", "20260131T120000Z", "20260131T123000Z")
    body = faults.answer(fault(error, "s3", ""), "s3", "", "/b").body
    assert b"<RequestTime>20260131T120000Z</RequestTime><ServerTime>20260131T123000Z</ServerTime>" in body


def test_an_error_of_the_objects_is_a_validation_exception_elsewhere() -> None:
    error = S3Error("NoSuchBucket", "There is no bucket b.", 404)
    assert (fault(error, "s3", "").code, fault(error, "s3", "").status) == ("NoSuchBucket", 404)
    assert (fault(error, "sagemaker", "").code, fault(error, "sagemaker", "").status) == ("ValidationException", 400)
