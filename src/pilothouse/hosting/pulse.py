"""Whether a model server still lives: a /ping now and then, whose answer nobody waits for."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

PAUSE, PATIENCE = 10.0, 20.0
"""Seconds between two pings, and those that an answer may take: the machine may be busy with trials on all cores."""

MOST = 4
"""How many pings in a row may go unanswered."""

_PING = b"GET /ping HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n"


class Pulse:
    """Of the model server that listens at `path`; call `has_stopped` now and then, and `close` in the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._missed = 0
        self._ask_at = time.monotonic() + PAUSE
        self._late_at = 0.0
        self._line: socket.socket | None = None

    def has_stopped(self) -> bool:
        """Whether the last `MOST` pings had no answer. Sends the next one when it is time; never waits."""
        now = time.monotonic()
        if self._line is not None:
            self._listen(self._line, now)
        elif now >= self._ask_at:
            self._ask(now)
        return self._missed >= MOST

    def close(self) -> None:
        """Lets go of a ping that is under way."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _ask(self, now: float) -> None:
        try:
            self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:  # this process has no descriptor left, which says nothing of the other
            return
        self._late_at = now + PATIENCE
        with suppress(OSError):  # then there is nothing to read either
            self._line.connect(str(self._path))
            self._line.send(_PING)

    def _listen(self, line: socket.socket, now: float) -> None:
        try:
            answered = bool(line.recv(1))
        except BlockingIOError:
            if now < self._late_at:
                return
            answered = False
        except OSError:
            answered = False
        self.close()
        self._missed = 0 if answered else self._missed + 1
        self._ask_at = now + PAUSE
