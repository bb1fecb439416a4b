"""What a process does from its fork in the nursery to its end."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from pilothouse.launch.base import Program

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent died, so that none slips out of its tree."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def become(program: Program, log: int, nursery: int, inherited: Iterable[int]) -> NoReturn:
    """Turns this freshly forked process into `program` and ends it with the target's outcome.

    `log` is the descriptor for stdout and stderr, `nursery` the pid of the parent, `inherited` are descriptors to
    close. Called with the handled signals blocked; a SIGTERM that came meanwhile takes effect here.
    """
    code = 1
    try:
        _separate(nursery)
        _redirect(log, inherited)
        _settle(program)
        code = _outcome(program)
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _separate(nursery: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != nursery:  # it died before the line above
        os._exit(1)
    os.setsid()
    adopt_orphans()
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


def _redirect(log: int, inherited: Iterable[int]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in {null, log, *inherited} - {0, 1, 2}:
        os.close(descriptor)
    faulthandler.enable(file=sys.stderr)


def _settle(program: Program) -> None:
    os.environ.update(program.environment)
    _libc.prctl(_PR_SET_NAME, program.label.encode()[:15] or b"pilothouse", 0, 0, 0)
    if program.nice:
        os.nice(program.nice)
    if program.memory_limit is not None:
        _volunteer_for_oom()
    if "PYTHONPATH" in program.environment:
        sys.path[:0] = program.environment["PYTHONPATH"].split(os.pathsep)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # `random` sees to itself after a fork


def _volunteer_for_oom() -> None:
    """When the host runs out of memory, a trial is to die before a job or the server."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _outcome(program: Program) -> int:
    try:
        module, _, function = program.target.partition(":")
        getattr(importlib.import_module(module), function)(**program.arguments)
    except SystemExit as stop:
        return _exit_code(stop)
    return 0


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return 1


def _leave(code: int) -> NoReturn:
    """Ends the process without the nursery's own exit handlers, but with all output written."""
    for flush in (logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        with suppress(Exception):
            flush()
    os._exit(code & 0xFF)
