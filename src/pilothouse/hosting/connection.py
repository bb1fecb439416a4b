"""HTTP to a model server over its Unix socket, from threads that may wait."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

_PING_SECONDS = 0.5


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server that listens on the socket at `path`; `timeout` in seconds."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connects; called when there is something to send."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path) -> bool:
    """Whether a model server that listens at `path` answers /ping."""
    connection = UnixConnection(path, _PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
