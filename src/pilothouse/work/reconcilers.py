"""Reconcilers: what the supervisor keeps going beside jobs, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

_POLL = 0.2
_PAUSE_AFTER_FAILURE = 1.0

journal = structlog.get_logger()


class Reconciler(Protocol):
    """Brings what runs in line with what the store says should run."""

    def tick(self) -> None:
        """Makes one round; called again and again, from one thread."""
        ...

    def stop(self, timeout: float) -> None:
        """Ends what it runs within `timeout` seconds; called once, after the last tick, from the same thread."""
        ...


class ReconcilerThread:
    """Calls a reconciler's `tick` five times a second and when woken, and in the end its `stop`."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._timeout = 0.0
        self._thread = threading.Thread(target=self._loop, name=type(reconciler).__name__, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """Asks for a tick now."""
        self._woken.set()

    def ask_to_stop(self, timeout: float) -> None:
        """Makes the current tick the last; `stop` then has `timeout` seconds. Does not wait."""
        self._timeout = timeout
        self._stopping.set()
        self._woken.set()

    def join(self, timeout: float) -> None:
        """Waits for the end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            if not self._guarded("tick", self._reconciler.tick):
                self._stopping.wait(_PAUSE_AFTER_FAILURE)
            self._woken.wait(_POLL)
            self._woken.clear()
        self._guarded("stop", lambda: self._reconciler.stop(self._timeout))

    def _guarded(self, what: str, call: Callable[[], None]) -> bool:
        try:
            call()
            return True
        except Exception:  # the next round may do better
            journal.exception("a reconciler failed", reconciler=type(self._reconciler).__name__, call=what)
            return False
