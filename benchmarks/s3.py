"""How much the S3 door moves beside moto's server: `python benchmarks/s3.py`.

Puts and gets of small objects, listings of 1,000 keys, puts and gets of large objects, from 1 and from 4 clients. The
servers take turns and both run all the while. Requests are signed beforehand, with the SHA-256 of the body as boto3
does without TLS, and sent over connections that stay open where the server lets them; a client is a process. Pilothouse
verifies signature and SHA-256 and has the object on disk when it answers; moto does neither. moto comes into an
environment of its own. Last, the peak memory of Pilothouse's server.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from peers_bench.environments import Environments
from quick import server

BUCKET = "bench"
SMALL, LARGE = 4 << 10, 64 << 20
SMALL_CALLS, LARGE_CALLS, LISTS = 240, 4, 24
KEYS = 1_000
CLIENTS, ROUNDS, TARGET = (1, 4), 3, 2.0


@dataclass(frozen=True)
class Request:
    """A request that is ready to be sent."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Peer:
    """A server: where it listens and what requests to it are signed with."""

    name: str
    url: str
    credentials: Any
    region: str

    def request(self, method: str, path: str, body: bytes = b"") -> Request:
        """A signed request."""
        unsigned = AWSRequest(method, self.url + path, data=body)
        S3SigV4Auth(self.credentials, "s3", self.region).add_auth(unsigned)
        return Request(method, path, body, dict(unsigned.headers.items()))


@dataclass(frozen=True)
class Scene:
    """Calls of one kind; `request` makes the n-th, and `unit` says what `amount` of one call counts."""

    name: str
    unit: str
    amount: float
    count: int
    request: Callable[[Peer, int], Request]


def scenes() -> list[Scene]:
    """What is measured, in an order in which gets and lists find what puts have stored."""
    small, large = os.urandom(SMALL), os.urandom(LARGE)
    listing = f"/{BUCKET}?list-type=2&max-keys={KEYS}&prefix=small%2F"
    return [
        Scene("put 4 KiB", "objects/s", 1, SMALL_CALLS, lambda peer, n: peer.request("PUT", _small(n), small)),
        Scene("get 4 KiB", "objects/s", 1, SMALL_CALLS, lambda peer, n: peer.request("GET", _small(n))),
        Scene("list 1,000", "keys/s", KEYS, LISTS, lambda peer, _: peer.request("GET", listing)),
        Scene("put 64 MiB", "MiB/s", 64, LARGE_CALLS, lambda peer, n: peer.request("PUT", _large(n), large)),
        Scene("get 64 MiB", "MiB/s", 64, LARGE_CALLS, lambda peer, n: peer.request("GET", _large(n))),
    ]


def _small(number: int) -> str:
    return f"/{BUCKET}/small/{number:05}"


def _large(number: int) -> str:
    return f"/{BUCKET}/large/{number}"


@contextlib.contextmanager
def moto(python: Path) -> Iterator[Peer]:
    """A started moto server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield Peer("moto", f"http://127.0.0.1:{port}", Credentials("AKIDEXAMPLE", "secret"), "us-east-1")
    finally:
        process.terminate()
        process.wait(60)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"moto's server ended with exit code {process.returncode}.")


def seconds(url: str, requests: Sequence[Request], clients: int) -> float:
    """How long the requests take, sent by so many processes at once."""
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(clients + 1)
    pipes = []
    for number in range(clients):
        reader, writer = context.Pipe(duplex=False)
        context.Process(target=_send, args=(url, requests[number::clients], begin, writer), daemon=True).start()
        writer.close()  # so that a client which fails is told by the end of its pipe
        pipes.append(reader)
    begin.wait()
    started = time.perf_counter()
    failures = [failure for pipe in pipes if (failure := pipe.recv()) is not None]
    if failures:
        raise SystemExit(failures[0])
    return time.perf_counter() - started


def _send(url: str, requests: Sequence[Request], begin: Any, writer: Any) -> None:
    connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=120)
    connection.connect()
    begin.wait()
    for request in requests:
        connection.request(request.method, request.path, request.body or None, request.headers)
        answer = connection.getresponse()
        first = answer.read(500)
        while answer.read(1 << 20):
            pass
        if answer.status != 200:
            writer.send(f"{request.method} {url}{request.path} answered {answer.status}: {first!r}")
            return
    writer.send(None)


def side_by_side(peers: Sequence[Peer]) -> Iterator[tuple[Scene, int, dict[str, float]]]:
    """Each scene, its clients, and what each server moved a second in its best round."""
    for peer in peers:
        seconds(peer.url, [peer.request("PUT", f"/{BUCKET}")], 1)
    for scene in scenes():
        for peer in peers:
            seconds(peer.url, [scene.request(peer, n) for n in range(max(CLIENTS))], max(CLIENTS))  # warm
        if scene.unit == "keys/s":
            for peer in peers:
                fill = [peer.request("PUT", _small(n), b"x") for n in range(KEYS)]
                seconds(peer.url, fill, max(CLIENTS))
        for clients in CLIENTS:
            best = {peer.name: 0.0 for peer in peers}
            for turn in range(ROUNDS):
                for peer in peers if turn % 2 else reversed(peers):
                    requests = [scene.request(peer, n) for n in range(scene.count)]
                    moved = scene.amount * scene.count / seconds(peer.url, requests, clients)
                    best[peer.name] = max(best[peer.name], moved)
                    print(f"{scene.name} {clients} {peer.name} {moved:.0f} {scene.unit}", file=sys.stderr, flush=True)
            yield scene, clients, best


def report(rows: Iterator[tuple[Scene, int, dict[str, float]]]) -> Iterator[str]:
    """The table's lines."""
    yield "| scene | clients | unit | pilothouse | moto | times | twice |"
    yield "|---|---|---|---|---|---|---|"
    for scene, clients, best in rows:
        ours, theirs = best["pilothouse"], best["moto"]
        verdict = "met" if ours >= TARGET * theirs else "**missed**"
        moved = f"{ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f}"
        yield f"| {scene.name} | {clients} | {scene.unit} | {moved} | {verdict} |"


def peak(url: str) -> int:
    """The most memory that the process which listens there has had, in MiB."""
    import psutil

    port = int(url.rsplit(":", 1)[1].rstrip("/"))
    listening = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    status = Path(f"/proc/{listening[0]}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/pilothouse-peers"))
    parser.add_argument("--folder", type=Path, help="where Pilothouse keeps its objects (a temporary folder)")
    options = parser.parse_args()
    python = Environments(options.envs.expanduser(), {}).python("moto")
    with (
        tempfile.TemporaryDirectory(prefix="s3-", dir=options.folder) as name,
        moto(python) as theirs,
        server(Path(name) / "home") as client,
    ):
        made = client("s3")
        url, region = made.meta.endpoint_url, made.meta.region_name
        ours = Peer("pilothouse", url.rstrip("/"), made._request_signer._credentials, region)
        for line in report(side_by_side([ours, theirs])):
            print(line, flush=True)
        print(f"\nPeak memory of Pilothouse's server: {peak(url)} MiB")


if __name__ == "__main__":
    main()
