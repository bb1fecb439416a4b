"""Requests, signed beforehand, and clients that send them at the same time, each a process."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

PATIENCE = 120
"""Seconds for an answer, and for all clients to be there."""

_SHOWN, _PIECE = 500, 1 << 20


@dataclass(frozen=True)
class Request:
    """A request that is ready to be sent."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


def calls(url: str, requests: Sequence[Request], clients: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all of them together, sent by so many clients at once."""
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(clients + 1)
    pipes = []
    for number in range(clients):
        reader, writer = context.Pipe(duplex=False)
        context.Process(target=_send, args=(url, requests[number::clients], begin, writer), daemon=True).start()
        writer.close()  # so that a client which fails is told by the end of its pipe
        pipes.append(reader)
    begin.wait(PATIENCE)
    started = time.perf_counter()
    answers = [pipe.recv() for pipe in pipes]
    whole = time.perf_counter() - started
    for answer in answers:
        if isinstance(answer, str):
            raise SystemExit(answer)
    return [seconds for answer in answers for seconds in answer], whole


def _send(url: str, requests: Sequence[Request], begin: Any, writer: Any) -> None:
    connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=PATIENCE)
    connection.connect()
    seconds = []
    begin.wait(PATIENCE)
    for request in requests:
        begun = time.perf_counter()
        connection.request(request.method, request.path, request.body or None, request.headers)
        answer = connection.getresponse()
        text = answer.read(_SHOWN)
        while answer.read(_PIECE):
            pass
        seconds.append(time.perf_counter() - begun)
        if answer.status != 200:
            said = text.decode(errors="replace")
            writer.send(f"{request.method} {url}{request.path} answered {answer.status}: {said}")
            return
    writer.send(seconds)
