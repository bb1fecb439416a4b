"""What a launcher promises: programs in, processes out, and no orphan whoever dies.

A launcher starts a `Program` in a process of its own, watches its memory and time, and tells how it ended. Everything
it started ends when its owner closes it or dies, by kill -9 too.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

NURSERY_ENDED = "ended with the process that had started it"
"""The reason of an exit that nothing about the program has brought about."""

AT_WORK = 5
"""The niceness of programs that train or predict many rows, so that a server that trains still answers at once."""


@dataclass(frozen=True)
class Program:
    """Something to run: the function `target` ("package.module:function") with JSON-able keyword `arguments`.

    `log` receives stdout and stderr, appended; without it they go where the launcher's own go. `environment` is added
    to the launcher's, and a PYTHONPATH in it is honoured. `memory_limit` is in bytes, for the program and all its
    descendants; `time_limit` in seconds from the start; `nice` is added to the launcher's niceness; `label` is for
    people who look at the process list. A `light` program needs none of the heavy libraries: it starts quicker, in a
    process without them.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_limit: int | None = None
    time_limit: float | None = None
    nice: int = 0
    label: str = ""
    light: bool = False


@dataclass(frozen=True)
class Exit:
    """How a process ended: by exit `code`, or by `signal`; `reason` says why, if the launcher itself ended it."""

    code: int | None = None
    signal: int | None = None
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the target returned."""
        return self.code == 0

    def describe(self) -> str:
        """A clause without a subject, such as "was killed by signal 9 (SIGKILL)"."""
        if self.reason:
            return self.reason
        if self.signal is not None:
            return f"was killed by signal {self.signal} ({_signal_name(self.signal)})"
        return f"ended with exit code {self.code}"


class Process(Protocol):
    """A started program. All methods may be called from any thread, and after its end."""

    @property
    def pid(self) -> int:
        """The process id; also its session's and its process group's."""
        ...

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Waits for the end; None if `timeout` seconds pass first."""
        ...

    def terminate(self) -> None:
        """Asks it to end (SIGTERM to the program itself)."""
        ...

    def kill(self) -> None:
        """Ends it with all its descendants (SIGKILL)."""
        ...


class Launcher(Protocol):
    """Starts programs. May be used from any thread."""

    def launch(self, program: Program) -> Process:
        """Starts `program`; `LaunchFailed` if that is not possible. May block while the launcher warms up."""
        ...

    def close(self) -> None:
        """Kills all that was launched and lets go of resources; a second call does nothing."""
        ...


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown signal"
