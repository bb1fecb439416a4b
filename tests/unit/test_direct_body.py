"""Large bodies that a thread reads from the socket: what it gets, and what the connection is good for afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pilothouse.api import connection, content, direct_body, pace
from pilothouse.api.pace import Pace
from pilothouse.errors import RequestTimeout

Serving = Callable[..., AbstractContextManager[int]]
SIZE = (3 << 20) + 12345
BODY = os.urandom(1 << 20) * 4
BODY = BODY[:SIZE]
PATIENCE = 60.0
ALONE = Pace(lambda: False)


class Stalled(Exception):
    """Nothing comes any more."""


class App:
    """Answers with the SHA-256 of a body; to /some after its first piece, to /taken and /none at once."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.patience = PATIENCE
        self.crowded = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        length = int(request.headers.get("content-length", "0"))
        rest = direct_body.rest(request, length) if request.url.path != "/none" else None
        if request.url.path in ("/none", "/taken"):
            answer = request.url.path[1:]
        elif rest is None:
            answer = hashlib.sha256(await request.body()).hexdigest()
        else:
            answer = await content.in_thread(self._read, rest, request.url.path == "/some")
            if answer == "ClientDisconnect":
                return
        await Response(answer)(scope, receive, send)

    def _read(self, rest: direct_body.Rest, some: bool) -> str:
        digest = hashlib.sha256()
        pieces = rest.pieces(self.patience, Stalled, Pace(self.crowded.is_set))
        try:
            for piece in pieces:
                digest.update(piece)
                if some:
                    return "some"
        except (ClientDisconnect, RequestTimeout, Stalled) as error:
            self.ended.append(type(error).__name__)
            return type(error).__name__
        finally:
            pieces.close()
        return digest.hexdigest()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def port(app: App, serving: Serving) -> Iterator[int]:
    with serving(app) as port:
        yield port


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(120)
    return client


def head(path: str, length: int = SIZE, more: str = "") -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def answer(client: socket.socket) -> str:
    """The next answer's body."""
    file = client.makefile("rb", buffering=0)
    lines = b""
    while not lines.endswith(b"\r\n\r\n"):
        lines += file.read(1) or pytest.fail("the connection ended")
    assert lines.startswith(b"HTTP/1.1 200")
    length = int(lines.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return file.read(length).decode()


WHOLE = hashlib.sha256(BODY).hexdigest()


def test_a_large_body_arrives_whole_and_the_connection_goes_on(port: int) -> None:
    with connect(port) as client:
        for _ in range(3):
            client.sendall(head("/") + BODY)
            assert answer(client) == WHOLE
        client.sendall(head("/", 5) + b"small")
        assert answer(client) == hashlib.sha256(b"small").hexdigest()


def test_requests_sent_ahead_are_answered_in_turn(port: int) -> None:
    with connect(port) as client:
        ahead = (head("/", 5) + b"small" + head("/") + BODY) * 3
        threading.Thread(target=client.sendall, args=(ahead,)).start()
        small = hashlib.sha256(b"small").hexdigest()
        assert [answer(client) for _ in range(6)] == [small, WHOLE] * 3


@pytest.mark.parametrize("path", ["/some", "/taken", "/none"])
def test_what_nobody_reads_of_a_body_is_skipped(port: int, path: str) -> None:
    with connect(port) as client:
        for _ in range(2):
            client.sendall(head(path) + BODY)
            assert answer(client) == path[1:]
        client.sendall(head("/") + BODY)
        assert answer(client) == WHOLE


def test_the_rest_of_a_body_that_nobody_reads_does_not_hold_a_connection_open(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_PATIENCE", 2.0)
    with connect(port) as client:
        client.sendall(head("/taken") + BODY[: 1 << 20])
        assert answer(client) == "taken"
        client.sendall(b"a little more")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_a_body_in_small_pieces_is_given_in_large_ones(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    piece = direct_body.Rest._piece

    def noted(*arguments: Any) -> bytes:
        given.append(len(found := piece(*arguments)))
        return found

    monkeypatch.setattr(direct_body.Rest, "_piece", noted)
    with connect(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(head("/"))
        for start in range(0, SIZE, 50_000):
            client.sendall(BODY[start : start + 50_000])
            time.sleep(0.001)
        assert answer(client) == WHOLE
    assert len(given) <= SIZE // direct_body._PIECE + 1


def test_a_client_that_waits_to_be_asked_is_asked(port: int) -> None:
    with connect(port) as client:
        client.sendall(head("/", more="Expect: 100-continue\r\n"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert answer(client) == WHOLE


def test_a_connection_whose_body_nobody_reads_ends_with_the_answer(port: int) -> None:
    with connect(port) as client:
        client.sendall(head("/taken", more="Connection: close\r\n") + BODY[: 1 << 20])
        assert answer(client) == "taken"
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


class Watched(socket.socket):
    """A socket with endless bytes, which counts reads that came after somebody had set about closing it."""

    gone = False
    late = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self.late += self.gone
        return b"x" * bufsize

    def close(self) -> None:
        if not self.gone:
            self.gone = True
            self.closing()
        super().close()

    def closing(self) -> None:
        """What happens meanwhile."""


@pytest.fixture
def watched() -> Iterator[Watched]:
    ours, theirs = socket.socketpair()
    with theirs, Watched(fileno=ours.detach()) as watched:
        yield watched


def meanwhile(function: Callable[[], object]) -> threading.Thread:
    """A thread that has called `function` by now, unless that must wait."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(0.2)
    return thread


def test_who_begins_while_a_body_is_let_go_of_reads_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = direct_body.Rest(b"", watched, 1, lambda: None, lambda: None)
    ended: list[object] = []
    readers: list[threading.Thread] = []

    def read() -> None:
        try:
            ended.extend(rest.pieces(PATIENCE, Stalled, ALONE))
        except ClientDisconnect as error:
            ended.append(error)

    monkeypatch.setattr(watched, "closing", lambda: readers.append(meanwhile(read)))
    rest.drop()
    for reader in readers:
        reader.join()
    assert [type(end) for end in ended] == [ClientDisconnect]
    assert watched.late == 0


def test_a_body_that_is_let_go_of_while_somebody_begins_is_not_closed_before_the_reader_is_through(
    watched: Watched,
) -> None:
    others: list[threading.Thread] = []

    class LetGo(direct_body.Rest):
        """Let go of just after its reader has seen that it was not."""

        _was = False

        @property
        def _dropped(self) -> bool:
            was = self._was
            if not others:
                others.append(meanwhile(self.drop))
            return was

        @_dropped.setter
        def _dropped(self, value: bool) -> None:
            self._was = value

    rest = LetGo(b"", watched, 1, lambda: None, lambda: None)
    assert list(rest.pieces(PATIENCE, Stalled, ALONE)) == [b"x"]
    others[0].join()
    assert watched.late == 0


def test_a_client_that_stops_is_not_waited_for(port: int, app: App) -> None:
    app.patience = 0.5
    with connect(port) as client:
        client.sendall(head("/") + BODY[:-1])
        assert answer(client) == "Stalled"
        client.sendall(BODY[-1:] + head("/") + BODY)
        assert answer(client) == WHOLE
    assert app.ended == ["Stalled"]


def test_a_slow_client_goes_on_until_others_wait(port: int, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.0)  # whoever is waited for at all is slow
    monkeypatch.setattr(direct_body, "_LOOK", 0.01)
    with connect(port) as client:
        for others in (False, True):
            client.sendall(head("/") + BODY[: 2 << 20])
            time.sleep(0.05)
            if others:
                app.crowded.set()
                assert answer(client) == "RequestTimeout"
            else:
                client.sendall(BODY[2 << 20 :])
                assert answer(client) == WHOLE


def test_a_pace_is_bytes_by_the_time_that_a_client_lets_wait() -> None:
    crowded = Pace(lambda: True)
    for _ in range(5):  # a client as slow as may be, and one who is waited for now and then
        crowded.add(pace.WINDOW - 1, int(pace.WINDOW - 1) * pace.LEAST)
        crowded.add(1, pace.LEAST)
        crowded.add(0, 1)
    crowded.add(pace.WINDOW - 1, 1)
    with pytest.raises(RequestTimeout, match="while others waited"):
        crowded.add(1, 1)


def test_a_client_that_has_become_fast_is_not_slow_any_more() -> None:
    others: list[bool] = []
    mine = Pace(lambda: bool(others))
    mine.add(pace.WINDOW, 1)
    others.append(True)
    mine.add(0.1, int(pace.WINDOW) * pace.LEAST)
    with pytest.raises(RequestTimeout):
        mine.add(pace.WINDOW, 1)


def test_clients_that_leave_leave_nothing_behind(port: int, app: App) -> None:
    with connect(port) as client:
        client.sendall(head("/") + BODY)
        assert answer(client) == WHOLE
        before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        for _ in range(5):
            with connect(port) as leaving:
                leaving.sendall(head("/") + BODY[: 2 << 20])
        give_up = time.monotonic() + 120
        while len(app.ended) < 5 or sum(1 for _ in Path("/proc/self/fd").iterdir()) > before:
            assert time.monotonic() < give_up, app.ended
            time.sleep(0.05)
        assert app.ended == ["ClientDisconnect"] * 5
        client.sendall(head("/") + BODY)
        assert answer(client) == WHOLE
