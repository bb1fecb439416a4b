"""Walking the folders of a bucket in the order of their keys, without visiting what is not asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pilothouse.objects.keys import Entry, Kind, entry


class Found(NamedTuple):
    """An object's key and its file's path."""

    key: bytes
    path: str


class Walk:
    """The keys under `root` that begin with `prefix` and come after `after`, in byte order.

    While iterating, `skip(p)` leaves out everything that begins with `p`, which must not lie before the last key given.
    A folder is read when the walk reaches it: keys that come and go meanwhile may or may not be seen.
    """

    def __init__(self, root: Path, prefix: bytes = b"", after: bytes = b"") -> None:
        self._root, self._prefix, self._after = root, prefix, after
        self._skipped: bytes | None = None

    def skip(self, prefix: bytes) -> None:
        """Leave out what begins with `prefix` from here on."""
        self._skipped = prefix

    def __iter__(self) -> Iterator[Found]:
        levels = [self._entries(str(self._root), b"")]  # not recursive: a key may have a thousand slashes
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
                continue
            key, kind, path = found
            if self._is_skipped(key):
                continue
            if kind is Kind.OBJECT:
                yield Found(key, path)
            else:
                levels.append(self._entries(path, key))

    def _entries(self, folder: str, base: bytes) -> Iterator[tuple[bytes, Kind, str]]:
        wanted = [item for item in _listed(folder) if self._wanted(base + item.adds, item.kind)]
        wanted.sort(key=_adds)
        return ((base + item.adds, item.kind, f"{folder}/{item.name}") for item in wanted)

    def _wanted(self, key: bytes, kind: Kind) -> bool:
        if kind is Kind.OBJECT:
            return key.startswith(self._prefix) and key > self._after
        within = key.startswith(self._prefix) or self._prefix.startswith(key)
        return within and (key > self._after or self._after.startswith(key))

    def _is_skipped(self, key: bytes) -> bool:
        return self._skipped is not None and key.startswith(self._skipped)


def prune(root: Path) -> None:
    """Remove the empty folders under `root`, not `root` itself."""
    folders = [str(root)]
    for folder in folders:  # grows meanwhile, parents before what they hold
        folders += [f"{folder}/{item.name}" for item in _listed(folder) if item.kind is not Kind.OBJECT]
    for folder in reversed(folders[1:]):
        remove_if_empty(Path(folder))


def _listed(folder: str) -> list[Entry]:
    try:
        return [entry(name) for name in os.listdir(folder)]  # noqa: PTH208 (three times as fast as iterdir)
    except FileNotFoundError:
        return []


def _adds(item: Entry) -> bytes:
    return item.adds


def remove_if_empty(folder: Path) -> bool:
    """Remove `folder` unless something is in it; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
