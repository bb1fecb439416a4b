"""A program that is not trusted, as a child of this process: a session of its own, under the kernel's limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pilothouse.errors import LaunchFailed
from pilothouse.launch import processes

MOST_PROCESSES = 512
"""Processes that a training program may have at once."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """What each process of a program may have: bytes of data, bytes of a file, seconds of CPU; and how many there are.

    The number of processes is the kernel's care, but for root only where `headcount` finds a control group; whoever
    watches the program looks at it too.
    """

    data_bytes: int
    file_bytes: int
    cpu_seconds: int
    processes: int = MOST_PROCESSES

    @property
    def tasks(self) -> int:
        """Threads that all its processes may have together."""
        return 8 * self.processes


def limit(limits: Limits) -> None:
    """Puts this process under `limits`, and so all that it starts from now on."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: limits.data_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
    }
    if os.getuid() != 0:
        wanted[resource.RLIMIT_NPROC] = _tasks_of_user() + limits.tasks
    for which, most in wanted.items():
        _, hard = resource.getrlimit(which)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))


def start(
    argv: Sequence[str], *, folder: str, environment: Mapping[str, str], output: int, kept: Sequence[int] = ()
) -> int:
    """Starts `argv` in `folder`, stdout and stderr to the descriptor `output`; its pid, also its session's.

    It inherits the descriptors `kept`. `LaunchFailed` if it can't be executed. The caller waits for the pid.
    """
    try:
        started = subprocess.Popen(  # vfork: this process has many pages, and none is copied
            list(argv),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(kept),
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchFailed(f"The program cannot be started: {error.strerror}: {error.filename}") from error
    started.returncode = 0  # others wait for it
    return started.pid


def fork(become: Callable[[], object], *, output: int, kept: Sequence[int] = ()) -> int:
    """Calls `become` in a child as `start` makes them, which has `kept` of the descriptors above 2; what it forks has
    them too. It ends with 0 when `become` returns, with 1 if that raises.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _separate(parent, output, kept)
        become()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _separate(parent: int, output: int, kept: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    end = max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208
    for before, after in pairwise((2, *sorted(kept), end)):
        os.closerange(before + 1, after)


def _tasks_of_user() -> int:
    """The threads that this user has already: the kernel's limit counts them all."""
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208
        with suppress(OSError, ValueError):
            if name.isdigit() and Path("/proc", name).stat().st_uid == os.getuid():
                count += processes.threads(int(name))
    return count


def family(pid: int) -> list[int]:
    """The program `pid` and all that descends from it, wherever it went; zombies too.

    This process must be a subreaper with no other children, so that what lost its parent is a child of it.
    """
    return processes.family(processes.table(), [pid, *processes.own_children()])


def reap(pid: int) -> None:
    """Takes in those that lost their parent, and so are children of this process, and have ended; not `pid`."""
    for child in processes.own_children():
        if child != pid:
            with suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def terminate(pid: int) -> bool:
    """SIGTERM to the program and its descendants, but not to what wraps them, which would take them along.

    False if there was nothing but what wraps it: that may not have started it yet.
    """
    reached = False
    for member in family(pid):
        if _command(member) not in ("bwrap", "unshare"):
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGTERM)
                reached = True
    return reached


def destroy(pid: int, patience: float) -> bool:
    """SIGKILL to the program and its descendants until none is left; False if some are after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # at once, so that those which fork can't get away
        if all(map(_is_gone, processes.own_children())):  # whoever lost its parent is a child of this process
            return True
        left = [member for member in family(pid) if not _is_gone(member)]
        if time.monotonic() > deadline:
            return not left
        processes.kill(left)
        time.sleep(0.002)


def _is_gone(pid: int) -> bool:
    found = processes.entry(pid)
    return found is None or found.zombie


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def tasks() -> int:
    """How many threads this host runs, read in microseconds; a look at who they are is worth it if it jumps."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
