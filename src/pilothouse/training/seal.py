"""Who is at work in a run's folder: the process around the program, until it and the program are gone.

The processes of a killed job process end a moment after it, and one that was asked for may only be beginning. Whoever
goes on with the job seals the folder first, so that from there on nobody writes into it, or into what the program had.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilothouse.errors import JobFailed, LaunchFailed

_LOCK, _SEALED = "lock", "sealed"
_PATIENCE = 60.0
_POLL = 0.01


@contextmanager
def at_work(folder: Path) -> Iterator[int]:
    """Holds `folder` for the block, and beyond it while a child has the descriptor that it gives.

    `LaunchFailed` if the folder is sealed.
    """
    descriptor = _opened(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (folder / _SEALED).exists():
            raise LaunchFailed("The job process that started this one is gone, and another goes on with its job.")
        yield descriptor
    finally:
        os.close(descriptor)


def seal(folder: Path, patience: float = _PATIENCE) -> None:
    """Waits until nobody is at work in `folder`, where nobody can begin any more from now on.

    `JobFailed` if somebody still is after `patience` seconds.
    """
    give_up = time.monotonic() + patience
    descriptor = _opened(folder)
    try:
        while not _taken(descriptor):
            if time.monotonic() > give_up:
                raise JobFailed(
                    f"InternalServerError: The program's processes of an earlier run have not ended {patience:g} "
                    "seconds after they were killed. Create the job again under a new name."
                )
            time.sleep(_POLL)
        (folder / _SEALED).touch()
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
