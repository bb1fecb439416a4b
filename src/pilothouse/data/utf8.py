"""The text of a data file as UTF-8, whatever its encoding."""

from __future__ import annotations

import io
from collections.abc import Callable

from pilothouse.data.decompress import DataStream
from pilothouse.errors import DataError
from pilothouse.objects import header
from pilothouse.objects.encoding import Utf8
from pilothouse.objects.header import Header

_STEP = 1 << 16
_TAIL = 1 << 10


class Utf8Stream(io.RawIOBase):
    """The bytes of `source` as UTF-8 without a byte order mark; those of the file called `uri` in errors.

    `tail`: the last bytes given so far, some of them.
    """

    def __init__(self, source: DataStream, uri: str) -> None:
        self._source, self._uri = source, uri
        self._to_utf8 = Utf8()
        self._ahead = b""
        self._ended = False
        self.tail = b""

    def start(self, told: Callable[[bytes, bool], Header | None]) -> tuple[bytes, Header]:
        """The first bytes of the file, so many that `told` finds its first record in them, and that record.

        `told` gets them and whether they are all, as `header.told` does.
        """
        content, wanted, ended = bytearray(), _STEP, False
        while True:
            while len(content) < wanted and not ended:
                more = self.read(wanted - len(content))
                ended = not more
                content += more
            found = told(bytes(content), ended)
            if found is not None:
                return bytes(content), found
            if len(content) > header.LARGEST:
                raise DataError(
                    f"{self._uri} has no end of line in its first {header.LARGEST >> 20} MB. Is it a CSV file?"
                )
            wanted = 2 * len(content)

    def after(self, ahead: bytes) -> Utf8Stream:
        """This stream, with bytes that were read from it put back in front."""
        self._ahead = ahead + self._ahead
        return self

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes (1 MB if it is not said), fewer only at the end: Arrow takes fewer for a block of its own."""
        size = 1 << 20 if size < 0 else size
        parts = [self._ahead]
        missing = size - len(self._ahead)
        while missing > 0 and not self._ended:
            parts.append(self._more(missing))
            missing -= len(parts[-1])
        content = b"".join(part for part in parts if part)
        taken, self._ahead = content[:size], content[size:]
        self.tail = (self.tail + taken[-_TAIL:])[-_TAIL:]
        return taken

    def _more(self, size: int) -> bytes:
        taken = self._source.read(size)
        self._ended = not taken
        try:
            return self._to_utf8(taken, self._ended)
        except UnicodeError as error:
            raise DataError(f"{self._uri} is not UTF-8 text ({error}). Save it as UTF-8 CSV.") from error

    def readinto(self, buffer: object) -> int:
        """As `read`, into `buffer`; so that it can be read through a buffer, line by line."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        taken = self.read(len(view))
        view[: len(taken)] = taken
        return len(taken)
