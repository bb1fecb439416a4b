"""Model and source archives: deterministic `tar.gz` files, unpacked without trusting a byte of them."""

from __future__ import annotations

import errno
import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from pilothouse.errors import DataError

MAX_BYTES = 16 << 30
"""How much an archive may hold by default, in bytes after decompression."""

MAX_FILES = 20_000
"""How many files and folders an archive may hold by default."""

MAX_RATIO = 200.0
"""How many times its compressed size an archive may grow to, once it is over `RATIO_FLOOR`."""

RATIO_FLOOR = 64 << 20

_CHUNK = 1 << 20
_HEADER_ALLOWANCE = 1 << 20
_BAD_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)


def pack(source: Path, target: Path | BinaryIO) -> None:
    """Write the folder `source` as a `tar.gz`; equal content gives equal bytes, wherever and whenever it is packed.

    Kept are relative paths, content and the owner's execute bit. A `target` path appears whole or not at all,
    and is on disk at return. `ValueError` for anything in the folder that is neither a file nor a folder.
    """
    if not isinstance(target, Path):
        _write(source, target)
        return
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _write(source, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def unpack(
    source: Path | IO[bytes],
    directory: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    max_ratio: float = MAX_RATIO,
) -> None:
    """Unpack a `tar.gz` (or a plain tar: the bytes tell) below `directory`, streaming, in bounded memory.

    Only regular files and folders come out, below `directory`, never over an existing file. Anything else in the
    archive (a link, a device, an absolute path, `..`, a duplicate), damage, or more than the caps allow raises
    `DataError`; what was already unpacked is then left for the caller to delete with the folder.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            unpack(stream, directory, max_bytes=max_bytes, max_files=max_files, max_ratio=max_ratio)
        return
    directory.mkdir(parents=True, exist_ok=True)
    try:
        _extract(_Guard(source, max_ratio), directory, max_bytes, max_files)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"The archive is damaged or is not a tar.gz file: {error}.") from error
    except OSError as error:
        if error.errno not in _BAD_NAME:
            raise
        raise DataError(f"The archive holds a path that cannot be created: {error.strerror}.") from error


def _write(source: Path, stream: BinaryIO) -> None:
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(source.rglob("*"), key=lambda p: os.fsencode(p.relative_to(source).as_posix())):
            _add(archive, path, path.relative_to(source).as_posix())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is neither a regular file nor a folder; it cannot go into an archive.")
    member = tarfile.TarInfo(name)
    status = path.stat()
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
        return
    member.size, member.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
    with path.open("rb") as stream:
        archive.addfile(member, stream)


def _extract(guard: _Guard, directory: Path, max_bytes: int, max_files: int) -> None:
    total = 0
    with tarfile.open(fileobj=cast("IO[bytes]", guard), mode="r|") as archive:
        for count, member in enumerate(_members(archive, guard), start=1):
            total += member.size
            if count > max_files:
                raise DataError(f"The archive holds more than {max_files} files.")
            if total > max_bytes:
                raise DataError(f"The archive holds more than {max_bytes} bytes.")
            guard.allow(member.size)
            _extract_member(archive, member, directory / _safe_path(member.name))


def _members(archive: tarfile.TarFile, guard: _Guard) -> Iterator[tarfile.TarInfo]:
    remembered: list[tarfile.TarInfo] = vars(archive)["members"]  # every header; a stream has no use for them
    guard.allow(0)
    while (member := archive.next()) is not None:
        yield member
        remembered.clear()


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg() or member.issparse():
        raise DataError(f"The archive holds {member.name!r}, which is not a regular file or a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    written = 0
    with path.open("xb") as stream:
        while chunk := content.read(_CHUNK):
            written += stream.write(chunk)
    if written != member.size:
        raise DataError(f"The archive ends in the middle of {member.name!r}.")
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _safe_path(name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"The archive holds the path {name!r}, which leads outside of the folder.")
    return Path(*path.parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Guard:
    """The decompressed archive as a stream that refuses to grow out of proportion or beyond what was announced."""

    def __init__(self, source: IO[bytes], max_ratio: float) -> None:
        self._raw = _Counted(source)
        self._content: IO[bytes] = cast("IO[bytes]", self._raw)
        if self._raw.starts_with(b"\x1f\x8b"):
            self._content = cast("IO[bytes]", gzip.GzipFile(fileobj=self._content))
        self._max_ratio = max_ratio
        self._total = 0
        self._limit = _HEADER_ALLOWANCE

    def allow(self, size: int) -> None:
        """The next `size` bytes are a file's content; between contents only headers may come."""
        self._limit = self._total + size + _HEADER_ALLOWANCE

    def read(self, size: int) -> bytes:
        chunk = self._content.read(size)
        self._total += len(chunk)
        if self._total > self._limit:
            raise DataError("The archive holds headers that are too large.")
        if self._total > max(RATIO_FLOOR, self._raw.total * self._max_ratio):
            raise DataError(f"The archive grows to more than {self._max_ratio:g} times its compressed size.")
        return chunk


class _Counted:
    """A stream that counts what was read of it, and can be asked how it starts without being seekable."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._pending = b""
        self.total = 0

    def starts_with(self, magic: bytes) -> bool:
        while len(self._pending) < len(magic) and (chunk := self._source.read(len(magic) - len(self._pending))):
            self._pending += chunk
        return self._pending.startswith(magic)

    def read(self, size: int = -1) -> bytes:
        if self._pending:
            chunk, self._pending = self._pending, b""
        else:
            chunk = self._source.read(size)
        self.total += len(chunk)
        return chunk
