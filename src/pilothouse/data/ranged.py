"""An object as a file in which one can go anywhere, for formats whose index lies at the end."""

from __future__ import annotations

import io

from pilothouse.objects.base import ObjectInfo, Objects


class RangedFile(io.RawIOBase):
    """Each read asks for its range only; an object that was replaced since it was listed is an `S3Error`."""

    def __init__(self, objects: Objects, info: ObjectInfo) -> None:
        self._objects, self._info = objects, info
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the start, from here, or from the end."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._info.size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all that are left."""
        left = max(0, self._info.size - self._at)
        size = left if size < 0 else min(size, left)
        if not size:
            return b""
        info = self._info
        with self._objects.open(info.bucket, info.key, self._at, size, etag=info.etag) as stream:
            content = stream.read(size)
        self._at += len(content)
        return content
