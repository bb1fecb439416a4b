"""The nursery's children: forked, watched, killed with all their descendants, and reaped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from pilothouse.launch import headcount, processes
from pilothouse.launch.base import Exit, Program
from pilothouse.launch.child import become

_WATCH = 0.2  # seconds between two looks at memory
_COUNT = 1.0  # seconds between two looks for new descendants while a program holds less than half of its memory
_SHARE = 20  # a look at memory may take 1/20 of the time, however many processes the host has


@dataclass(eq=False)
class Child:
    """A forked program. `owner` and `number` are its nursery's; `exit` is set when it has ended.

    `family`: it and its descendants, as they were counted last; to be counted again at `count_at`.
    """

    pid: int
    program: Program
    deadline: float | None
    owner: object = None
    number: int = 0
    reason: str | None = None
    exit: Exit = field(default_factory=Exit)
    family: list[int] = field(default_factory=list)
    count_at: float = 0.0


class Brood:
    """All children of this process. `report` is called with each that has ended, after its descendants were killed."""

    def __init__(self, report: Callable[[Child], None]) -> None:
        self._children: dict[int, Child] = {}
        self._report = report
        self._next_look = 0.0

    def __len__(self) -> int:
        return len(self._children)

    def fork(self, program: Program, log: int, inherited: Iterable[int]) -> Child:
        """Starts `program`; `OSError` if the kernel refuses. Signals that a child handles must be blocked."""
        me = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            become(program, log, me, inherited)
        deadline = None if program.time_limit is None else time.monotonic() + program.time_limit
        child = self._children[pid] = Child(pid, program, deadline)
        return child

    def kill(self, children: Iterable[Child]) -> None:
        """SIGKILL to `children` and all their descendants."""
        roots = [child.pid for child in children if child.pid in self._children]
        if roots:
            processes.kill(processes.family(processes.table(), roots))

    def patience(self) -> float | None:
        """Seconds until `watch` has something to do; None if nothing is limited."""
        moments = [child.deadline for child in self._children.values() if child.deadline is not None]
        if any(child.program.memory_limit is not None for child in self._children.values()):
            moments.append(self._next_look)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def watch(self) -> None:
        """Kills what has passed a limit."""
        now = time.monotonic()
        for child in self._children.values():
            if child.deadline is not None and now >= child.deadline:
                child.deadline = None
                self._end(child, f"exceeded its time limit of {child.program.time_limit:g} s")
        if now >= self._next_look:
            self._look_at_memory()
            spent = time.monotonic() - now
            self._next_look = now + max(_WATCH, _SHARE * spent)

    def _look_at_memory(self) -> None:
        seen: processes.Table = {}
        for child in self._children.values():
            limit = child.program.memory_limit
            if limit is None or child.reason is not None:
                continue
            now = time.monotonic()
            if now >= child.count_at or processes.resident(child.family) > limit // 2:
                seen = seen or processes.table()
                child.family, child.count_at = processes.family(seen, [child.pid]), now + _COUNT
            used = processes.exceeds(child.family, limit)
            if used is not None:
                self._end(child, f"exceeded its memory limit of {_size(limit)} (it used {_size(used)})")

    def _end(self, child: Child, reason: str) -> None:
        child.reason = child.reason or reason
        self.kill([child])

    def reap(self) -> None:
        """Takes in all that have ended, kills what they left running, and reports them."""
        ended = list(self._reaped())
        if not ended:
            return
        self._kill_strays()
        for child in ended:
            if child is not None:
                headcount.remove(child.pid)
                self._report(child)

    def _reaped(self) -> Iterable[Child | None]:
        """Each ended child of this process; None for an adopted one."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self._children.pop(pid, None)
                if child is not None:
                    child.exit = _exit(status, child.reason)
                yield child

    def _kill_strays(self) -> None:
        """Kills what this process was made the parent of: only descendants of an ended program come here."""
        strays = [pid for pid in processes.own_children() if pid not in self._children]
        if strays:
            processes.kill(processes.family(processes.table(), strays))

    def destroy(self, patience: float) -> None:
        """Kills all children and waits up to `patience` seconds until none is left."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            seen = processes.table()
            me = os.getpid()
            left = processes.family(seen, [found.pid for found in seen.values() if found.parent == me])
            if not left:
                return
            processes.kill(left)
            list(self._reaped())
            time.sleep(0.005)


def _exit(status: int, reason: str | None) -> Exit:
    if os.WIFSIGNALED(status):
        return Exit(None, os.WTERMSIG(status), reason if os.WTERMSIG(status) == signal.SIGKILL else None)
    return Exit(os.WEXITSTATUS(status), None, None)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
