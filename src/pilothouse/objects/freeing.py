"""Having a thread give the space of large files back to the disk, so that who replaces or removes one needn't wait.

The kernel frees a file once it has no name and nobody holds it: tens of milliseconds for 64 MiB, seconds for a few GiB,
and whoever takes the last of both pays.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

_LARGE = 4 << 20
"""Bytes of a file that take longer to free than to hand over."""

_MOST = 16
"""Files that wait for the thread; what is more is freed by its remover."""


class Freer:
    """One thread, which starts with the first file that it is given."""

    def __init__(self) -> None:
        self._held: queue.Queue[int] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @contextlib.contextmanager
    def removing(self, path: Path | str) -> Iterator[None]:
        """Around a step that takes this name away from a file, if there is one."""
        descriptor = _opened(path)
        try:
            yield
        finally:
            if descriptor is not None:
                self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._serve, name="freeing", daemon=True)
                    thread.start()
                    self._thread = thread
            self._held.put_nowait(descriptor)
        except (RuntimeError, queue.Full):  # the first: no thread can be had
            _close(descriptor)

    def _serve(self) -> None:
        while True:
            _close(self._held.get())

    def close(self) -> None:
        """What waits is freed at once. For a process that was forked, and has all of this but the thread."""
        while self._held.queue:
            _close(self._held.queue.popleft())


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the file has lost its name all the same
        os.close(descriptor)


def _opened(path: Path | str) -> int | None:
    try:
        if os.stat(path).st_size < _LARGE:  # noqa: PTH116 (made on each put)
            return None
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


_freer = Freer()


def removing(path: Path | str) -> contextlib.AbstractContextManager[None]:
    """As `Freer.removing`, with the thread of this process."""
    return _freer.removing(path)


def _anew() -> None:
    global _freer
    _freer.close()
    _freer = Freer()  # the old one's locks may be held by a thread that is not here


os.register_at_fork(after_in_child=_anew)
