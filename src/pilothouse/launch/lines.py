"""JSON objects as lines over a non-blocking socket, for the nursery's selector loop."""

from __future__ import annotations

import json
import socket
from typing import Any

_CHUNK = 64 * 1024
_LONGEST = 8 * 1024 * 1024


class LineSocket:
    """Buffers both ways, so that a partner who reads slowly or writes by halves never holds up the loop."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._incoming = b""
        self._outgoing = b""

    def fileno(self) -> int:
        """For selectors."""
        return self._connection.fileno()

    def receive(self) -> list[dict[str, Any]] | None:
        """The whole messages that have come; None at the end of the stream or when the partner talks nonsense."""
        try:
            chunk = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        *lines, self._incoming = (self._incoming + chunk).split(b"\n")
        if not chunk or len(self._incoming) > _LONGEST:
            return None
        return _parsed(lines)

    def send(self, message: dict[str, Any]) -> None:
        """Queues `message` and writes as much as goes out now; whether some is left tells `pending`."""
        self._outgoing += encoded(message)
        self.flush()

    def flush(self) -> None:
        """Writes as much of the queue as goes out now."""
        try:
            sent = self._connection.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._outgoing)  # the partner is gone; its end of stream comes by the reading side
        self._outgoing = self._outgoing[sent:]

    @property
    def pending(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._outgoing)

    def close(self) -> None:
        """Closes the socket; a second call does nothing."""
        self._connection.close()


def encoded(message: dict[str, Any]) -> bytes:
    """`message` as a line."""
    return json.dumps(message).encode() + b"\n"


def _parsed(lines: list[bytes]) -> list[dict[str, Any]] | None:
    try:
        messages = [json.loads(line) for line in lines]
    except ValueError:
        return None
    return messages if all(isinstance(message, dict) for message in messages) else None
