"""The scratch folders of jobs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pilothouse.config import Settings
from pilothouse.hosting.sockets import remove_runtime_folder
from pilothouse.names import name_key

_LOGS = (".log", "log.txt")


def job_directory(settings: Settings, kind: str, name: str) -> Path:
    """The scratch folder of a job; names are unique without regard to case, so the folder's name is lower-case."""
    return settings.work_root / kind / name_key(name)


def is_clear(directory: Path) -> bool:
    """Whether there are only logs in `directory`."""
    return all(name.endswith(_LOGS) for _, _, files in os.walk(directory) for name in files)


def clear(directory: Path) -> None:
    """Removes what an ended job has left in `directory`, but for its logs (`*.log`, `log.txt`), and its sockets."""
    remove_runtime_folder(directory)  # first: what lies in `directory` still tells the next to clear
    for folder, folders, files in os.walk(directory, topdown=False):
        for name in files:
            if not name.endswith(_LOGS):
                Path(folder, name).unlink(missing_ok=True)
        for name in folders:
            _remove(Path(folder, name))


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        return
    with suppress(OSError):  # a log is left in it
        path.rmdir()
