"""Ctrl-C that asks for an end, and is lost nowhere."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """Within its block the first Ctrl-C only makes `asked` true, and the next one does what it did before.

    An exception could come in the midst of a clean-up that Python lets nothing out of, and would be lost there. Only
    the main thread hears Ctrl-C; in another one nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Interrupt:
        if self._is_main:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_main:
            self._put_back()

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._put_back()

    def _put_back(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL if self._before is None else self._before)
