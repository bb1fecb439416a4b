"""One large request to a model server and its answer, neither of them held in memory."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pilothouse.hosting.connection import UnixConnection

_BLOCK = 1 << 20
_HELD = 4 << 20  # bytes of an answer that are held in memory; more go to a file


class Lost(Exception):
    """The model server ended before it answered."""


class Unreachable(Exception):
    """No model server listens there."""


@dataclass(frozen=True)
class Answer:
    """What a model server said; `body` is at its beginning."""

    status: int
    content_type: str | None
    body: BinaryIO


@contextmanager
def asked(
    socket: Path, body: BinaryIO, size: int, headers: Mapping[str, str], timeout: float, scratch: Path
) -> Iterator[Answer]:
    """The answer to a POST of `size` bytes, for the block; a large one lies in a nameless file in `scratch`.

    `TimeoutError` after `timeout` seconds, `Unreachable`, or `Lost`; `OSError` if `body` can't be read, or `scratch` is
    full.
    """
    give_up = time.monotonic() + timeout
    line = UnixConnection(socket, timeout)
    line.blocksize = _BLOCK
    with tempfile.SpooledTemporaryFile(_HELD, dir=str(scratch)) as spool:
        try:
            _send(line, body, size, headers)
            if line.sock is not None:
                line.sock.settimeout(max(give_up - time.monotonic(), 0.001))
            response = line.getresponse()
            shutil.copyfileobj(response, spool, _BLOCK)
            if response.length:  # http.client tells of a body that ends early only where all of it is read at once
                raise http.client.IncompleteRead(b"", response.length)
        except TimeoutError:
            raise
        except (ConnectionError, http.client.HTTPException) as error:
            raise Lost("The connection ended before the answer was there.") from error
        finally:
            line.close()
        spool.seek(0)
        yield Answer(response.status, response.getheader("content-type"), cast(BinaryIO, spool))


def _send(line: UnixConnection, body: BinaryIO, size: int, headers: Mapping[str, str]) -> None:
    try:
        line.connect()
    except OSError as error:
        raise Unreachable("No model server listens there.") from error
    with suppress(BrokenPipeError, ConnectionResetError):  # one that refuses a body may answer before it has read it
        line.request("POST", "/invocations", body, {**headers, "content-length": str(size)})
