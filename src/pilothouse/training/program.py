"""The process around a training program: starts it under limits, reads what it prints, and ends it when it must end.

It is itself a program of the launcher's, so that all of it dies with the job process. What it is told and what it has
to tell: `documents`.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pilothouse.contract.output import Allowance, Lines
from pilothouse.contract.scrape import Scraper
from pilothouse.errors import LaunchFailed
from pilothouse.launch import confined, headcount
from pilothouse.training import seal
from pilothouse.training.documents import END, EVENTS, SECONDS, Command, End, Task
from pilothouse.training.events import EventWriter, now
from pilothouse.whole_file import write_whole

_CHUNK = 256 << 10
_LOOK = 0.05
_FLUSH = 0.2
_BEAT = 1.0
_JUMP = 64  # threads that this host may gain before it is looked at whose they are
_DRAIN = 2.0
_PATIENCE = 20.0
_REMEMBERED = 40
_NOT_EXECUTABLE = 127 << 8  # as a wait status


def main(task: dict[str, Any]) -> None:
    """Runs a `Task`'s document to its end."""
    told = Task.of(task)
    with seal.at_work(Path(told.directory)) as held:
        keeper = _Keeper(told, held)
        confined.limit(told.limits)
        headcount.bound(told.limits.tasks)
        end = keeper.run()
        write_whole(Path(told.directory) / END, json.dumps(asdict(end)))


class _Keeper:
    def __init__(self, task: Task, held: int) -> None:
        self.task = task
        is_elsewhere = any(command.removal for command in task.commands)
        self._kept = () if is_elsewhere else (held,)  # Podman's processes beside a container would hold it for as long
        self._directory = Path(task.directory)
        self._started = time.monotonic()
        self._events = EventWriter(self._directory / EVENTS)
        self._scraper = Scraper(task.metrics)
        self._allowance = Allowance(time.monotonic())
        self._words: deque[str] = deque(maxlen=_REMEMBERED)
        self._cut: str | None = None
        self._kill_at: float | None = None
        self._asked = False
        self._is_told = True
        self._pid = 0
        self._command = Command()
        self._usual = confined.tasks()
        self._next_flush = self._next_beat = 0.0
        self._wakeup = _signals(self._ask)

    def run(self) -> End:
        self._events.lines(self.task.own, now())
        code, status = 0, 0
        for command in self.task.commands:
            self._command = command
            status = self._run(command)
            code = os.waitstatus_to_exitcode(status)
            if code != 0 or self._cut is not None:
                break
        self._events.lines(self._allowance.rest(), now())
        self._events.close()
        self._beat()
        plain, by_signal = (code, None) if code >= 0 else (None, -code)
        last, words = self._command, list(self._words)
        return End(plain, by_signal, self._cut, words, self._elapsed(), now(), last.shown, last.purpose)

    def _run(self, command: Command) -> int:
        if self._asked:
            self._cut = self._cut or "stop"
            return 0
        reader, writer = os.pipe()
        try:
            self._pid = self._start(command, writer)
        except LaunchFailed as error:
            self._take(f"{error.message}\n".encode())
            os.close(reader)
            return _NOT_EXECUTABLE
        finally:
            os.close(writer)
        status = self._attend(reader)
        os.close(reader)
        return status

    def _start(self, command: Command, output: int) -> int:
        if command.target is not None:
            return confined.fork(lambda: _call(command), output=output, kept=self._kept)
        return confined.start(
            command.argv,
            folder=command.folder,
            environment=command.environment,
            output=output,
            kept=self._kept,
        )

    def _attend(self, reader: int) -> int:
        """Reads and watches until the program has ended and its output is read; its wait status."""
        lines = Lines()
        ended = os.pidfd_open(self._pid)
        with selectors.DefaultSelector() as selector:
            for descriptor in (reader, ended, self._wakeup.fileno()):
                selector.register(descriptor, selectors.EVENT_READ)
            open_ended = {reader, ended}
            while ended in open_ended:
                for key, _ in selector.select(_LOOK):
                    if key.fd == reader and not self._read(reader, lines):
                        selector.unregister(reader)
                        open_ended.discard(reader)
                    elif key.fd == self._wakeup.fileno():
                        self._wakeup.recv(64)
                    elif key.fd == ended:
                        open_ended.discard(ended)
                self._look()
        os.close(ended)
        self._destroy()  # before its pid can be another's
        _, status = os.waitpid(self._pid, 0)
        if reader in open_ended:
            self._drain(reader, lines)
        self._take(lines.rest())
        return status

    def _drain(self, reader: int, lines: Lines) -> None:
        """Reads what is still in the pipe; whoever might hold it open was killed."""
        os.set_blocking(reader, False)
        give_up = time.monotonic() + _DRAIN
        while time.monotonic() < give_up:
            try:
                if not self._read(reader, lines):
                    return
            except BlockingIOError:
                time.sleep(0.01)

    def _read(self, reader: int, lines: Lines) -> bool:
        chunk = os.read(reader, _CHUNK)
        self._take(lines.feed(chunk))
        return bool(chunk)

    def _take(self, block: bytes) -> None:
        if not block:
            return
        at = now()
        self._events.points(self._scraper.scan(block), at)
        self._events.lines(self._allowance.take(block, time.monotonic()), at)
        self._words.extend(line.decode(errors="replace") for line in block[-(8 << 10) :].split(b"\n") if line)

    def _look(self) -> None:
        moment = time.monotonic()
        if self._asked and self._cut is None:
            self._end("stop", moment)
        if self._cut is None and self._elapsed() >= self.task.seconds:
            self._end("time", moment)
        if not self._is_told:
            self._tell()
        if self._kill_at is not None and moment >= self._kill_at:
            self._kill_at = moment + 1.0
            self._destroy()
        self._count()
        if moment >= self._next_flush:
            self._events.flush()
            self._next_flush = moment + _FLUSH
        if moment >= self._next_beat:
            self._beat()
            self._next_beat = moment + _BEAT

    def _end(self, cut: str, moment: float) -> None:
        self._cut = cut
        self._kill_at = moment + self.task.grace
        self._is_told = False
        self._tell()

    def _tell(self) -> None:
        if self._command.removal:
            os.kill(self._pid, signal.SIGTERM)  # it is passed on
            self._is_told = True
        else:
            self._is_told = confined.terminate(self._pid)

    def _destroy(self) -> None:
        """Ends all of the program that is left. What has ended by itself has left nothing elsewhere."""
        if self._command.removal and not _has_exited(self._pid):
            _remove(self._command)
        confined.destroy(self._pid, _PATIENCE)

    def _count(self) -> None:
        seen = confined.tasks()
        if seen < self._usual + _JUMP:
            return
        confined.reap(self._pid)
        count = len(confined.family(self._pid))
        most = self.task.limits.processes
        self._usual = seen if count < most // 2 else self._usual
        if count > most:
            self._cut = f"had more than {most} processes at once, which is more than a training job may have"
            self._destroy()

    def _beat(self) -> None:
        write_whole(self._directory / SECONDS, f"{self._elapsed():.3f}")

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _ask(self) -> None:
        self._asked = True


def _signals(ask: Any) -> socket.socket:
    """A socket that becomes readable when SIGTERM comes, which asks the program to end."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: ask())
    return reader


def _has_exited(pid: int) -> bool:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return found is not None and found.si_code == os.CLD_EXITED


def _remove(command: Command) -> None:
    """The reason why something can't be removed goes to this process's log; its job has ended all the same."""
    quiet = subprocess.DEVNULL
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command.removal, env=command.environment, stdin=quiet, stdout=quiet, timeout=_PATIENCE, check=False
        )


def _call(command: Command) -> None:
    module, _, name = (command.target or "").partition(":")
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    getattr(importlib.import_module(module), name)(**command.arguments)
