"""Slots: how many trials run at once on this host, over all jobs.

A slot is an exclusive lock on one of `count` small files. The kernel drops the lock when its holder dies, so a slot
cannot leak. Whoever waits takes the first that comes free; there is no order among those who wait.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pilothouse.config import Settings
from pilothouse.volumes import Volumes

_POLL = 0.05
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
_FREE_SHARE = 0.9
_LEAST_LEFT = 1 / 8  # of the memory, however much of it volumes have: part of what they have may be in swap


class Slots:
    """The `count` slots whose lock files are in `directory`; everyone who shares the folder shares the slots."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._count = count

    def try_acquire(self) -> Slot | None:
        """A free slot, or None if all are taken."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for index in range(self._count):
            slot = _lock(self._directory / f"slot-{index}.lock", index)
            if slot is not None:
                return slot
        return None

    @contextmanager
    def hold(self, give_up: Callable[[], bool] = lambda: False) -> Iterator[Slot | None]:
        """Waits for a slot and holds it for the block; yields None once `give_up()` says so, without a slot."""
        slot = self.try_acquire()
        while slot is None and not give_up():
            time.sleep(_POLL)
            slot = self.try_acquire()
        try:
            yield slot
        finally:
            if slot is not None:
                slot.release()


class Slot:
    """One slot, held until `release` or the end of this process."""

    def __init__(self, index: int, descriptor: int) -> None:
        self.index = index
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the slot back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _lock(path: Path, index: int) -> Slot | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Slot(index, descriptor)


def memory_share(settings: Settings) -> int:
    """The bytes of memory that one trial, or replica, may use: an equal share of what this host lets trials have, and
    volumes in memory have left.
    """
    host = _host_memory()
    return int(max(host - Volumes(settings).held, host * _LEAST_LEFT) * settings.memory_fraction / settings.slots)


def memory_room(settings: Settings) -> int:
    """The bytes that trials which start now may use together: what is free, and never more than trials may have."""
    return int(min(_host_memory() * settings.memory_fraction, _free_memory() * _FREE_SHARE))


def _free_memory() -> int:
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(_CGROUP_LIMIT.read_text()) - int(_CGROUP_USED.read_text()))
    except (OSError, ValueError):
        return free


def _host_memory() -> int:
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return total
