"""The nursery: a small process with the heavy libraries loaded that forks a child for each program.

Started by `launch.handle.start_nursery` as `python -m pilothouse.launch.nursery`, with a listening Unix socket and the
reading end of a pipe whose other end the server holds. One thread, one selector loop.

Protocol: JSON objects, one a line, over a connection to the socket, which only this user's processes may open.

    to the nursery                                        from it
    {"op": "launch", "id": 1, "program": {…}}             {"event": "launched", "id": 1, "pid": 4711}
                                                          {"event": "refused", "id": 1, "reason": "…"}
    {"op": "signal", "id": 1, "signal": 15}               -        (9 reaches all descendants, others the program only)
    -                                                     {"event": "exited", "id": 1, "code": 0, "signal": null,
                                                           "reason": null}
    {"op": "status", "id": 2}                             {"event": "status", "id": 2, "pid": …, "threads": 1,
                                                           "programs": 3, "missing": ["catboost"]}

Before it loads anything heavy it forks a light nursery, which does the same, at a socket of its own, for programs that
need none of that: a fork copies the page tables, and those of 500 MB take some 15 ms to make and as long to take down.

Who dies and what follows: a program -> what it started is killed, its owner is told. An owner (a connection) -> all
that was launched over it is killed. The server (the pipe) -> everything is killed, the nursery ends. The light nursery
-> the nursery ends. The nursery -> the kernel kills its children (PR_SET_PDEATHSIG); `launch.orphans` finds what those
had started.
"""

from __future__ import annotations

import argparse
import gc
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pilothouse.launch import pages, processes
from pilothouse.launch.base import Program
from pilothouse.launch.brood import Brood, Child
from pilothouse.launch.child import adopt_orphans
from pilothouse.launch.lines import LineSocket
from pilothouse.launch.preload import LIGHT, preload

LIGHT_ENTRY = "pilothouse.launch.nursery:serve_light"
_PATIENCE = 5.0
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Owner:
    """One connection and the ids of the programs launched over it."""

    def __init__(self, connection: socket.socket) -> None:
        self.lines = LineSocket(connection)
        self.children: dict[int, Child] = {}


class Nursery:
    """The loop. `run` returns when the pipe `lifeline` reaches its end or a SIGTERM comes; nothing is left then.

    `missing`, for its status: what could not be loaded. `folder` is removed at the end.
    """

    def __init__(self, listener: socket.socket, lifeline: int, folder: Path | None = None) -> None:
        self._listener = listener
        self._lifeline = lifeline
        self._folder = folder
        self.missing: list[str] = []
        self._light: Child | None = None
        self._selector = selectors.DefaultSelector()
        self._owners: set[Owner] = set()
        self._brood = Brood(self._report)
        self._ending = False

    def fork_light(self, listener: socket.socket) -> None:
        """Starts the light nursery, which serves `listener`. Before `run`, and before anything heavy is loaded."""
        arguments = {"listener": listener.fileno(), "lifeline": self._lifeline}
        program = Program(LIGHT_ENTRY, arguments, label="light nursery")
        self._light = self._forked(program, [self._listener.fileno(), self._selector.fileno()])
        listener.close()

    def run(self) -> None:
        """Serves until it is over, then kills everything."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._end)
        self._selector.register(self._signals(), selectors.EVENT_READ, self._drain_signals)
        while not self._ending:
            self._brood.reap()
            self._brood.watch()
            for key, _ in self._selector.select(0 if self._ending else self._brood.patience()):
                key.data()
        if self._folder is not None:  # first: the next server ends a nursery that is still busy with its children
            shutil.rmtree(self._folder, ignore_errors=True)
        self._brood.destroy(_PATIENCE)

    def _signals(self) -> socket.socket:
        """A socket that becomes readable when a signal arrives."""
        self._signal_reader, self._signal_writer = socket.socketpair()
        for end in (self._signal_reader, self._signal_writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, lambda *_: self._end())
        return self._signal_reader

    def _drain_signals(self) -> None:
        with suppress(BlockingIOError):
            self._signal_reader.recv(4096)

    def _end(self) -> None:
        self._ending = True

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            if _peer(connection) != os.getuid():
                connection.close()
                return
            owner = Owner(connection)
            self._owners.add(owner)
            self._selector.register(owner.lines, selectors.EVENT_READ, lambda: self._converse(owner))

    def _converse(self, owner: Owner) -> None:
        owner.lines.flush()
        messages = owner.lines.receive()
        try:
            for message in messages or ():
                self._obey(owner, message)
        except Exception:  # whoever sends nonsense loses the connection, and with it its programs; others go on
            traceback.print_exc()
            messages = None
        if messages is None:
            self._disown(owner)
        else:
            self._await(owner)

    def _await(self, owner: Owner) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if owner.lines.pending else 0)
        if owner in self._owners:
            self._selector.modify(owner.lines, events, lambda: self._converse(owner))

    def _obey(self, owner: Owner, message: dict[str, Any]) -> None:
        match message["op"]:
            case "launch":
                owner.lines.send(self._launch(owner, int(message["id"]), message["program"]))
            case "signal":
                self._signal(owner, int(message["id"]), int(message["signal"]))
            case "status":
                owner.lines.send(self._status(int(message["id"])))
            case unknown:
                raise ValueError(f"unknown op {unknown!r}")

    def _launch(self, owner: Owner, number: int, document: dict[str, Any]) -> dict[str, Any]:
        program = decoded(document)
        inherited = [key.fd for key in self._selector.get_map().values()]
        inherited += [self._selector.fileno(), self._signal_writer.fileno()]
        try:
            child = self._forked(program, inherited)
        except OSError as error:
            return {"event": "refused", "id": number, "reason": f"{error.strerror}: {error.filename or 'fork'}"}
        child.owner, child.number = owner, number
        owner.children[number] = child
        return {"event": "launched", "id": number, "pid": child.pid}

    def _forked(self, program: Program, inherited: list[int]) -> Child:
        log = _open_log(program.log)
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            return self._brood.fork(program, log, inherited)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
            os.close(log)

    def _signal(self, owner: Owner, number: int, signal_number: int) -> None:
        child = owner.children.get(number)
        if child is None:
            return
        if signal_number == signal.SIGKILL:
            self._brood.kill([child])
        else:
            os.kill(child.pid, signal_number)

    def _status(self, number: int) -> dict[str, Any]:
        me = os.getpid()
        return {
            "event": "status",
            "id": number,
            "pid": me,
            "threads": processes.threads(me),
            "programs": len(self._brood) - (self._light is not None),
            "missing": self.missing,
        }

    def _report(self, child: Child) -> None:
        owner = child.owner
        if child is self._light:
            self._end()
        if isinstance(owner, Owner) and owner in self._owners:
            owner.children.pop(child.number, None)
            outcome = {"code": child.exit.code, "signal": child.exit.signal, "reason": child.exit.reason}
            owner.lines.send({"event": "exited", "id": child.number, **outcome})
            self._await(owner)

    def _disown(self, owner: Owner) -> None:
        if owner in self._owners:
            self._owners.remove(owner)
            self._selector.unregister(owner.lines)
            owner.lines.close()
            self._brood.kill(owner.children.values())


def decoded(document: dict[str, Any]) -> Program:
    """The program that `local.encoded` wrote."""
    return Program(**{**document, "log": Path(document["log"]) if document["log"] else None})


def _open_log(path: Path | None) -> int:
    if path is None:
        return os.dup(2)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def main(arguments: Iterable[str]) -> None:
    """The process: takes the descriptors it inherited, preloads, serves, and leaves no file behind."""
    parser = argparse.ArgumentParser(prog="pilothouse.launch.nursery")
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--light", type=int, required=True, help="what the light nursery listens on")
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--preload", default="")
    parser.add_argument("--home", help="for people who look at the process list")
    options = parser.parse_args(list(arguments))
    listener, light = (socket.socket(fileno=descriptor) for descriptor in (options.listener, options.light))
    for descriptor in (options.listener, options.light, options.lifeline):
        os.set_inheritable(descriptor, False)
    started = time.monotonic()
    adopt_orphans()
    nursery = Nursery(listener, options.lifeline, Path(listener.getsockname()).parent)
    preload(LIGHT)
    nursery.fork_light(light)
    nursery.missing = preload(name for name in options.preload.split(",") if name)
    gc.collect()
    gc.freeze()  # what is loaded now stays; collections in children then copy none of its pages
    pages.let_go()
    sys.stderr.write(f"nursery: ready after {time.monotonic() - started:.1f} s\n")
    nursery.run()


def serve_light(listener: int, lifeline: int) -> None:
    """The light nursery's process."""
    gc.freeze()
    Nursery(socket.socket(fileno=listener), lifeline).run()


if __name__ == "__main__":
    main(sys.argv[1:])
