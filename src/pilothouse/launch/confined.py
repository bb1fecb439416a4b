"""A program that is not trusted, as a child of this process: a session of its own, under the kernel's limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pilothouse.launch import processes

_PR_SET_PDEATHSIG = 1
_NOT_EXECUTABLE = 127
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """What each process of a program may have: bytes of data, bytes of a file, seconds of CPU; and how many there are.

    The number of processes is the kernel's care unless this user is root, whom the kernel does not count; whoever
    watches the program looks at it too.
    """

    data_bytes: int
    file_bytes: int
    cpu_seconds: int
    processes: int = 512


def start(argv: Sequence[str], *, folder: str, environment: Mapping[str, str], output: int, limits: Limits) -> int:
    """Starts `argv` in `folder`, stdout and stderr to the descriptor `output`; its pid, also its session's.

    A program that can't be executed says why on `output` and ends with code 127.
    """

    def become() -> NoReturn:
        os.chdir(folder)
        os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606 - no shell is wanted

    return fork(become, output=output, limits=limits)


def fork(become: Callable[[], object], *, output: int, limits: Limits) -> int:
    """Calls `become` in a child as `start` makes them; the child ends with 0 when it returns, with 1 if it raises."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _separate(parent, output)
        _limit(limits)
        become()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except OSError as error:
        os.write(2, f"The program cannot be started: {error.strerror}: {error.filename}\n".encode())
        code = _NOT_EXECUTABLE
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _separate(parent: int, output: int) -> None:
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
    os.closerange(3, _highest_descriptor() + 1)


def _highest_descriptor() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208


def _limit(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: limits.data_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
    }
    if os.getuid() != 0:
        wanted[resource.RLIMIT_NPROC] = _tasks_of_user() + 8 * limits.processes  # threads count too
    for which, most in wanted.items():
        _, hard = resource.getrlimit(which)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))


def _tasks_of_user() -> int:
    """The threads that this user has already: the kernel's limit counts them all."""
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208
        with suppress(OSError, ValueError):
            if name.isdigit() and Path("/proc", name).stat().st_uid == os.getuid():
                count += processes.threads(int(name))
    return count


def family(pid: int) -> set[int]:
    """The program `pid` and all that descends from it, wherever it went, that this process can see."""
    return processes.family(processes.table(), [pid, *_adopted(pid)])


def terminate(pid: int) -> None:
    """SIGTERM to the program and its descendants, but not to the bubblewrap around it, which would take it along."""
    for member in family(pid):
        if _command(member) != "bwrap":
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGTERM)


def destroy(pid: int, patience: float) -> bool:
    """SIGKILL to the program and its descendants until none is left; False if some are after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # at once, so that those which fork can't get away
        seen = processes.table()
        left = {p for p in processes.family(seen, [pid, *_adopted(pid)]) if p in seen and not seen[p].zombie}
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        processes.kill(left)
        time.sleep(0.005)


def _adopted(pid: int) -> list[int]:
    """Other children of this process, which must be a subreaper: what the program left without a parent."""
    me = os.getpid()
    return [found.pid for found in processes.table().values() if found.parent == me and found.pid != pid]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def tasks() -> int:
    """How many threads this host runs, read in microseconds; a look at who they are is worth it if it jumps."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
