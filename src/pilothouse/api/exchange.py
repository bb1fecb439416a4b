"""HTTP exchanges with model servers on Unix sockets, over connections that stay open.

Just what the runtime door needs of HTTP/1.1: one POST at a time on a connection, with a body of known length.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools

MOST_IDLE = 20
"""Connections to one model server that are kept for later."""

_ANSWER_LIMIT = 1 << 30


class Lost(Exception):
    """The connection ended, or made no sense, before the answer was there."""


class Unreachable(Lost):
    """There is no connection to the model server."""


@dataclass
class Answer:
    """What a model server said."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """The body as text, whatever its bytes."""
        return self.body.decode(errors="replace")


class Line:
    """The way to one model server. Its connections belong to the event loop that first uses it."""

    def __init__(self, socket: str, keep_alive: float) -> None:
        self._socket = socket
        self._keep_alive = keep_alive
        self._idle: deque[tuple[float, _Connection]] = deque()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        """The answer to a POST; `TimeoutError` after `timeout` seconds, `Unreachable`, or `Lost`."""
        request = _head(path, len(body), headers) + body
        async with asyncio.timeout(timeout):
            connection = self._kept() or await self._opened()
            answer = await connection.ask(request)
        if connection.usable and len(self._idle) < MOST_IDLE:
            self._idle.append((asyncio.get_running_loop().time() + self._keep_alive, connection))
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Closes the connections that are not in use."""
        while self._idle:
            self._idle.pop()[1].close()

    def _kept(self) -> _Connection | None:
        """The connection that was used last, unless it has ended; older ones that are past their time are closed."""
        now = asyncio.get_running_loop().time()
        while self._idle and self._idle[0][0] < now:
            self._idle.popleft()[1].close()
        while self._idle:
            connection = self._idle.pop()[1]
            if connection.usable:
                return connection
        return None

    async def _opened(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(_Connection, self._socket)
        except OSError as error:
            raise Unreachable(f"No model server listens on {self._socket}.") from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with the parser's callbacks. `usable` says whether another request may go over it."""

    def __init__(self) -> None:
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._answer = Answer()
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> Answer:
        self._answer = Answer()
        self._waiting = asyncio.get_running_loop().create_future()
        self.usable = False
        try:
            cast(asyncio.Transport, self._transport).write(request)
            return await self._waiting
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._fail("The connection ended before the answer was there.")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("The answer is no HTTP.")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self._answer.body += piece
        if len(self._answer.body) > _ANSWER_LIMIT:
            self._fail("The answer is too large.")
            self.close()

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self.usable = self._parser.should_keep_alive() and self._waiting is not None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)
        self._waiting = None

    def _fail(self, reason: str) -> None:
        self.usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Lost(reason))


def _head(path: str, length: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: replica", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
