"""Clients that connect and say nothing, or not enough, over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest
from starlette.types import Receive, Scope, Send

from pilothouse.api import connection

Serving = Callable[..., AbstractContextManager[int]]
PATIENCE = 0.5
PLENTY = 60.0  # seconds; only a server that never closes a connection takes them
WHOLE = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"
UNREAD = b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers once the body is there, and to /unread at once."""
    while scope["path"] != "/unread" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, serving: Serving) -> Iterator[int]:
    monkeypatch.setattr(connection, "HEAD_PATIENCE", PATIENCE)
    with serving(app, timeout_keep_alive=int(2 * PLENTY)) as port:
        yield port


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, serving: Serving) -> Iterator[int]:
    """The port of a server that gives heads plenty of time until a test calls `hurry`."""
    monkeypatch.setattr(connection, "HEAD_PATIENCE", PLENTY)
    with serving(app, timeout_keep_alive=int(2 * PLENTY)) as port:
        yield port


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on heads have little time."""
    return lambda: monkeypatch.setattr(connection, "HEAD_PATIENCE", PATIENCE)


def send_for_ever(client: socket.socket, line: bytes) -> None:
    """Well, 4 MiB of it."""
    for _ in range(1000):
        client.sendall(line)
        time.sleep(0.001)


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(PLENTY)
    return client


def until_closed(client: socket.socket) -> None:
    """Waits until the server closes the connection."""
    with suppress(ConnectionResetError):
        while client.recv(4096):
            pass


def answer(client: socket.socket) -> bytes:
    """An answer of two bytes."""
    said = b""
    while b"\r\n\r\n" not in said[:-2]:
        said += client.recv(4096) or pytest.fail(f"the connection ended after {said!r}")
    return said


@pytest.mark.parametrize("said", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: h\r\n"])
def test_a_connection_without_a_complete_head_is_closed(port: int, said: bytes) -> None:
    begun = time.monotonic()
    with connect(port) as client:
        client.sendall(said)
        until_closed(client)
    assert time.monotonic() - begun > PATIENCE / 2


def trickle(client: socket.socket, head: bytes) -> None:
    for byte in head:
        client.sendall(bytes([byte]))
        time.sleep(PATIENCE / 10)


def test_a_head_that_never_ends_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_PATIENCE", 60.0)
    client = connect(port)
    client.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(OSError):
        send_for_ever(client, b"x-header: " + b"a" * 4096 + b"\r\n")


def test_a_head_that_trickles_in_is_cut_off(port: int) -> None:
    with connect(port) as client, pytest.raises(OSError, match=r"Broken pipe|reset"):
        trickle(client, b"GET / HTTP/1.1\r\n" + b"x" * 100)


def test_a_body_and_an_idle_kept_connection_have_more_time(port: int) -> None:
    with connect(port) as client:
        client.sendall(WHOLE[:-1])
        time.sleep(PATIENCE * 2)
        client.sendall(WHOLE[-1:])
        assert answer(client).endswith(b"ok")
        time.sleep(PATIENCE * 2)
        client.sendall(WHOLE)
        assert answer(client).endswith(b"ok")


@pytest.mark.parametrize("said", [b"\r\n", b"GET / HT"])
def test_the_second_head_has_no_more_time_than_the_first(patient: int, hurry: Callable[[], None], said: bytes) -> None:
    with connect(patient) as client:
        client.sendall(WHOLE)
        assert answer(client).endswith(b"ok")
        hurry()
        begun = time.monotonic()
        client.sendall(said)
        until_closed(client)
    assert time.monotonic() - begun > PATIENCE / 2


def test_the_rest_of_a_body_that_nobody_reads_does_not_hold_a_connection_open(
    patient: int, hurry: Callable[[], None]
) -> None:
    with connect(patient) as client:
        client.sendall(UNREAD)
        assert answer(client).endswith(b"ok")
        hurry()
        client.sendall(b"1")
        until_closed(client)


def test_too_many_connections_are_told_so_and_far_too_many_are_closed_unheard(serving: Serving) -> None:
    with serving(app, limit_concurrency=4, timeout_keep_alive=int(2 * PLENTY)) as port:
        clients = [connect(port) for _ in range(5)]
        until_closed(connect(port))
        clients[4].sendall(WHOLE)
        said = clients[4].makefile("rb").read()
        assert said.startswith(b"HTTP/1.1 503 ")
        assert said.endswith(b"\r\n\r\nService Unavailable")  # as docs/troubleshooting.md quotes it
        for place in (0, -1, -1):
            clients.pop(place).close()
        until_served(port)
        clients[0].sendall(WHOLE)
        assert clients[0].recv(4096).startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.close()


def until_served(port: int) -> None:
    """Connects again and again until the server has noticed that others are gone."""
    give_up = time.monotonic() + PLENTY
    said = b""
    while not said.startswith(b"HTTP/1.1 200 "):
        assert time.monotonic() < give_up, said
        with connect(port) as client:
            client.sendall(WHOLE)
            said = answer(client)
