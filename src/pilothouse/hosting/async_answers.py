"""One asynchronous invocation: its input read, a replica asked, and the answer, or why there is none, stored."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from pilothouse.catalog.async_inference import MAX_INPUT, Invocation
from pilothouse.errors import InvocationFailed, ModelError, S3Error
from pilothouse.hosting import exchange
from pilothouse.objects import uri
from pilothouse.objects.base import ObjectInfo, Objects

_LONGEST_ERROR = 1 << 16


def answer(invocation: Invocation, socket: Path, objects: Objects, scratch: Path, log: str) -> None:
    """Stores what the replica at `socket` answers. `log` is the ARN of the endpoint's log group.

    `InvocationFailed`: it has no answer, and won't have. `exchange.Lost` and `exchange.Unreachable` are the replica's
    fault, an `S3Error` the object store's: try again.
    """
    with (
        _failing(f"The input {invocation.input} cannot be read"),
        _input(invocation, objects) as (body, size, headers),
        _in_time(invocation, log),
        exchange.asked(socket, body, size, headers, invocation.timeout, scratch) as told,
    ):
        if told.status != HTTPStatus.OK:
            text = told.body.read(_LONGEST_ERROR).decode(errors="replace")
            raise InvocationFailed(ModelError(told.status, text, log).message)
        with _failing(f"The output cannot be stored at {invocation.output}"):
            _put(objects, invocation, invocation.output, told.body, told.content_type)


def fail(invocation: Invocation, why: str, objects: Objects) -> None:
    """Stores why there is no answer."""
    _put(objects, invocation, invocation.failure, io.BytesIO(why.encode()), "text/plain; charset=utf-8")


def _put(objects: Objects, invocation: Invocation, address: str, body: BinaryIO, content_type: str | None) -> None:
    place = uri.parse(address)
    objects.keyed(invocation.kms_key).put(place.bucket, place.key, body, content_type=content_type)


@contextmanager
def _input(invocation: Invocation, objects: Objects) -> Iterator[tuple[BinaryIO, int, Mapping[str, str]]]:
    """A stream of the input, its size in bytes, and the headers that go with it.

    An object's own type counts where the request names none, as the SageMaker SDK leaves it to.
    """
    if invocation.input is None:
        yield io.BytesIO(invocation.body), len(invocation.body), invocation.headers
        return
    place = uri.parse(invocation.input)
    info = objects.head(place.bucket, place.key)
    if info.size > MAX_INPUT:
        raise InvocationFailed(f"The input {invocation.input} has {info.size} bytes. Send at most {MAX_INPUT}.")
    typed = {} if info.content_type == ObjectInfo.content_type else {"content-type": info.content_type}
    with objects.open(place.bucket, place.key, etag=info.etag) as stream:
        yield stream, info.size, {**typed, **invocation.headers}


@contextmanager
def _failing(why: str) -> Iterator[None]:
    """Makes refusals of the object store that won't change reasons of the invocation's failure.

    An input that is replaced just when it is opened is there a moment later.
    """
    try:
        yield
    except S3Error as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == "PreconditionFailed":
            raise
        raise InvocationFailed(f"{why}: {error.message}") from error


@contextmanager
def _in_time(invocation: Invocation, log: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        late = f"Your invocation timed out: the model server did not answer within {invocation.timeout:g} seconds."
        raise InvocationFailed(ModelError(0, late, log).message) from error
