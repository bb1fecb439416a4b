"""Folders for the sockets of model servers."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pilothouse import names

_LONGEST_PARENT = 50  # bytes; a socket's path may have 107


def runtime_folder(owner: Path) -> Path:
    """An empty folder for sockets that nobody else can enter: short, as socket paths must be, and fixed for `owner`.

    A fixed name lets the next start sweep up what a killed server left. `owner` is any path of the owner's own.
    """
    folder = _place(owner)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not _ours(folder):
            return Path(tempfile.mkdtemp(prefix="pilothouse-", dir=folder.parent))
        emptied(folder)
    return folder


def remove_runtime_folder(owner: Path) -> None:
    """Removes what `runtime_folder` made for `owner`, if it is there still."""
    folder = _place(owner)
    with suppress(FileNotFoundError):
        if _ours(folder):
            shutil.rmtree(folder)


def emptied(folder: Path) -> Path:
    """`folder`, made if need be, without the files that were in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def _place(owner: Path) -> Path:
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _LONGEST_PARENT:
        parent = "/tmp"  # noqa: S108
    return Path(parent) / f"pilothouse-{os.getuid()}-{names.digest(str(owner.resolve()))}"


def _ours(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) == 0o700
