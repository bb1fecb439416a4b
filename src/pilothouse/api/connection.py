"""One connection of a client: uvicorn's, with bounds on those who say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pilothouse.api import zero_copy

Send = Callable[[Any], Awaitable[None]]

HEAD_LIMIT = 64 << 10
"""How many bytes a request's line and headers may take."""

HEAD_PATIENCE = 12.0
"""How long a request's line and headers may take to arrive, in seconds."""


class Connection(HttpToolsProtocol):
    """Closes itself when a request's head is too large or does not arrive in time, or when there are too many like it.

    The time runs from the connection's start, and from the first byte after an answer; the idle time between requests
    is uvicorn's keep-alive. uvicorn answers 503 from `limit_concurrency` connections on; a quarter more, and new ones
    are closed unheard, since one that sends nothing gets no answer and would keep its descriptor.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency * 5 // 4:
            transport.abort()
        else:
            self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Start the clock, unless it runs or the bytes belong to a request under way."""
        if self.cycle is None or self.cycle.response_complete:
            self._start_clock()
        self._head += len(data)
        super().data_received(data)
        if self._deadline is not None and self._head > HEAD_LIMIT:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        self.scope["extensions"] = {zero_copy.EXTENSION: {}}
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not None and self.cycle is not before:
            self.cycle.send = partial(_send, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def on_body(self, body: bytes) -> None:
        """Keep the first piece as it is: an object's bytes are copied often enough."""
        cycle = self.cycle
        if cycle is not None and not cycle.body and not cycle.response_complete:
            cycle.body = body  # type: ignore[assignment]
            body = b""
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

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
    elif await zero_copy.deliver(cycle.transport, message["file"], message["offset"], message["count"]):
        cycle.expected_content_length -= message["count"]
    else:
        cycle.disconnected = True
        cycle.transport.abort()
