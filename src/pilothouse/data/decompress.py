"""An object's bytes, decompressed if need be, never more of them than allowed."""

from __future__ import annotations

import gzip as gzip_file
import io
import zlib
from typing import BinaryIO

from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

_MAGIC = b"\x1f\x8b"


def is_gzip(objects: Objects, info: ObjectInfo) -> bool:
    """Whether the first bytes of an object, which are all that is read, say so."""
    with objects.open(info.bucket, info.key, 0, len(_MAGIC)) as stream:
        return stream.read() == _MAGIC


class DataStream(io.RawIOBase):
    """The plain bytes of one file: gzip is told by its first bytes, whatever its name.

    `declared` says that the request calls it gzip, which must then be true. `count` is the bytes given so far; more
    than `limit`, and damage to the gzip stream, are a `DataError`.
    """

    def __init__(self, raw: BinaryIO, uri: str, declared: bool, limit: int) -> None:
        self.count = 0
        self._uri = uri
        self._limit = limit
        magic = raw.read(len(_MAGIC))
        source = io.BufferedReader(_Chained(magic, raw), 1 << 18)
        if magic == _MAGIC:
            self._plain: io.BufferedIOBase = gzip_file.GzipFile(fileobj=source)
        elif declared:
            raise DataError(
                f"{uri} is declared as Gzip but is not gzip data. Compress it, or leave out CompressionType."
            )
        else:
            self._plain = source

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (at most 1 MB at a time); none at the end."""
        size = 1 << 20 if size < 0 else size
        taken = self._decompressed(size)
        self.count += len(taken)
        if self.count > self._limit:
            raise DataError(
                f"The data is too large: with {self._uri} it exceeds the limit once decompressed. Use fewer rows."
            )
        return taken

    def readinto(self, buffer: object) -> int:
        """As `read`, into `buffer`; so that it can be read through a buffer, line by line."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        taken = self.read(len(view))
        view[: len(taken)] = taken
        return len(taken)

    def _decompressed(self, size: int) -> bytes:
        try:
            return self._plain.read(size)
        except (EOFError, zlib.error, gzip_file.BadGzipFile) as error:
            raise DataError(f"{self._uri} is damaged gzip data ({error}). Compress and upload it again.") from error


class _Chained(io.RawIOBase):
    """Some first bytes, then the rest of a stream."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        taken = self._first[: len(view)] or self._rest.read(len(view))
        self._first = self._first[len(view) :]
        view[: len(taken)] = taken
        return len(taken)
