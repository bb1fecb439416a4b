"""The scratch folders of jobs: below the home, or where keys of volumes are honoured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pilothouse.catalog import kms
from pilothouse.config import Settings
from pilothouse.hosting.sockets import remove_runtime_folder
from pilothouse.names import name_key
from pilothouse.store.resource import Resource
from pilothouse.volumes import Volumes

_LOGS = (".log", "log.txt")


def job_directory(settings: Settings, kind: str, name: str) -> Path:
    """A job's folder below the home; names are unique without regard to case, so the folder's name is lower-case.

    The log of its process is there, and its scratch space, unless its request names a key for its volumes.
    """
    return settings.work_root / kind / name_key(name)


def opened(settings: Settings, job: Resource) -> Path:
    """The job's scratch folder, which is there now.

    `ConfigurationError` if its request names a key for its volumes and that can't be honoured here, or is to begin with
    too little room.
    """
    folder = job_directory(settings, job.kind, job.name)
    if kms.of_volume(job.request):
        volumes = Volumes(settings)
        folder = volumes.opened() / folder.relative_to(settings.work_root)
        if not folder.exists():
            volumes.check_room()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def left(settings: Settings, kind: str) -> Iterator[str]:
    """The names, in lower case, of the jobs that have more than logs here."""
    yield from (folder.name for folder in (settings.work_root / kind).glob("*") if not _is_clear(folder))
    if (volumes := Volumes(settings).outside) is not None:
        yield from (folder.name for folder in (volumes / kind).glob("*"))


def clear(settings: Settings, kind: str, name: str) -> None:
    """Removes what an ended job has left, but for its logs (`*.log`, `log.txt`) below the home, and its sockets."""
    below_home = job_directory(settings, kind, name)
    if (volumes := Volumes(settings).outside) is not None:
        volume = volumes / below_home.relative_to(settings.work_root)
        remove_runtime_folder(volume)
        shutil.rmtree(volume, ignore_errors=True)
    remove_runtime_folder(below_home)  # first: what lies in the folder still tells the next to clear
    for folder, folders, files in os.walk(below_home, topdown=False):
        for file in files:
            if not file.endswith(_LOGS):
                Path(folder, file).unlink(missing_ok=True)
        for inner in folders:
            _remove(Path(folder, inner))


def tidy(settings: Settings) -> None:
    """Removes the folder for volumes outside of the home if nothing is in it. No job may run meanwhile."""
    if (volumes := Volumes(settings).outside) is not None:
        for folder in (*volumes.iterdir(), volumes):
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _is_clear(directory: Path) -> bool:
    return all(name.endswith(_LOGS) for _, _, files in os.walk(directory) for name in files)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        return
    with suppress(OSError):  # a log is left in it
        path.rmdir()
