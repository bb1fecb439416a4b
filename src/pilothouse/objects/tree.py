"""Walking the folders of a bucket in the order of their keys, without visiting what is not asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pilothouse.objects.folders import listed
from pilothouse.objects.keys import Kind


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
        items = listed(folder)
        first = bisect_left(items, max(self._prefix, self._after), key=lambda item: base + item.adds)
        for at in range(max(0, first - 1), len(items)):  # the one before may be the folder that they lie in
            adds, kind, name = items[at]
            key = base + adds
            if self._wanted(key, kind):
                yield key, kind, f"{folder}/{name}"
            elif key > self._prefix and not key.startswith(self._prefix):
                return

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
        folders += [f"{folder}/{item.name}" for item in listed(folder) if item.kind is not Kind.OBJECT]
    for folder in reversed(folders[1:]):
        remove_if_empty(Path(folder))


def remove_if_empty(folder: Path) -> bool:
    """Remove `folder` unless something is in it; whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
