"""The last resort against orphans: find by a mark in their environment what a dead nursery left behind.

A nursery kills all that it started, also when its server dies. Only when the nursery itself is killed can something
stay behind: not its children, which the kernel ends with it, but what those had started. The mark names the server
process, so that a later server can tell what belongs to nobody any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pilothouse import names
from pilothouse.launch import processes

MARK = "PILOTHOUSE_NURSERY"
_PATIENCE = 5.0


def new_mark() -> str:
    """A mark for one nursery of this process: "<server pid>-<server start>-<random>"."""
    me = processes.entry(os.getpid())
    return f"{os.getpid()}-{me.started if me else 0}-{names.token()}"


def sweep(mark: str) -> list[int]:
    """Kills all that bears `mark` and waits until it is gone; the pids."""
    return _kill(lambda found: found == mark)


def sweep_dead() -> list[int]:
    """Kills what nurseries of servers that are dead left behind, and waits until it is gone; the pids."""
    return _kill(_is_dead)


def bearers(accept: Callable[[str], bool]) -> list[int]:
    """The live processes of this user whose mark `accept` takes, without this process and its ancestors."""
    seen = processes.table()
    mine = _line_of(os.getpid(), seen)
    return [pid for pid, found in seen.items() if pid not in mine and not found.zombie and _accepted(pid, accept)]


def _kill(accept: Callable[[str], bool]) -> list[int]:
    killed: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    while (found := bearers(accept)) and time.monotonic() < deadline:
        processes.kill(found)
        killed.update(found)
        time.sleep(0.01)
    return sorted(killed)


def _accepted(pid: int, accept: Callable[[str], bool]) -> bool:
    mark = _mark(pid)
    return mark is not None and accept(mark) and _same_namespace(pid)


def _mark(pid: int) -> str | None:
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(MARK.encode() + b"="):
                return variable.partition(b"=")[2].decode(errors="replace")
    return None


def _is_dead(mark: str) -> bool:
    pid, _, rest = mark.partition("-")
    started = rest.partition("-")[0]
    if not (pid.isdigit() and started.isdigit()):
        return False
    server = processes.entry(int(pid))
    return server is None or server.zombie or server.started != int(started)


def _same_namespace(pid: int) -> bool:
    """A pid in a mark means something only inside the pid namespace (the container) where it was written."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
    return False


def _line_of(pid: int, seen: processes.Table) -> set[int]:
    line: set[int] = set()
    while pid in seen and pid not in line:
        line.add(pid)
        pid = seen[pid].parent
    return line
