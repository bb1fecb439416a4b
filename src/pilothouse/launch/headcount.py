"""The kernel's own bound on how many tasks a program may have: a control group of the pids controller.

Whoever only looks at a program that forks as fast as it can, and then ends it, may be too slow on a busy machine: by
then no process of anybody can be started. Where this user may make no such group (not root, or /sys/fs/cgroup is not to
be written to) looking has to do.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_NAME = "pilothouse-"
_PROCESSES, _MOST = "cgroup.procs", "pids.max"


def bound(tasks: int) -> bool:
    """From now on this process and all that it starts have at most so many tasks, threads counted; whether that is so.

    What is beyond gets EAGAIN (`BlockingIOError`) from fork. Whoever waits for this process `remove`s its group: it
    can't leave, for the kernel takes milliseconds to move a process.
    """
    above = _own_place()
    group = None if above is None else _made(above, tasks)
    return group is not None and _enter(group)


def remove(pid: int) -> None:
    """Removes the group of a child that was in the same group as this process before it was `bound`, and has ended."""
    above = _beside()
    if above is not None:
        with suppress(OSError):
            (above / f"{_NAME}{pid}").rmdir()


@cache
def _beside() -> Path | None:
    return _own_place()


def _own_place() -> Path | None:
    proc = Path("/proc/self")
    return place(_text(proc / "cgroup"), _text(proc / "mountinfo"))


def place(own: str, mounts: str) -> Path | None:
    """The folder of the group that this process is in, by the texts of /proc/self/cgroup and /proc/self/mountinfo; None
    if no mounted hierarchy of the first version counts tasks and there is none of the second.
    """
    paths = {name: path for line in own.splitlines() for name, path in _memberships(line)}
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = [*after.split(), "", "", ""][:3]
        name = {"cgroup": "pids" if "pids" in options.split(",") else None, "cgroup2": ""}.get(kind)
        if name is not None and name in paths and Path(paths[name]).is_relative_to(root) and ".." not in paths[name]:
            found[name] = Path(point) / Path(paths[name]).relative_to(root)
    return found.get("pids", found.get(""))


def _memberships(line: str) -> list[tuple[str, str]]:
    _, controllers, path = line.split(":", 2)
    return [(name, path) for name in controllers.split(",")]


def _made(above: Path, tasks: int) -> Path | None:
    """A new group below `above`; groups whose process is gone are removed. None if it can't be made."""
    for old in above.glob(f"{_NAME}*"):
        if not Path("/proc", old.name.removeprefix(_NAME)).exists():
            with suppress(OSError):
                old.rmdir()
    group = above / f"{_NAME}{os.getpid()}"
    try:
        group.mkdir(exist_ok=True)  # there if one of the same pid was killed with whoever waited for it
    except OSError:
        return None
    if not (group / _MOST).exists():  # the group above does not pass the controller on
        group.rmdir()
        return None
    (group / _MOST).write_text(str(tasks))
    return group


def _enter(group: Path) -> bool:
    try:
        (group / _PROCESSES).write_text("0")
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")  # paths need not be text
    except OSError:
        return ""
