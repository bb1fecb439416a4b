"""Memory for trials that run side by side: who does not fit beside the others waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_AGAIN = 0.5


class Room:
    """`size` bytes for all trials together. Thread-safe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: list[int] = []
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, need: int, give_up: Callable[[], bool]) -> Iterator[None]:
        """Holds `need` bytes for the block, once they are free or nobody else holds any, or `give_up()` says so."""
        with self._changed:
            while self._held and sum(self._held) + need > self.size and not give_up():
                self._changed.wait(_LOOK_AGAIN)
            self._held.append(need)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(need)
                self._changed.notify_all()
