"""Large bodies, read from the socket by the thread that stores them.

What passes through the event loop is copied twice on its way and wakes the loop for each 250 KB. A body of known length
above a mebibyte needs neither: `connection.Connection` offers, as an extension of ASGI, to leave the rest of it on the
socket and to hand over a duplicate of that.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Generator

from starlette.requests import ClientDisconnect, Request

from pilothouse.api.pace import Pace
from pilothouse.objects.base import CHUNK

EXTENSION = "pilothouse.direct_body"

_PIECE = 512 << 10
"""Bytes of a piece: few enough to stay in a processor's cache while they are hashed and written."""

_LOOK = 1.0
"""Seconds between two looks whether anybody waits for the rest still."""


class Rest:
    """What of a request's body has not been given to the application: `first`, and then `left` bytes of a socket.

    The socket does not block. `wanted` is told when somebody begins to read, and `lost` when the client leaves before
    the end, both in the reader's thread.
    """

    def __init__(
        self,
        first: bytes,
        connection: socket.socket,
        left: int,
        wanted: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.left = left
        self._first, self._connection = first, connection
        self._wanted, self._lost = wanted, lost
        self._begun = self._dropped = False
        self._deciding = threading.Lock()  # a reader must not come to a descriptor that is closed, and another's soon
        self._arriving = select.poll()
        self._arriving.register(connection, select.POLLIN)

    def pieces(self, patience: float, stalled: Callable[[], Exception], pace: Pace) -> Generator[bytes, None, None]:
        """The bytes, for a thread to iterate; what `stalled` gives is raised once nothing comes for `patience` seconds.

        `ClientDisconnect` if the client leaves; `RequestTimeout` if its `pace` is too slow for a crowd.
        """
        with self._deciding:
            if self._dropped:
                raise ClientDisconnect
            self._begun = True
        with self._connection:
            self._wanted()
            try:
                if self._first:
                    yield self._first
                while self.left:
                    yield self._piece(patience, stalled, pace)
            finally:
                self._arrive_by(1)  # the event loop wants to hear of the next request's first byte

    def drop(self) -> None:
        """Nobody wants the rest: an iteration under way in another thread ends soon, and none begins."""
        with self._deciding:
            self._dropped = True
            if not self._begun:
                self._connection.close()  # or it would keep the connection open when the server has closed it

    def skipped(self, arrived: bytes) -> bytes:
        """What of `arrived` comes after the body, for whose rest nobody has asked."""
        count = min(self.left, len(arrived))
        self.left -= count
        return arrived[count:]

    def _piece(self, patience: float, stalled: Callable[[], Exception], pace: Pace) -> bytes:
        wanted = min(_PIECE, self.left)
        parts: list[bytes] = []
        ends = time.monotonic() + patience
        while wanted:
            try:
                part = self._connection.recv(wanted)
            except BlockingIOError:
                self._wait(wanted, ends, stalled, pace)
                continue
            except OSError:
                part = b""
            if not part:
                self._lost()
                raise ClientDisconnect
            parts.append(part)
            wanted -= len(part)
            self.left -= len(part)
            pace.add(0.0, len(part))
            ends = time.monotonic() + patience
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wait(self, wanted: int, ends: float, stalled: Callable[[], Exception], pace: Pace) -> None:
        """Until there are `wanted` bytes, or for a while."""
        if self._dropped:
            raise ClientDisconnect
        begun = time.monotonic()
        if ends <= begun:
            raise stalled()
        self._arrive_by(wanted)
        self._arriving.poll(min(_LOOK, ends - begun) * 1000)
        pace.add(time.monotonic() - begun, 0)

    def _arrive_by(self, count: int) -> None:
        """Have the kernel wake nobody for fewer bytes: a piece would be read in many small goes."""
        with contextlib.suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def rest(request: Request, length: int) -> Rest | None:
    """The body of a request of which nothing has been read, if it is large and its connection lets it be taken."""
    extension = request.scope.get("extensions", {}).get(EXTENSION)
    if extension is None or length <= CHUNK:
        return None
    taken: Rest | None = extension["take"](request.scope, length)
    return taken
