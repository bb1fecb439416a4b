"""A process's output, read while it is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pilothouse.errors import StoreAway
from pilothouse.launch.last_words import telling

_CHUNK = 256 << 10


class Tail:
    """Hands the lines that appear in a file to `ship`, in batches; each line once.

    `last` is the last of them that tells something.
    """

    def __init__(self, path: Path, ship: Callable[[list[str]], None]) -> None:
        self.path = path
        self.last = ""
        self._ship = ship
        self._offset = 0

    def follow(self) -> None:
        """Ships the lines that were completed since the last call, at most 256 KiB of them.

        While the store is away they wait for a later call.
        """
        chunk = self._read()
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) == _CHUNK:
            end = _CHUNK
        with suppress(StoreAway):
            self._take(chunk[:end])

    def finish(self) -> None:
        """Ships the rest, a last line without its end too. Call it when the process has ended.

        After a `StoreAway` it may be called again, and goes on with what was not shipped.
        """
        while chunk := self._read():
            self._take(chunk)

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                return stream.read(_CHUNK)
        except FileNotFoundError:
            return b""

    def _take(self, chunk: bytes) -> None:
        lines = [line for line in chunk.decode(errors="replace").splitlines() if line.strip()]
        if lines:
            self.last = telling(lines) or self.last
            self._ship(lines)
        self._offset += len(chunk)
