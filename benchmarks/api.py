"""How quick the API answers beside moto's server: `python benchmarks/api.py`.

CreateAutoMLJobV2, DescribeAutoMLJobV2 and ListAutoMLJobs (a page of 100) with 1,000 jobs in each server, from 1 and
from 8 clients. The servers take turns, in blocks of calls, and both run all the while. Requests are signed beforehand
and sent over connections that stay open where the server lets them; a client is a process. Pilothouse runs without a
worker, as its jobs would train; it verifies the signature, holds the request against the service model, reads the
header of the data, and has the job on disk when it answers, which moto does none of. moto comes into an environment of
its own.

`--busy` measures another thing: DescribeAutoMLJobV2, 50 times a second, of a server that trains on all cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from beside_moto.calls import PATIENCE, Request, calls
from beside_moto.servers import Peer, moto
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from peers_bench.environments import Environments
from quick import server

JOBS, CLIENTS, ROUNDS, WARM = 1_000, (1, 8), 5, 40
OPERATIONS = ("CreateAutoMLJobV2", "DescribeAutoMLJobV2", "ListAutoMLJobs")
BUSY_SECONDS, BUSY_PACE, BUSY_MOST = 60, 0.02, 0.1
BUSY_ROWS, BUSY_COLUMNS = 60_000, 20
BUCKET, ROLE = "bench", "arn:aws:iam::000000000000:role/PilothouseRole"

Members = dict[str, Any]


def signed(peer: Peer, operation: str, members: Members) -> Request:
    """A request of an operation."""
    body = json.dumps(members).encode()
    target = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    unsigned = AWSRequest("POST", f"{peer.url}/", target, body)
    SigV4Auth(peer.credentials, "sagemaker", peer.region).add_auth(unsigned)
    return Request("POST", "/", body, dict(unsigned.headers.items()))


@contextlib.contextmanager
def pilothouse(home: Path, *options: str) -> Iterator[tuple[Peer, Any]]:
    """A started Pilothouse, and what makes boto3 clients of it."""
    with server(home, *options) as client:
        yield Peer.pilothouse(client("sagemaker")), client


def job(name: str, seconds: int = 600) -> Members:
    """What CreateAutoMLJobV2 is asked for: with what moto can't do without."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}}
    return {
        "AutoMLJobName": name,
        "AutoMLJobInputDataConfig": [
            {"ChannelType": "training", "ContentType": "text/csv;header=present", "DataSource": source}
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "RoleArn": ROLE,
        "AutoMLProblemTypeConfig": {
            "TabularJobConfig": {
                "TargetAttributeName": "y",
                "ProblemType": "BinaryClassification",
                "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": seconds},
            }
        },
        "AutoMLJobObjective": {"MetricName": "F1"},
        "Tags": [{"Key": "team", "Value": "a"}],
    }


class Asked:
    """The requests of the benchmark, each round others."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._created = 0

    def members(self, operation: str, count: int) -> list[Members]:
        """What the next `count` calls ask for."""
        if operation == "CreateAutoMLJobV2":
            first, self._created = self._created, self._created + count
            return [job(f"job-{number}") for number in range(first, first + count)]
        if operation == "DescribeAutoMLJobV2":
            return [{"AutoMLJobName": f"job-{number * 7 % self._jobs}"} for number in range(count)]
        return [{"MaxResults": 100, "SortBy": "CreationTime"}] * count


Cell = tuple[str, int, str]


def side_by_side(peers: Sequence[Peer], jobs: int) -> dict[Cell, tuple[list[float], float]]:
    """Seconds of every call, and of all of them, by operation, clients and server."""
    found: dict[Cell, tuple[list[float], float]] = {}
    asked = Asked(jobs)
    for operation in OPERATIONS:
        count = jobs // (ROUNDS * len(CLIENTS))
        first = asked.members(operation, WARM)
        for peer in peers:
            calls(peer.url, [signed(peer, operation, each) for each in first], max(CLIENTS))
        for turn in range(ROUNDS):
            for clients in CLIENTS:
                members = asked.members(operation, count)
                for peer in peers if turn % 2 else reversed(peers):
                    requests = [signed(peer, operation, each) for each in members]
                    seconds, whole = calls(peer.url, requests, clients)
                    before = found.get((operation, clients, peer.name), ([], 0.0))
                    found[operation, clients, peer.name] = (before[0] + seconds, before[1] + whole)
                    print(f"{operation} {clients} {peer.name} {_shown(seconds, whole)}", file=sys.stderr, flush=True)
    return found


def report(found: dict[Cell, tuple[list[float], float]]) -> Iterator[str]:
    """The table's lines."""
    yield "| operation | clients | pilothouse p50, ms | p99 | calls/s | moto p50, ms | p99 | calls/s | as fast |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for operation in OPERATIONS:
        for clients in CLIENTS:
            ours, theirs = (found[operation, clients, name] for name in ("pilothouse", "moto"))
            faster = [mine <= his for mine, his in zip(_cuts(ours[0]), _cuts(theirs[0]), strict=True)]
            verdict = "met" if all(faster) else "**missed**"
            yield f"| {operation} | {clients} | {_shown(*ours)} | {_shown(*theirs)} | {verdict} |"


def _cuts(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3


def _shown(seconds: list[float], whole: float) -> str:
    p50, p99 = _cuts(seconds)
    return f"{p50:.2f} | {p99:.2f} | {len(seconds) / whole:.0f}"


# A busy server.


def busy(folder: Path) -> str:
    """Describe's latency while a job trains on all cores."""
    with pilothouse(folder / "home") as (peer, client):
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="in/train.csv", Body=_table())
        sagemaker.create_auto_ml_job_v2(**job("busy", BUSY_SECONDS * 4))
        while (now := sagemaker.describe_auto_ml_job_v2(AutoMLJobName="busy"))["AutoMLJobSecondaryStatus"] in _EARLY:
            if now["AutoMLJobStatus"] != "InProgress":
                raise SystemExit(f"The job is {now['AutoMLJobStatus']}: {now.get('FailureReason')}")
            time.sleep(0.5)
        idle = os.times(), time.monotonic(), _idle()
        seconds = list(_paced(peer))
        share = (_idle() - idle[2]) / (time.monotonic() - idle[1]) / (os.cpu_count() or 1)
        status = sagemaker.describe_auto_ml_job_v2(AutoMLJobName="busy")["AutoMLJobStatus"]
        sagemaker.stop_auto_ml_job(AutoMLJobName="busy")
    p50, p99 = _cuts(seconds)
    verdict = "met" if p99 < BUSY_MOST * 1e3 else "missed"
    return (
        f"{len(seconds)} x Describe, the job {status} and the processors {share:.0%} idle: p50 {p50:.2f} ms, "
        f"p99 {p99:.2f} ms, worst {max(seconds) * 1e3:.1f} ms (p99 below {BUSY_MOST * 1e3:.0f} ms: {verdict})"
    )


_EARLY = ("Starting", "PreTraining", "AnalyzingData", "FeatureEngineering")


def _paced(peer: Peer) -> Iterator[float]:
    connection = HTTPConnection(peer.url.removeprefix("http://").rstrip("/"), timeout=PATIENCE)
    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        request = signed(peer, "DescribeAutoMLJobV2", {"AutoMLJobName": "busy"})
        begun = time.perf_counter()
        connection.request("POST", "/", request.body, request.headers)
        answer = connection.getresponse()
        answer.read()
        yield time.perf_counter() - begun
        if answer.status != 200:
            raise SystemExit(f"Describe answered {answer.status}.")
        time.sleep(BUSY_PACE)


def _idle() -> float:
    """Seconds that this machine's processors have been idle, all of them together."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[4]) / os.sysconf("SC_CLK_TCK")


def _table() -> bytes:
    import numpy as np

    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(BUSY_ROWS, BUSY_COLUMNS)).round(4)
    target = (numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + draw.normal(size=BUSY_ROWS) > 0).astype(int)
    header = ",".join([*(f"x{i}" for i in range(BUSY_COLUMNS)), "y"])
    rows = (",".join(map(str, [*row, label])) for row, label in zip(numbers.tolist(), target.tolist(), strict=True))
    return "\n".join([header, *rows, ""]).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"jobs in each server ({JOBS})")
    parser.add_argument("--busy", action="store_true", help="measure a server that trains, and nothing else")
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/pilothouse-peers"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    with tempfile.TemporaryDirectory(prefix="api-") as name:
        folder = Path(name)
        if options.busy:
            print(busy(folder))
            return
        python = Environments(options.envs.expanduser(), {}).python("moto")
        with pilothouse(folder / "home", "--no-worker") as (ours, client), moto(python) as theirs:
            client("s3").create_bucket(Bucket=BUCKET)
            client("s3").put_object(Bucket=BUCKET, Key="in/train.csv", Body=b"x,y\n1,a\n2,b\n")
            for line in report(side_by_side([ours, theirs], options.jobs)):
                print(line)


if __name__ == "__main__":
    main()
