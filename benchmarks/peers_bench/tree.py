"""All processes of a run: how much memory they have together, and their end."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from types import TracebackType

import psutil

_PR_SET_CHILD_SUBREAPER = 36
EVERY_SECONDS = 1.0
"""Between two samples. One of ten processes takes up to 75 ms of a processor and holds them up meanwhile: four a second
would take a seventh of two processors from a tool with that many, and found peaks at most 3 % higher."""


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant that loses its own, so that none escapes the measurement."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "This process cannot adopt orphans: prctl(PR_SET_CHILD_SUBREAPER) failed")


class MemoryWatch:
    """Samples, within its block, the memory of all descendants of this process: the sum of their PSS.

    PSS counts a page that n processes share as 1/n in each, so forked children are not counted several times.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def peak(self, until: float = float("inf"), since: float = float("-inf")) -> int:
        """The largest sum in bytes between two moments of the clock of `time.monotonic()`."""
        return max((size for at, size in self._samples if since <= at <= until), default=0)

    def _watch(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            size = sum(_pss(process) for process in descendants())
            self._samples.append((time.monotonic(), size))


def descendants() -> list[psutil.Process]:
    """Every process below this one."""
    return list(psutil.Process().children(recursive=True))


def end_descendants() -> None:
    """Kills every process below this one, and takes their exit statuses."""
    while alive := [process for process in descendants() if _is_alive(process)]:
        for process in alive:
            _kill(process)
        psutil.wait_procs(alive, timeout=5)
    _reap()


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it ended, or is a zombie
        return 0
