"""Unpacked model archives, kept so that a replica that comes back need not fetch its model again."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pilothouse import names
from pilothouse.catalog import hosting, pipelines
from pilothouse.catalog.hosting import Document
from pilothouse.contract import pack
from pilothouse.errors import DataError, S3Error
from pilothouse.objects import uri
from pilothouse.objects.base import ObjectInfo, Objects

_UNFINISHED = "."
"""What the names of folders begin with that are not whole yet, or not any more."""


class Archives:
    """Folders below `root`, one for each version (ETag) of each archive asked for. Safe to use from threads, and by one
    process at a time.
    """

    def __init__(self, objects: Objects, root: Path) -> None:
        self._objects = objects
        self._root = root
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        for left in root.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def folder(self, address: str) -> Path:
        """The content of the archive at `address`, fetched and unpacked if need be.

        An archive that is gone by now is served from what was unpacked earlier. `DataError` if there is nothing, or
        the archive can't be unpacked.
        """
        with self._locks[address]:
            bucket, key = uri.parse(address)
            try:
                info = self._objects.head(bucket, key)
            except S3Error as error:
                return self._earlier(address, error)
            folder = self._root / f"{_stem(address)}-{names.digest(info.etag, 16)}"
            if not folder.is_dir():
                self._unpack(info, folder)
            return folder

    def fetched(self, containers: Sequence[Document]) -> list[Document]:
        """What `replica.serve` has to know of the containers of a model. `DataError` names the one without a model."""
        return [
            self._fetched(*one, len(containers) == 1)
            for one in zip(pipelines.names(containers), containers, strict=True)
        ]

    def keep_only(self, addresses: Iterable[str]) -> None:
        """Removes what was unpacked from any other address."""
        stems = {_stem(address) for address in addresses}
        for folder in self._root.glob("*-*"):
            if folder.name.partition("-")[0] not in stems:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Whoever is killed at it leaves no part of the folder under its name, which is trusted."""
        doomed = folder.with_name(f"{_UNFINISHED}{folder.name}")
        with suppress(OSError):
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _fetched(self, name: str, container: Document, alone: bool) -> Document:
        try:
            folder = self.folder(hosting.archive_uri(container) or "")
        except DataError as error:
            raise error if alone else DataError(f"{name}: {error.message}") from error
        return {"name": name, "model": str(folder), "environment": container.get("Environment", {})}

    def _earlier(self, address: str, error: S3Error) -> Path:
        folders = sorted(self._root.glob(f"{_stem(address)}-*"), key=lambda folder: folder.stat().st_mtime)
        if not folders:
            raise DataError(f"Could not find model data at {address}: {error.message}") from error
        return folders[-1]

    def _unpack(self, info: ObjectInfo, folder: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self._root, prefix=_UNFINISHED))
        try:
            with self._objects.open(info.bucket, info.key, etag=info.etag) as stream:
                pack.unpack(stream, temporary)
            _sync(temporary)
            temporary.rename(folder)
        except S3Error as error:
            raise DataError(f"Could not read model data at {info.uri}: {error.message}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _stem(address: str) -> str:
    return names.digest(address, 16)


def _sync(folder: Path) -> None:
    """Puts the content on disk, since a folder that is there is trusted ever after."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
