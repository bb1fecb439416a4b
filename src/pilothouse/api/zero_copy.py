"""Files sent by the kernel: from the page cache to the connection, without their bytes passing through this process.

`FileResponse` asks for it by ASGI's extension "http.response.zerocopysend", which `connection.Connection` offers; under
another server, and for streams that are no file as it stands, it reads and sends in pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import time
from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pilothouse.api import content
from pilothouse.objects.base import CHUNK
from pilothouse.objects.stored import extent

EXTENSION = "http.response.zerocopysend"

_AT_ONCE = 16 << 20
"""Bytes that one turn in a thread sends at most."""

_TURN = 0.02
"""Seconds of a turn after which the thread waits no longer for a client who is slow."""

_PAUSE = 0.01
"""Seconds between the first looks whether an earlier answer on the connection has gone."""

_LOOK = 1.0
"""Seconds between two looks whether a client who takes nothing is there still."""


class FileResponse(StreamingResponse):
    """An answer whose body is `stream`, of known length, which it closes."""

    def __init__(self, stream: BinaryIO, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(_pieces(stream), status, headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._stream:
            found = extent(self._stream) if EXTENSION in scope.get("extensions", {}) else None
            if found is None:
                await super().__call__(scope, receive, send)
            else:
                file, offset, count = found
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": EXTENSION, "file": file, "offset": offset, "count": count, "more_body": True})
                await send({"type": "http.response.body", "body": b""})


async def deliver(transport: asyncio.Transport, file: int, offset: int, count: int) -> bool:
    """Send `count` bytes of the open `file` over a connection; whether all went.

    It works on a duplicate of the socket, so that a connection that closes meanwhile does no harm.
    """
    pause = 0.0
    while transport.get_write_buffer_size() and not transport.is_closing():
        await asyncio.sleep(pause)  # the answer's head leaves at the end of this turn of the loop
        pause = min(_LOOK, max(_PAUSE, 2 * pause))
    if transport.is_closing():
        return False
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        while count and not transport.is_closing():
            sent = await content.in_thread(_send, socket, file, offset, min(count, _AT_ONCE))
            offset, count = offset + sent, count - sent
            if count and not sent:
                await _writable(socket)
    except OSError:  # the client is gone, or the file is not what it was
        return False
    finally:
        os.close(socket)
    return not count


def _send(socket: int, file: int, offset: int, count: int) -> int:
    """How many bytes a client took before it let the thread wait."""
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    left, ends = count, time.monotonic() + _TURN
    while left:
        try:
            sent = os.sendfile(socket, file, offset, left)
        except BlockingIOError:
            if not poll.poll(max(0.0, ends - time.monotonic()) * 1000):
                break
            continue
        if not sent:
            raise OSError("The file has ended early.")
        offset, left = offset + sent, left - sent
    return count - left


async def _writable(socket: int) -> None:
    """Until the socket takes bytes again, or a while has passed."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(socket, ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), _LOOK)
    finally:
        loop.remove_writer(socket)


async def _pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await content.in_thread(stream.read, CHUNK):
        yield piece
