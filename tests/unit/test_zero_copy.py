"""Files that the kernel sends, over real sockets: what arrives, and what slow clients and leaving ones do to others."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from pilothouse.api import content, zero_copy
from pilothouse.api.zero_copy import FileResponse
from pilothouse.objects.ciphertext import KEY, Plaintext, Segment
from pilothouse.objects.stored import extent, window

SIZE = 24 << 20
START, LENGTH = 1000, SIZE - 3000
Serving = Callable[..., AbstractContextManager[int]]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("stored") / "file"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


@pytest.fixture
def opened(stored: Path, serving: Serving) -> Callable[[], AbstractContextManager[int]]:
    """Gives the port of a server that answers every request with a window of the file."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert zero_copy.EXTENSION in scope["extensions"]
        stream = window(os.open(stored, os.O_RDONLY), SIZE, START, LENGTH)
        await FileResponse(stream, 200, {"content-length": str(LENGTH)})(scope, receive, send)

    return lambda: serving(app)


@pytest.fixture
def port(opened: Callable[[], AbstractContextManager[int]]) -> Iterator[int]:
    with opened() as port:
        yield port


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(120)
    return client


def answer(client: socket.socket) -> bytes:
    """The next answer's body."""
    file = client.makefile("rb", buffering=0)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += file.read(1)
    assert head.startswith(b"HTTP/1.1 200")
    body = b""
    while len(body) < LENGTH:
        piece = file.read(LENGTH - len(body))
        assert piece
        body += piece
    return body


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def wanted(stored: Path) -> bytes:
    return stored.read_bytes()[START : START + LENGTH]


def test_a_window_of_a_file_arrives_and_the_connection_goes_on(port: int, stored: Path) -> None:
    with connect(port) as client:
        for _ in range(3):
            client.sendall(GET)
            assert answer(client) == wanted(stored)


def test_what_is_encrypted_is_not_sent_as_it_stands(stored: Path) -> None:
    descriptor = os.open(stored, os.O_RDONLY)
    plain = Plaintext(descriptor, [Segment(SIZE, bytes(KEY))], "file")
    with window(descriptor, SIZE, plain=plain) as stream:
        assert extent(stream) is None


def test_requests_sent_ahead_are_answered_in_turn(port: int, stored: Path) -> None:
    with connect(port) as client:
        client.sendall(GET * 3)
        assert [answer(client) == wanted(stored) for _ in range(3)] == [True] * 3


def test_clients_that_take_nothing_hold_no_thread(
    stored: Path, opened: Callable[[], AbstractContextManager[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_others", content.Threads(1))
    with opened() as port, connect(port) as first, connect(port) as second, connect(port) as third:
        for client in (first, second, third):
            client.sendall(GET)
        assert answer(third) == wanted(stored)
        assert answer(first) == wanted(stored)


def test_clients_that_leave_leave_nothing_behind(port: int, stored: Path) -> None:
    with connect(port) as client:
        client.sendall(GET)
        assert answer(client) == wanted(stored)
        before = descriptors()
        for _ in range(5):
            with connect(port) as leaving:
                leaving.sendall(GET)
                leaving.recv(1000)
        give_up = time.monotonic() + 120
        while descriptors() > before:
            assert time.monotonic() < give_up, "descriptors stay open"
            time.sleep(0.05)
        client.sendall(GET)
        assert answer(client) == wanted(stored)
