"""The process table of this host, read from /proc in one pass: who descends from whom, and the memory they hold."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Entry(NamedTuple):
    """One process: its parent, its session, and its start in clock ticks since boot (with the pid, a unique name)."""

    pid: int
    parent: int
    session: int
    started: int
    zombie: bool


Table = dict[int, Entry]


def entry(pid: int) -> Entry | None:
    """The table's entry for `pid`; None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the command name before it may hold any bytes
    return Entry(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in b"ZX")


def table() -> Table:
    """All processes that can be seen."""
    entries = (entry(int(name)) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 (hot: no Path each)
    return {found.pid: found for found in entries if found is not None}


def own_children() -> list[int]:
    """The children of this process, zombies too, without a look at all processes.

    None is missed if this process has one thread, since nobody else takes one from the kernel's list.
    """
    me = os.getpid()
    try:
        return [int(word) for word in (_PROC / str(me) / "task" / str(me) / "children").read_text().split()]
    except OSError:  # a kernel that does not tell
        return [found.pid for found in table().values() if found.parent == me]


def family(processes: Table, roots: Iterable[int]) -> list[int]:
    """`roots`, all that are in a session which a root leads, and all descendants of these: parents before children.

    So whoever kills them in this order kills those first that would tell of the others' end.
    """
    members = dict.fromkeys(roots)
    members |= dict.fromkeys([found.pid for found in processes.values() if found.session in members])
    children: dict[int, list[int]] = {}
    for found in processes.values():
        children.setdefault(found.parent, []).append(found.pid)
    pending = deque(members)
    while pending:
        fresh = [pid for pid in children.get(pending.popleft(), ()) if pid not in members]
        members.update(dict.fromkeys(fresh))
        pending += fresh
    return [pid for pid in members if pid in processes]


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; those that are gone already don't matter."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, SIGKILL)


def exceeds(pids: Iterable[int], limit: int) -> int | None:
    """The memory of `pids` together in bytes if it is more than `limit`, without what is backed by files; or None.

    Pages of memory-mapped files are left out: the kernel takes those back when memory is short. Pages that forked
    processes share count once, which the kernel is only asked for if it matters, since it has to walk all pages.
    """
    members = list(pids)
    if resident(members) <= limit:
        return None
    used = sum(map(_proportional, members))
    return used if used > limit else None


def resident(pids: Iterable[int]) -> int:
    """The memory of `pids` in bytes, without what is backed by files; shared pages count for each that has them."""
    return sum(map(_resident, pids))


def _resident(pid: int) -> int:
    try:
        fields = (_PROC / str(pid) / "statm").read_text().split()
    except OSError:
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * _PAGE


def _proportional(pid: int) -> int:
    """The anonymous memory of a process, each page divided by the processes that share it."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) << 10
    return _resident(pid)


def threads(pid: int) -> int:
    """How many threads the process has."""
    return len(list((_PROC / str(pid) / "task").iterdir()))
