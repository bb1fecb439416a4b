"""A transform job's model server that answers, refuses, fails, dies and hangs."""

from __future__ import annotations

import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog.transform_jobs import TransformJob
from pilothouse.errors import DataError, JobFailed
from pilothouse.hosting.transform.worker import Worker
from pilothouse.launch.base import AT_WORK, Exit, Program


class Model(BaseHTTPRequestHandler):
    """Does to each request what stands next in the script, or answers with what it was asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        replica: Replica = self.server.replica  # type: ignore[attr-defined]
        act = replica.script.pop(0) if replica.script else 200
        if act == "die":
            replica.log.write_text("starting\nOut of memory.\n")
            replica.end = Exit(signal=9)
        elif act == "hang":
            replica.killed.wait(10)
        else:
            self.send_response(int(act))
            self.end_headers()
            self.wfile.write(f"{self.headers['content-type']} {self.headers['accept']} ".encode() + body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None: ...


class Replica:
    def __init__(self, program: Program, script: list[Any], fails: bool, killed: bool) -> None:
        assert program.log is not None
        self.log, self.script, self.nice = program.log, script, program.nice
        self.killed = threading.Event()
        self.end: Exit | None = None
        self.log.write_text("starting\n")
        if killed:
            self.end = Exit(signal=9)
            return
        if fails:
            self.log.write_text("starting\nThe model cannot be loaded. It is no model.\n")
            self.end = Exit(code=1)
            return
        self.server = socketserver.ThreadingUnixStreamServer(program.arguments["socket"], Model)
        self.server.daemon_threads = True
        self.server.replica = self  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    pid = 0

    def poll(self) -> Exit | None:
        return self.end

    def wait(self, timeout: float | None = None) -> Exit | None:
        return self.end

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.killed.set()
        if hasattr(self, "server"):
            self.server.shutdown()
            self.server.server_close()
        self.end = self.end or Exit(signal=9)


class House:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script: list[Any] = []
        self.fails = False
        self.kills = 0
        self.started: list[Replica] = []
        self.lines: list[str] = []

    def worker(self, **client: int) -> Worker:
        request = {
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}},
            "TransformOutput": {"S3OutputPath": "s3://b/out", "Accept": "application/jsonlines"},
            "ModelClientConfig": client,
        }
        job = TransformJob.of(request, [{}])
        return Worker("j", [], job, (self.folder, self.folder), start=self.start, ship=self.ship, go_on=lambda: None)

    def start(self, program: Program) -> Replica:
        self.started.append(Replica(program, self.script, self.fails, len(self.started) < self.kills))
        return self.started[-1]

    def ship(self, name: str, lines: list[str]) -> None:
        self.lines += lines


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="ph") as folder:
        yield House(Path(folder))


def test_a_request_carries_its_types_and_comes_back_with_its_answer(house: House) -> None:
    with house.worker() as worker:
        assert worker.ask(b"1,2") == b"text/csv application/jsonlines 1,2"
        worker.follow()
        assert house.lines == ["starting"]
    assert [replica.end for replica in house.started] == [Exit(signal=9)]
    assert [replica.nice for replica in house.started] == [AT_WORK]  # the server comes first
    assert not list(house.folder.glob("*.log"))


def test_a_model_that_does_not_load_says_why(house: House) -> None:
    house.fails = True
    with pytest.raises(JobFailed, match=r"ended with exit code 1\. The model cannot be loaded\. It is no model\."):
        house.worker().__enter__()


def test_a_model_that_is_killed_while_it_starts_is_started_again(house: House) -> None:
    house.kills = 2
    with house.worker(InvocationsMaxRetries=2) as worker:
        assert worker.ask(b"1").endswith(b" 1")
    assert len(house.started) == 3


def test_a_model_that_is_killed_at_each_start_fails_the_job(house: House) -> None:
    house.kills = 10
    with pytest.raises(JobFailed, match=r"was killed by signal 9 \(SIGKILL\)"):
        house.worker(InvocationsMaxRetries=1).__enter__()
    assert len(house.started) == 2


def test_what_the_model_refuses_is_not_asked_again(house: House) -> None:
    house.script = [400]
    with house.worker() as worker, pytest.raises(DataError, match=r"The model answered 400: text/csv .* 1,2\."):
        worker.ask(b"1,2")
    assert house.script == []


def test_a_model_that_fails_or_dies_is_asked_again(house: House) -> None:
    house.script = [500, "die", 503]
    with house.worker() as worker:
        assert worker.ask(b"1").endswith(b" 1")
    assert len(house.started) == 2
    assert "Out of memory." in house.lines


@pytest.mark.parametrize(
    ("act", "part"),
    [(500, "The model answered 500: text/csv"), ("die", "The model ended before it answered. Out of memory.")],
)
def test_a_model_that_fails_again_and_again_fails_the_job(house: House, act: Any, part: str) -> None:
    house.script = [act] * 10
    with house.worker(InvocationsMaxRetries=2) as worker, pytest.raises(JobFailed) as caught:
        worker.ask(b"1")
    assert not isinstance(caught.value, DataError)
    assert part in caught.value.message
    assert len(house.script) == 7


def test_a_model_that_hangs_is_started_again(house: House) -> None:
    house.script = ["hang"]
    with house.worker(InvocationsTimeoutInSeconds=1) as worker:
        assert worker.ask(b"1").endswith(b" 1")
    assert len(house.started) == 2


def test_several_threads_ask_one_model(house: House) -> None:
    found: list[bytes] = []
    with house.worker() as worker:
        threads = [threading.Thread(target=lambda n=n: found.append(worker.ask(b"%d" % n))) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answer[-1:] for answer in found) == [b"0", b"1", b"2", b"3", b"4"]
    assert len(house.started) == 1
