"""A nursery's start and end, as the server that owns it sees them."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed
from pilothouse.launch import orphans
from pilothouse.launch.preload import PRELOAD, SINGLE_THREADED

ADDRESS = "PILOTHOUSE_NURSERY_SOCKET"
"""The variable that tells a program where the nursery that started it listens."""

SOCKET = "nursery.sock"
LIGHT_SOCKET = "light.sock"
_PREFIX = "pilothouse-"
_FALLBACK = "/tmp"  # noqa: S108
_LONGEST_SOCKET_PATH = 100
_PATIENCE = 5.0


class NurseryHandle:
    """A nursery process of this process's own. It ends with `close`, or with this process."""

    def __init__(self, process: subprocess.Popen[bytes], runtime: Path, lifeline: int, mark: str) -> None:
        self._process = process
        self._runtime = runtime
        self._lifeline = lifeline
        self._mark = mark
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """The nursery's process id."""
        return self._process.pid

    @property
    def address(self) -> Path:
        """The socket that it listens on."""
        return self._runtime / SOCKET

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the nursery and all that it started, and waits until nothing is left; may be called twice."""
        with self._lock:
            self._let_go()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            orphans.sweep(self._mark)
            shutil.rmtree(self._runtime, ignore_errors=True)

    def _let_go(self) -> None:
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)
            self._process.terminate()  # while it still loads libraries it hears nothing else, and has started nothing


def start_nursery(settings: Settings, preload: Iterable[str] = PRELOAD) -> NurseryHandle:
    """Starts a nursery; returns at once, while it still loads `preload`. Connections wait until it is ready.

    `LaunchFailed` if that is not possible now.
    """
    with ExitStack() as undo:
        try:
            runtime = _runtime_directory()
            undo.callback(shutil.rmtree, runtime, ignore_errors=True)
            mark = orphans.new_mark()
            reading, writing = os.pipe()
            undo.callback(os.close, writing)
            try:
                process = _started(settings, preload, mark, runtime, reading)
            finally:
                os.close(reading)
        except OSError as error:
            why = error.strerror or error
            raise LaunchFailed(f"The nursery cannot be started: {why}. It is tried again.") from error
        undo.pop_all()
    return NurseryHandle(process, runtime, writing, mark)


def _started(
    settings: Settings, preload: Iterable[str], mark: str, runtime: Path, lifeline: int
) -> subprocess.Popen[bytes]:
    with _listening(runtime / LIGHT_SOCKET) as light, _listening(runtime / SOCKET) as listener:
        descriptors = {"--listener": listener.fileno(), "--light": light.fileno(), "--lifeline": lifeline}
        return _spawn(settings, descriptors, preload, mark, runtime / SOCKET)


def _listening(address: Path) -> socket.socket:
    """A socket that listens at `address`. Under its name a live one never refuses: `sweep_folders`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = address.with_suffix(".new")
    listener.bind(str(new))
    listener.listen(128)
    new.rename(address)
    return listener


def _spawn(
    settings: Settings, descriptors: dict[str, int], preload: Iterable[str], mark: str, address: Path
) -> subprocess.Popen[bytes]:
    options = [word for option, descriptor in descriptors.items() for word in (option, str(descriptor))]
    options += ["--preload", ",".join(preload)]
    settings.work_root.mkdir(parents=True, exist_ok=True)
    with (settings.work_root / "nursery.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pilothouse.launch.nursery", *options, "--home", str(settings.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=tuple(descriptors.values()),
            start_new_session=True,
            env={**os.environ, **SINGLE_THREADED, orphans.MARK: mark, ADDRESS: str(address)},
        )


def _runtime_directory() -> Path:
    """A new private folder whose path is short enough for a socket in it (the kernel takes 107 bytes)."""
    runtime = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if len(os.fsencode(runtime)) + len(SOCKET) + 1 <= _LONGEST_SOCKET_PATH:
        return runtime
    runtime.rmdir()
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_FALLBACK))


def sweep_folders() -> list[Path]:
    """Removes this user's socket folders where no nursery listens any more, because it was killed; which they were."""
    parents = {Path(tempfile.gettempdir()), Path(_FALLBACK)}
    found = [folder for parent in parents for folder in parent.glob(f"{_PREFIX}????????")]
    left = [folder for folder in found if _is_left(folder)]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return left


def _is_left(folder: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as guest:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        guest.setblocking(False)
        try:
            guest.connect(str(folder / SOCKET))
        except ConnectionRefusedError:
            return True
    return False
