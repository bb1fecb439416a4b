"""Programs on this machine: the clients of a nursery."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed
from pilothouse.launch import orphans
from pilothouse.launch.base import NURSERY_ENDED, Exit, Launcher, Process, Program
from pilothouse.launch.handle import ADDRESS, LIGHT_SOCKET, NurseryHandle, start_nursery, sweep_folders
from pilothouse.launch.lines import encoded as line
from pilothouse.launch.preload import PRELOAD

_WARM_UP = 120.0
_PATIENCE = 5.0

journal = structlog.get_logger()


class NurseryProcess:
    """A program that a nursery started; see `base.Process`."""

    def __init__(self, number: int, send: Callable[[dict[str, Any]], None]) -> None:
        self._number = number
        self._send = send
        self._answered = threading.Event()
        self._ended = threading.Event()
        self._exit: Exit | None = None
        self.refusal: str | None = None
        self.pid = 0

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs."""
        return self._exit

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Waits for the end; None if `timeout` seconds pass first."""
        self._ended.wait(timeout)
        return self._exit

    def terminate(self) -> None:
        """Asks it to end (SIGTERM to the program itself)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it with all its descendants (SIGKILL)."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if not self._ended.is_set():
            with suppress(OSError):  # the nursery is gone, and so is the program
                self._send({"op": "signal", "id": self._number, "signal": number})

    def started(self, timeout: float) -> bool:
        """Waits for the nursery's answer; False if none comes."""
        return self._answered.wait(timeout)

    def hear(self, message: dict[str, Any]) -> None:
        """Takes in what the nursery says about this program."""
        match message["event"]:
            case "launched":
                self.pid = message["pid"]
            case "refused":
                self.refusal = message["reason"]
            case "exited":
                self.end(Exit(message["code"], message["signal"], message["reason"]))
        self._answered.set()

    def end(self, outcome: Exit) -> None:
        """The program is over."""
        self._exit = self._exit or outcome
        self._answered.set()
        self._ended.set()


class NurseryLauncher(Launcher):
    """A connection to the nursery at the socket `address`, and all that was launched over it.

    When the nursery dies, `on_lost` is called, perhaps more than once, before anybody is told that a program was killed
    or can't be started. Light programs come from the light nursery beside it, over a connection that is made when it is
    first needed.
    """

    def __init__(self, address: Path, on_lost: Callable[[], None] = lambda: None) -> None:
        self._address = address
        self._on_lost = on_lost
        self._light: NurseryLauncher | None = None
        self._light_lock = threading.Lock()
        self._lock = threading.Lock()
        self._programs: dict[int, NurseryProcess] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._answered = threading.Condition()
        self._next = 1
        self._closing = False
        self.lost = False
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connection.connect(str(address))
        except OSError as error:
            self._connection.close()
            raise LaunchFailed(
                f"The nursery does not answer: {error.strerror}. It is started again on need."
            ) from error
        self._reader = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._reader.start()

    @classmethod
    def here(cls) -> NurseryLauncher:
        """A connection to the nursery that started this process, which ends when that nursery does.

        The kernel would end it a moment later. It must not have time to take the end of its programs for their fault.
        """
        address = os.environ.get(ADDRESS)
        if not address:
            raise LaunchFailed("No nursery started this process. Start it through a launcher.")
        return cls(Path(address), on_lost=_follow)

    def launch(self, program: Program) -> Process:
        """Starts `program`. Blocks while the nursery loads its libraries."""
        if program.light:
            return self._beside().launch(replace(program, light=False))
        number, process = self._enlist()
        try:
            self._send({"op": "launch", "id": number, "program": encoded(program)})
        except OSError as error:
            self._on_lost()
            raise LaunchFailed(f"The nursery is gone: {error.strerror}.") from error
        return self._confirmed(process)

    def status(self, timeout: float = _WARM_UP) -> dict[str, Any]:
        """What the nursery says about itself; blocks while it loads its libraries."""
        with self._lock:
            number, self._next = self._next, self._next + 1
        self._send({"op": "status", "id": number})
        with self._answered:
            if not self._answered.wait_for(lambda: number in self._answers or self.lost, timeout):
                raise LaunchFailed(f"The nursery has not answered for {timeout:g} s.")
            if number not in self._answers:
                raise LaunchFailed("The nursery is gone.")
            return self._answers.pop(number)

    def close(self) -> None:
        """Kills all that was launched here, waits for its end, and hangs up."""
        with self._lock:
            self._closing = True
            running = list(self._programs.values())
        with self._light_lock:
            if self._light is not None:
                self._light.close()
        for process in running:
            process.kill()
        for process in running:
            process.wait(_PATIENCE)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join(_PATIENCE)
        self._connection.close()

    def _beside(self) -> NurseryLauncher:
        with self._light_lock:
            if self._light is None:
                if self._closing:
                    raise LaunchFailed("The connection to the nursery is closed.")
                try:
                    self._light = NurseryLauncher(self._address.with_name(LIGHT_SOCKET), self._on_lost)
                except LaunchFailed:
                    self._on_lost()  # it was killed, and the nursery ends with it
                    raise
            return self._light

    def _enlist(self) -> tuple[int, NurseryProcess]:
        with self._lock:
            if self.lost:
                self._on_lost()
                raise LaunchFailed("The nursery is gone.")
            number, self._next = self._next, self._next + 1
            process = self._programs[number] = NurseryProcess(number, self._send)
        return number, process

    def _confirmed(self, process: NurseryProcess) -> Process:
        if not process.started(_WARM_UP):
            process.kill()
            raise LaunchFailed(f"The nursery has not answered for {_WARM_UP:g} s.")
        if process.refusal is not None:
            raise LaunchFailed(f"The process could not be started: {process.refusal}.")
        if process.pid == 0:
            raise LaunchFailed("The nursery ended before it could start the process.")
        return process

    def _send(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._connection.sendall(line(message))

    def _listen(self) -> None:
        with suppress(OSError), self._connection.makefile("rb") as lines:
            for text in lines:
                self._hear(json.loads(text))
        self._mourn()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "status":
            with self._answered:
                self._answers[message["id"]] = message
                self._answered.notify_all()
            return
        with self._lock:
            process = self._programs.get(message["id"])
            if message["event"] != "launched":
                self._programs.pop(message["id"], None)
        if process is not None:
            process.hear(message)

    def _mourn(self) -> None:
        with self._lock:
            self.lost = True
            left, self._programs = list(self._programs.values()), {}
        with self._answered:
            self._answered.notify_all()
        if not self._closing:
            self._on_lost()
        for process in left:
            process.end(Exit(signal=signal.SIGKILL, reason=NURSERY_ENDED))


def _follow() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def encoded(program: Program) -> dict[str, Any]:
    """`program` as JSON; `nursery.decoded` reads it."""
    return {**vars(program), "log": str(program.log.absolute()) if program.log else None}


class LocalLauncher(Launcher):
    """Programs on this machine, in a nursery of its own that is started again when it dies.

    The constructor returns at once; the nursery loads its libraries meanwhile. What earlier servers that were killed
    may have left running is ended first.
    """

    def __init__(self, settings: Settings, preload: Iterable[str] = PRELOAD) -> None:
        self._settings = settings
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._closed = False
        left = orphans.sweep_dead()
        if left:
            journal.warning("ended what a killed server had left running", pids=left)
        sweep_folders()
        self._handle, self._connection = self._start()

    @property
    def nursery(self) -> NurseryHandle:
        """The nursery of the moment."""
        return self._handle

    def launch(self, program: Program) -> Process:
        """Starts `program`, in a new nursery if the last one has died."""
        return self._connected().launch(program)

    def close(self) -> None:
        """Ends the nursery and all that it started; may be called twice."""
        with self._lock:
            self._closed = True
            self._connection.close()
            self._handle.close()

    def _connected(self) -> NurseryLauncher:
        with self._lock:
            if self._closed:
                raise LaunchFailed("The launcher is closed.")
            if self._connection.lost:
                journal.warning("the nursery died; starting another", pid=self._handle.pid)
                self._handle.close()
                self._handle, self._connection = self._start()
            return self._connection

    def _start(self) -> tuple[NurseryHandle, NurseryLauncher]:
        handle = start_nursery(self._settings, self._preload)
        return handle, NurseryLauncher(handle.address, on_lost=handle.close)
