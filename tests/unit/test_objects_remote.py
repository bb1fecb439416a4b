"""A real S3 that fails: told from one that refuses, and from an object that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError

from pilothouse.errors import S3Error, ServiceUnavailable, ValidationError
from pilothouse.objects import manifest
from pilothouse.objects.s3 import RemoteObjects


class Failing:
    """A client whose calls and listings end with an error of this status."""

    def __init__(self, status: int) -> None:
        self.status = status

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Any:
            error = {"Error": {"Code": "SlowDown", "Message": "Not now."}}
            raise ClientError({**error, "ResponseMetadata": {"HTTPStatusCode": self.status}}, operation)

        return (lambda _: self) if operation == "get_paginator" else call


class BreakingOff:
    """A client whose objects end within."""

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": self}

    def read(self, size: int) -> bytes:
        raise IncompleteReadError(actual_bytes=5, expected_bytes=size)

    def close(self) -> None: ...


def remote(client: Any) -> RemoteObjects:
    objects = RemoteObjects("http://127.0.0.1:1", "us-east-1", access_key="k", secret_key="s")
    objects._client.__dict__["_client"] = client
    return objects


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_is_away(status: int) -> None:
    objects = remote(Failing(status))
    sentence = rf"The object store at http://127.0.0.1:1 cannot be used: SlowDown \({status}\): Not now\."
    with pytest.raises(ServiceUnavailable, match=sentence):
        objects.head("bucket", "key")
    with pytest.raises(ServiceUnavailable, match=sentence):
        manifest.expand(objects, "S3Prefix", "s3://bucket/in/")


@pytest.mark.parametrize("status", [403, 501])
def test_a_store_that_refuses_or_lacks_something_gives_its_own_error(status: int) -> None:
    with pytest.raises(S3Error) as caught:
        remote(Failing(status)).head("bucket", "key")
    assert (caught.value.code, caught.value.status) == ("SlowDown", status)


def test_what_a_store_refuses_to_list_is_told_as_nothing_found() -> None:
    with pytest.raises(ValidationError, match="No S3 objects found"):
        manifest.expand(remote(Failing(403)), "S3Prefix", "s3://bucket/in/")


def test_an_object_that_breaks_off_is_no_fault_of_its_readers() -> None:
    with remote(BreakingOff()).open("bucket", "key") as stream, pytest.raises(ServiceUnavailable, match="broke off"):
        stream.read()
