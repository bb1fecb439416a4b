"""What a running job has come to, drawn live on a terminal and line by line elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Generic, TypeVar

from rich.console import Console, Group
from rich.live import Live as Drawn
from rich.table import Table
from rich.text import Text

SHOWN = 20
"""How many rows of a table are drawn."""

_STYLES = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}

Progress = TypeVar("Progress")


class Live(ABC, Generic[Progress]):
    """Call it with each `Progress` within its `with` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = Drawn(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._said: set[str] = set()

    def __enter__(self) -> Live[Progress]:
        if self._drawn is not None:
            self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    def __call__(self, progress: Progress) -> None:
        if self._drawn is not None:
            self._drawn.update(Group(Text(self.headline(progress), style="bold"), self.table(progress)))
            return
        for line in self.lines(progress):
            if line not in self._said:
                self._said.add(line)
                self._console.print(line, highlight=False)

    @abstractmethod
    def headline(self, progress: Progress) -> str:
        """The job in a line."""

    @abstractmethod
    def table(self, progress: Progress) -> Table:
        """What it has come to."""

    @abstractmethod
    def lines(self, progress: Progress) -> Iterable[str]:
        """What there is to say where nothing is drawn; each line is said once, so it doesn't tell a running time."""


def status(text: str) -> Text:
    """A status in its colour."""
    return Text(text, _STYLES.get(text, ""))


def seconds(begun: datetime, ended: datetime | None = None) -> float:
    """How long something has lasted."""
    return (ended.timestamp() if ended else time.time()) - begun.timestamp()


def number(value: float | None) -> str:
    """A metric, short: four decimals, or four significant digits where those say nothing."""
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.4g}"
