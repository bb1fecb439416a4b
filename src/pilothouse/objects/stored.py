"""One stored file: the bytes of an object, then what is known of them, in the same file.

    content │ JSON │ JSON length (4 bytes) │ CRC-32 of the JSON (4 bytes) │ "PHobj\\x00\\x001" (8 bytes)

Because both are one file, one rename publishes both, and a crash can't leave one without the other. The content comes
first so that an offset in the object is an offset in the file; of an encrypted one see `ciphertext`, and `envelope` for
what the JSON tells of that.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from pilothouse.errors import S3Error
from pilothouse.names import token
from pilothouse.objects import ciphertext, freeing, writeback
from pilothouse.objects.base import CHUNK, Body
from pilothouse.objects.checksums import Digests
from pilothouse.objects.ciphertext import Encryptor, Plaintext, Segment
from pilothouse.objects.envelope import ENVELOPE
from pilothouse.objects.refusals import DamagedError

_json = json.JSONEncoder(separators=(",", ":")).encode
_MAGIC = b"PHobj\x00\x001"
_FOOTER = struct.Struct(">II8s")
_TAIL = 2048
_BUFFER = 1 << 18
_BATCH = 64 << 10
"""Bytes that are worth a call of the kernel."""

_EARLY = 2 << 20
"""Bytes after which the kernel is asked to begin to write them to the disk."""


class Draft:
    """A file being written, unseen until `name`. Leaving the `with` block before removes it.

    `size` counts the plain bytes of its content; `segments` are those of a content that is encrypted.
    """

    def __init__(self, folder: Path | str, *, encrypted: bool = False) -> None:
        self._path = f"{folder}/{token(32)}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._held = bytearray()
        self._encrypted = encrypted
        self._named = False
        self._begun = 0
        self.size = 0
        self.segments: list[Segment] = []

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not self._named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 (a `Path` costs as much as the call)

    def write(self, body: Body, digests: Digests) -> None:
        """Append `body`."""
        encryptor = Encryptor() if self._encrypted else None
        before = self.size
        for chunk in chunks(body):
            digests.update(chunk)
            for piece in (chunk,) if encryptor is None else encryptor.update(chunk):
                self._add(piece)
            self.size += len(chunk)
            if self.size - self._begun >= _EARLY:
                self._flush()
                writeback.begin(self._descriptor, self._begun)
                self._begun = self.size
        if encryptor is not None:
            self._add(encryptor.finish())
            self.segments.append(Segment(self.size - before, encryptor.key))

    def append(self, descriptor: int, size: int, segments: Sequence[Segment] | None = None) -> None:
        """Append another file's content of `size` plain bytes, encrypted as `segments` if they are given.

        It begins where the file stands, and is copied as it is, without passing through this process.
        """
        self._flush()
        self.size += size
        self.segments += segments or ()
        length = size if segments is None else ciphertext.length(segment.size for segment in segments)
        while length > 0:
            copied = os.sendfile(self._descriptor, descriptor, None, min(length, CHUNK << 6))
            if copied == 0:
                raise S3Error("InternalError", "A stored part ended early. Upload it again.", 500)
            length -= copied

    def seal(self, facts: Mapping[str, Any]) -> None:
        """Append what is known of the content and bring everything to the disk."""
        text = _json(facts).encode()
        self._add(text + _FOOTER.pack(len(text), zlib.crc32(text), _MAGIC))
        self._flush()
        os.fsync(self._descriptor)

    def name(self, target: Path | str, *, replace: bool = True) -> None:
        """Give the file its name. FileNotFoundError without the folder; FileExistsError if it is not to replace one.

        The name outlives a power failure only after `sync_folder` of its folder.
        """
        if replace:
            with freeing.removing(target):
                os.rename(self._path, target)  # noqa: PTH104 (as above)
            self._named = True
        else:
            os.link(self._path, target)

    def _add(self, piece: bytes) -> None:
        if len(piece) >= _BATCH:
            self._flush()
            _write(self._descriptor, piece)
        else:
            self._held += piece
            if len(self._held) >= _BATCH:
                self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, bytearray()
        _write(self._descriptor, held)


class Content(io.RawIOBase):
    """The content of a stored file, or a window of it. Keeps reading the version it opened."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._start, self._end, self._at = start, max(start, end), start

    @property
    def extent(self) -> tuple[int, int, int]:
        """The descriptor, and where in its file the content begins and how long it is."""
        return self._descriptor, self._start, self._end - self._start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(self._start, base + offset)
        return self._at - self._start

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._descriptor, [view[: max(0, min(len(view), self._end - self._at))]], self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class Decrypted(Content):
    """The same of an encrypted content, whose plain bytes it gives."""

    def __init__(self, descriptor: int, start: int, end: int, plain: Plaintext) -> None:
        super().__init__(descriptor, start, end)
        self._plain = plain

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = self._plain.read_into(view[: max(0, min(len(view), self._end - self._at))], self._at)
        self._at += count
        return count


def facts_of(path: Path | str) -> tuple[dict[str, Any], int]:
    """What is known of the content of `path`, and its size in plain bytes; FileNotFoundError, or `DamagedError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _facts(descriptor, path)
    finally:
        os.close(descriptor)


def open_content(path: Path | str) -> tuple[dict[str, Any], int, int]:
    """Like `facts_of`, and an open descriptor for `window`, which the caller owns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return *_facts(descriptor, path), descriptor
    except BaseException:
        os.close(descriptor)
        raise


def window(
    descriptor: int, size: int, start: int = 0, length: int | None = None, plain: Plaintext | None = None
) -> BinaryIO:
    """A stream over part of the content, encrypted if there is a `plain` for it; it owns the descriptor."""
    end = size if length is None else min(size, start + length)
    content = Content(descriptor, start, end) if plain is None else Decrypted(descriptor, start, end, plain)
    return cast(BinaryIO, io.BufferedReader(content, _BUFFER))


def extent(stream: BinaryIO) -> tuple[int, int, int] | None:
    """The descriptor, the offset and the length of what a `window` holds; None for a stream that is no such part."""
    content = getattr(stream, "raw", None)
    return content.extent if type(content) is Content else None  # a kind of it may hold other bytes than its file


def chunks(body: Body) -> Iterator[bytes]:
    """`body` in pieces of bounded size."""
    if isinstance(body, bytes | bytearray | memoryview):
        yield bytes(body)
    elif hasattr(body, "read"):
        while chunk := cast(BinaryIO, body).read(CHUNK):
            yield chunk
    else:
        yield from body


def write_synced(path: Path, content: bytes) -> None:
    """Write a small file and bring it to the disk, name and all."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path | str) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, piece: bytes | bytearray) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def _facts(descriptor: int, path: Path | str) -> tuple[dict[str, Any], int]:
    total = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL, max(0, total - _TAIL))
    if len(tail) < _FOOTER.size:
        raise DamagedError(Path(path).name)
    length, crc, magic = _FOOTER.unpack(tail[-_FOOTER.size :])
    size = total - _FOOTER.size - length
    if magic != _MAGIC or size < 0:
        raise DamagedError(Path(path).name)
    whole = length + _FOOTER.size
    text = tail[-whole : -_FOOTER.size] if whole <= len(tail) else os.pread(descriptor, length, size)
    if zlib.crc32(text) != crc:
        raise DamagedError(Path(path).name)
    facts: dict[str, Any] = json.loads(text)
    return facts, size if ENVELOPE not in facts else _plain_size(facts[ENVELOPE], size, path)


def _plain_size(envelope: Mapping[str, Any], size: int, path: Path | str) -> int:
    try:
        sizes: list[int] = envelope["sizes"]
        if ciphertext.length(sizes) == size:
            return sum(sizes)
    except (KeyError, TypeError):
        pass
    raise DamagedError(Path(path).name)
