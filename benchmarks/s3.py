"""How much the S3 door moves beside moto's server: `python benchmarks/s3.py`.

Puts and gets of small objects, listings of 1,000 keys, puts and gets of large objects, from 1 and from 4 clients. The
servers take turns and both run all the while. Requests are signed beforehand, with the SHA-256 of the body as boto3
does without TLS, and sent over connections that stay open where the server lets them; a client is a process. Pilothouse
verifies signature and SHA-256 and has the object on disk when it answers; moto does neither. moto comes into an
environment of its own. Last, the peak memory of Pilothouse's server. With --encrypted the puts ask for encryption at
rest, which moto only notes.

`--large 5GiB` does something else: one object of that size comes to a Pilothouse in parts and goes back in ranges, and
the peak memory of the server meanwhile is told.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from beside_moto.calls import Request, calls
from beside_moto.servers import Peer, moto
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from peers_bench.environments import Environments
from quick import server

BUCKET = "bench"
SMALL, LARGE = 4 << 10, 64 << 20
SMALL_CALLS, LARGE_CALLS, LISTS = 240, 12, 24
KEYS = 1_000
CLIENTS, ROUNDS, TARGET = (1, 4), 3, 2.0
PART = 64 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
Headers = Mapping[str, str]


def signed(peer: Peer, method: str, path: str, body: bytes = b"", headers: Headers = MappingProxyType({})) -> Request:
    """A request with the SHA-256 of its body."""
    unsigned = AWSRequest(method, peer.url + path, dict(headers), body)
    S3SigV4Auth(peer.credentials, "s3", peer.region).add_auth(unsigned)
    return Request(method, path, body, dict(unsigned.headers.items()))


@dataclass(frozen=True)
class Scene:
    """Calls of one kind; `request` makes the n-th, and `unit` says what `amount` of one call counts."""

    name: str
    unit: str
    amount: float
    count: int
    request: Callable[[Peer, int], Request]


def scenes(how: Headers) -> list[Scene]:
    """What is measured, in an order in which gets and lists find what puts have stored; `how` goes with the puts."""
    small, large = os.urandom(SMALL), os.urandom(LARGE)
    listing = f"/{BUCKET}?list-type=2&max-keys={KEYS}&prefix=small%2F"
    return [
        Scene("put 4 KiB", "objects/s", 1, SMALL_CALLS, lambda peer, n: signed(peer, "PUT", _small(n), small, how)),
        Scene("get 4 KiB", "objects/s", 1, SMALL_CALLS, lambda peer, n: signed(peer, "GET", _small(n))),
        Scene("list 1,000", "keys/s", KEYS, LISTS, lambda peer, _: signed(peer, "GET", listing)),
        Scene("put 64 MiB", "MiB/s", 64, LARGE_CALLS, lambda peer, n: signed(peer, "PUT", _large(n), large, how)),
        Scene("get 64 MiB", "MiB/s", 64, LARGE_CALLS, lambda peer, n: signed(peer, "GET", _large(n))),
    ]


def _small(number: int) -> str:
    return f"/{BUCKET}/small/{number:05}"


def _large(number: int) -> str:
    return f"/{BUCKET}/large/{number}"


def seconds(url: str, requests: Sequence[Request], clients: int) -> float:
    """How long the requests take, sent by so many clients at once."""
    return calls(url, requests, clients)[1]


def side_by_side(peers: Sequence[Peer], how: Headers) -> Iterator[tuple[Scene, int, dict[str, float]]]:
    """Each scene, its clients, and what each server moved a second in its best round."""
    for peer in peers:
        seconds(peer.url, [signed(peer, "PUT", f"/{BUCKET}")], 1)
    for scene in scenes(how):
        for peer in peers:
            seconds(peer.url, [scene.request(peer, n) for n in range(max(CLIENTS))], max(CLIENTS))  # warm
        if scene.unit == "keys/s":
            for peer in peers:
                fill = [signed(peer, "PUT", _small(n), b"x") for n in range(KEYS)]
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


def process(url: str) -> Path:
    """The folder in /proc of the process that listens there."""
    import psutil

    port = int(url.rsplit(":", 1)[1].rstrip("/"))
    listening = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    return Path(f"/proc/{listening[0]}")


def peak(url: str) -> int:
    """The most memory that the process which listens there has had, in MiB."""
    status = (process(url) / "status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) >> 10


def size(text: str) -> int:
    """A number of bytes, from "5GiB"."""
    match = re.fullmatch(r"(\d+)(KiB|MiB|GiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is not like 5GiB")
    return int(match[1]) * UNITS[match[2]]


def parts(length: int) -> Iterator[bytes]:
    """Content of that length, part by part, no two alike."""
    block = os.urandom(PART)
    for number, start in enumerate(range(0, length, PART)):
        yield number.to_bytes(8, "big") + block[8 : min(PART, length - start)]


def one_large(client: Any, length: int) -> Iterator[str]:
    """Moves one object of `length` bytes in and out again; lines about it."""
    url, here = client.meta.endpoint_url, {"Bucket": BUCKET, "Key": "large"}
    client.create_bucket(Bucket=BUCKET)
    (process(url) / "clear_refs").write_text("5")  # so that the peak is that of what follows
    sent, received, done = hashlib.sha256(), hashlib.sha256(), []
    begun = time.perf_counter()
    upload = {**here, "UploadId": client.create_multipart_upload(**here)["UploadId"]}
    for number, part in enumerate(parts(length), 1):
        sent.update(part)
        done.append({"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=part)["ETag"]})
    yield f"{length >> 20} MiB in {len(done)} parts: {length / (time.perf_counter() - begun) / (1 << 20):.0f} MiB/s"
    begun = time.perf_counter()
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    yield f"Completed after {time.perf_counter() - begun:.0f} s"
    begun = time.perf_counter()
    for start in range(0, length, 4 * PART):
        body = client.get_object(**here, Range=f"bytes={start}-{start + 4 * PART - 1}")["Body"]
        for piece in body.iter_chunks(1 << 20):
            received.update(piece)
    yield f"Back in ranges: {length / (time.perf_counter() - begun) / (1 << 20):.0f} MiB/s"
    if received.digest() != sent.digest():
        raise SystemExit("What came back is not what was sent.")
    yield f"Peak memory of the server meanwhile: {peak(url)} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/pilothouse-peers"))
    parser.add_argument("--folder", type=Path, help="where Pilothouse keeps its objects (a temporary folder)")
    parser.add_argument("--large", type=size, help="move one object of this size, such as 5GiB, and nothing else")
    parser.add_argument("--encrypted", action="store_true", help="the puts ask for encryption at rest")
    options = parser.parse_args()
    if options.large:
        with (
            tempfile.TemporaryDirectory(prefix="s3-", dir=options.folder) as name,
            server(Path(name) / "home") as client,
        ):
            for line in one_large(client("s3"), options.large):
                print(line, flush=True)
        return
    how = {"x-amz-server-side-encryption": "AES256"} if options.encrypted else {}
    python = Environments(options.envs.expanduser(), {}).python("moto")
    with (
        tempfile.TemporaryDirectory(prefix="s3-", dir=options.folder) as name,
        moto(python) as theirs,
        server(Path(name) / "home") as client,
    ):
        ours = Peer.pilothouse(client("s3"))
        for line in report(side_by_side([ours, theirs], how)):
            print(line, flush=True)
        print(f"\nPeak memory of Pilothouse's server: {peak(ours.url)} MiB")


if __name__ == "__main__":
    main()
