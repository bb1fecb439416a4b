"""One connection of a client: uvicorn's, with bounds on those who say nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pilothouse.api import direct_body, zero_copy
from pilothouse.api.direct_body import Rest

Send = Callable[[Any], Awaitable[None]]

HEAD_LIMIT = 64 << 10
"""How many bytes a request's line and headers may take."""

HEAD_PATIENCE = 12.0
"""How long a request's line and headers may take to arrive, in seconds."""


class Connection(HttpToolsProtocol):
    """Closes itself when a request's head is too large or does not arrive in time, or when there are too many like it.

    The time runs from the connection's start, and from the first byte after an answer. That may be of a refused body,
    which is read on: a client who still sends would see a broken connection in place of the answer. The idle time
    between requests is uvicorn's keep-alive. uvicorn answers 503 from `limit_concurrency` connections on; a quarter
    more, and new ones are closed unheard, since one that sends nothing gets no answer and would keep its descriptor.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head = 0
    _seen = 0
    _rest: Rest | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency * 5 // 4:
            transport.abort()
        else:
            self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Start the clock, unless it runs or the bytes belong to a request under way."""
        if self._rest is not None and not (data := self._unskipped(self._rest, data)):
            return
        answered = self.cycle is None or self.cycle.response_complete
        if answered:
            self._start_clock()
        if not (answered and self.cycle is not None and self.cycle.more_body):
            self._head += len(data)
        super().data_received(data)
        if self._deadline is not None and self._head > HEAD_LIMIT:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._seen = 0
        self.scope["extensions"] = {zero_copy.EXTENSION: {}, direct_body.EXTENSION: {"take": self._take}}
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not None and self.cycle is not before:
            self.cycle.send = partial(_send, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def on_body(self, body: bytes) -> None:
        """Keep the first piece as it is: an object's bytes are copied often enough."""
        self._seen += len(body)
        cycle = self.cycle
        if cycle is not None and not cycle.body and not cycle.response_complete:
            cycle.body = body  # type: ignore[assignment]
            body = b""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Know the end of a body that was answered before."""
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.more_body = False

    def on_response_complete(self) -> None:
        """Let go of a body that nobody has read."""
        if self._rest is not None:
            self._rest.drop()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and who reads the body."""
        self._stop_clock()
        if self._rest is not None:
            self._rest.drop()
        super().connection_lost(exc)

    def _take(self, scope: Any, length: int) -> Rest | None:
        """What is left of the body, of that length, of the request of `scope`: none of it passes through here any more.

        None if all of it has come. What its reader leaves is skipped.
        """
        cycle, transport = self.cycle, self.transport
        if cycle.scope is not scope or not cycle.more_body or cycle.disconnected or transport.is_closing():
            return None
        self.flow.pause_reading()
        first, cycle.body, cycle.more_body = bytes(cycle.body), bytearray(), False
        self.parser = httptools.HttpRequestParser(self)  # the one before waits for the body
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        duplicate = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        wanted, lost = partial(_wanted, self.loop, cycle), partial(_lost, self.loop, cycle)
        self._rest = Rest(first, duplicate, length - self._seen, wanted, lost)
        return self._rest

    def _unskipped(self, rest: Rest, data: bytes) -> bytes:
        """What of `data` follows a body that was answered before its end, which has as long as a head for coming."""
        self._start_clock()
        data = rest.skipped(data)
        if not rest.left:
            self._rest = None
            if not data:
                self._stop_clock()
        return data

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._head = 0
            self._deadline = self.loop.call_later(HEAD_PATIENCE, self.timeout_keep_alive_handler)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _send(cycle: RequestResponseCycle, send: Send, message: Any) -> None:
    """uvicorn's `send`, and files by the kernel."""
    if message["type"] != zero_copy.EXTENSION:
        await send(message)
        if cycle.response_complete:
            vars(cycle).pop("send", None)  # it refers to the cycle, which would wait for the garbage collector
            cycle.scope["extensions"] = {}  # so do these
    elif await zero_copy.deliver(cycle.transport, message["file"], message["offset"], message["count"]):
        cycle.expected_content_length -= message["count"]
    else:
        cycle.disconnected = True
        cycle.transport.abort()


def _wanted(loop: asyncio.AbstractEventLoop, cycle: RequestResponseCycle) -> None:
    """A thread begins with a body, which the client may hold back until it is asked for it."""
    if cycle.waiting_for_100_continue:
        loop.call_soon_threadsafe(_continue, cycle)


def _continue(cycle: RequestResponseCycle) -> None:
    if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
        cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    cycle.waiting_for_100_continue = False


def _lost(loop: asyncio.AbstractEventLoop, cycle: RequestResponseCycle) -> None:
    """The client has left, as a thread has seen."""
    cycle.disconnected = True
    loop.call_soon_threadsafe(cycle.transport.abort)
