"""Asynchronous invocations from their acceptance to the object in S3, whoever dies in between."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pilothouse.catalog import async_inference, endpoint_updates, hosting
from pilothouse.config import Settings
from pilothouse.errors import S3Error, ValidationError
from pilothouse.hosting import async_answers, exchange
from pilothouse.objects.base import ObjectInfo
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations.async_invocations import invoke_endpoint_async
from pilothouse.operations.context import Context
from pilothouse.store.store import Store
from pilothouse.work import async_invocations
from pilothouse.work.async_invocations import TRIES, AsyncInvocations
from tests.unit.echo import Echo, Replica
from tests.unit.endpoint_house import Installation

CONFIG = {"OutputConfig": {"S3OutputPath": "s3://bucket/out", "S3FailurePath": "s3://bucket/failed"}}


class Killed(BaseException):
    """What follows does not happen any more."""


class Desk:
    """A store with an asynchronous endpoint and requests to it, and the reconciler that answers them."""

    def __init__(self, home: Path, sockets: Path) -> None:
        home.mkdir()
        self.sockets = sockets
        self.settings = Settings(home=home)
        self.store = Store(self.settings.database, region="us-east-1", account="000000000000")
        self.store.migrate()
        self.objects = DirectoryObjects(self.settings.objects_root, self.settings.master_keys_file)
        self.objects.create_bucket("bucket")
        self.objects.put("bucket", "in.csv", b"1,2")
        self.reconciler = AsyncInvocations(self.store, self.objects, self.settings)

    def serve(self, *replicas: Replica, status: str = "InService", config: dict[str, Any] | None = None) -> None:
        """Makes the endpoint be served by these."""
        variants = [{"VariantName": "main", "InitialVariantWeight": 1.0}]
        state = {"_variants": variants, "_replicas": [r.address for r in replicas], hosting.ASYNC: config or CONFIG}
        if self.store.get(hosting.ENDPOINT, "live") is None:
            self.store.insert(hosting.ENDPOINT, "live", {}, status=status, state=state)
        else:
            self.store.update(hosting.ENDPOINT, "live", status=status, state=state)

    def ask(self, **members: Any) -> dict[str, Any]:
        """An accepted request."""
        source = {} if "Body" in members else {"InputLocation": "s3://bucket/in.csv"}
        request = {"EndpointName": "live", "ContentType": "text/csv", **source, **members}
        return invoke_endpoint_async(Context(self.settings, self.store, self.objects), request)

    def ask_and_be_answered(self) -> None:
        """A request, and its output, which is all that is stored."""
        self.ask(InferenceId="id")
        self.until_all_ended()
        assert [*self.keys(), *self.keys("failed")] == ["out/id.out"]

    def restart(self) -> None:
        """A new reconciler, as a new server process has it."""
        self.reconciler.stop(1)
        self.reconciler = AsyncInvocations(self.store, self.objects, self.settings)

    def waiting(self) -> int:
        return self.store.count(async_inference.INVOCATION)

    def until(self, condition: Callable[[], Any]) -> None:
        give_up = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up, f"it never came to that; {self.waiting()} requests wait"
            self.reconciler.tick()
            time.sleep(0.005)

    def until_all_ended(self) -> None:
        self.until(lambda: not self.waiting())

    def keys(self, prefix: str = "out") -> list[str]:
        return [info.key for info in self.objects.walk("bucket", prefix)]

    def failure(self) -> str:
        (key,) = self.keys("failed")
        assert self.keys() == []
        return self.objects.read("bucket", key).decode()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(async_invocations, "_REPLICA_PAUSE", 0.01)
    monkeypatch.setattr(async_invocations, "_STORAGE_PAUSE", 0.01)
    with tempfile.TemporaryDirectory(prefix="ph") as sockets:
        desk = Desk(tmp_path / "home", Path(sockets))
        yield desk
        desk.reconciler.stop(1)
        desk.store.close()


@pytest.fixture
def replica(desk: Desk) -> Iterator[Replica]:
    with Replica(desk.sockets, "main") as replica:
        desk.serve(replica)
        yield replica


def test_an_answer_is_stored_where_the_request_was_told(desk: Desk, replica: Replica) -> None:
    answer = desk.ask(Accept="text/plain", InferenceId="id-1")
    assert answer == {
        "InferenceId": "id-1",
        "OutputLocation": "s3://bucket/out/id-1.out",
        "FailureLocation": "s3://bucket/failed/id-1-error.out",
    }
    desk.until_all_ended()
    assert desk.objects.read("bucket", "out/id-1.out") == b"main/0 text/csv text/plain 1,2"
    assert desk.objects.head("bucket", "out/id-1.out").content_type == "text/csv; charset=utf-8"
    assert desk.keys("failed") == []


@pytest.mark.parametrize(
    ("members", "output", "failure"),
    [
        ({}, r"out/[0-9a-f-]{36}.out", r"failed/[0-9a-f-]{36}-error.out"),
        ({"InferenceId": "../a b?"}, r"out/[0-9a-f-]{36}.out", r"failed/[0-9a-f-]{36}-error.out"),
        ({"InferenceId": "id", "Filename": "may.csv"}, r"out/may\.csv", r"failed/may\.csv-error\.out"),
        ({"InferenceId": "id", "S3OutputPathExtension": "a/b"}, r"out/a/b/id\.out", r"failed/a/b/id-error\.out"),
    ],
)
def test_what_files_are_called(
    desk: Desk, replica: Replica, members: dict[str, str], output: str, failure: str
) -> None:
    places = desk.ask(**members)
    assert re.fullmatch(f"s3://bucket/{output}", places["OutputLocation"])
    assert re.fullmatch(f"s3://bucket/{failure}", places["FailureLocation"])
    assert places["InferenceId"] == members.get("InferenceId", places["OutputLocation"][16:-4])


def test_a_body_in_the_request_is_the_input(desk: Desk, replica: Replica) -> None:
    desk.ask(Body=b"\xff\x00", InferenceId="id")
    desk.until_all_ended()
    assert desk.objects.read("bucket", "out/id.out").endswith(b" \xff\x00")


@pytest.mark.parametrize(("own", "told"), [("application/json", "application/json"), (None, "None")])
def test_an_object_says_its_type_where_the_request_does_not(
    desk: Desk, replica: Replica, own: str | None, told: str
) -> None:
    desk.objects.put("bucket", "in.csv", b"1,2", content_type=own)
    desk.ask(InferenceId="id", ContentType="")
    desk.until_all_ended()
    assert desk.objects.read("bucket", "out/id.out").startswith(f"main/0 {told} ".encode())


def test_an_answer_is_encrypted_with_the_key_of_the_configuration(desk: Desk, replica: Replica) -> None:
    desk.serve(replica, config={"OutputConfig": {**CONFIG["OutputConfig"], "KmsKeyId": "alias/mine"}})
    desk.ask(InferenceId="id")
    desk.until_all_ended()
    encryption = desk.objects.head("bucket", "out/id.out").encryption
    assert encryption is not None
    assert encryption.kms_key == "alias/mine"


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"Body": b"status 406"}, 'Received client error (406) from model with message "main/0 text/csv'),
        ({"Body": b"die"}, "The model server ended before it answered, 3 times in a row."),
        ({"InputLocation": "s3://bucket/gone"}, "The input s3://bucket/gone cannot be read: The specified key"),
        ({"InputLocation": "s3://nowhere/gone"}, "The input s3://nowhere/gone cannot be read: The specified bucket"),
        ({"InputLocation": "s3://bucket/large"}, "The input s3://bucket/large has 11 bytes. Send at most 10."),
    ],
)
def test_a_request_without_an_answer_gets_a_failure_with_the_reason(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(async_answers, "MAX_INPUT", 10)
    desk.objects.put("bucket", "large", b"x" * 11)
    desk.ask(InferenceId="id", **members)
    desk.until_all_ended()
    assert desk.failure().startswith(told)
    (event,) = desk.store.logs.events("/aws/sagemaker/Endpoints/live", async_invocations.LOG_STREAM)
    assert event.message.startswith(f"id: {told}")


def test_a_model_that_takes_too_long_is_given_up(desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(Echo, "do_POST", lambda self: released.wait(60))
    desk.ask(InvocationTimeoutSeconds=1)
    desk.until_all_ended()
    released.set()
    assert "the model server did not answer within 1 seconds" in desk.failure()


def test_a_model_that_refuses_before_it_has_read_all_is_heard(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handler: Echo) -> None:
        handler.send_response(415)
        handler.send_header("content-length", "5")
        handler.end_headers()
        handler.wfile.write(b"never")
        handler.close_connection = True

    monkeypatch.setattr(Echo, "do_POST", refuse)
    desk.objects.put("bucket", "large", b"x" * (8 << 20))
    desk.ask(InputLocation="s3://bucket/large")
    desk.until_all_ended()
    assert 'error (415) from model with message "never"' in desk.failure()


def test_a_request_waits_for_a_replica(desk: Desk) -> None:
    desk.serve()
    desk.ask(InferenceId="id")
    for _ in range(3):
        desk.reconciler.tick()
    assert desk.waiting() == 1
    with Replica(desk.sockets, "main") as replica:
        desk.serve(replica)
        desk.until_all_ended()
    assert desk.keys() == ["out/id.out"]


def test_a_request_that_waits_too_long_is_refused_though_there_is_no_replica(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_invocations, "_LOOK_AGAIN", 0.0)
    desk.serve()
    desk.ask(RequestTTLSeconds=21600)
    desk.ask(RequestTTLSeconds=60)
    monkeypatch.setattr(async_invocations, "now", lambda: time.time() + 61)
    desk.until(lambda: desk.waiting() == 1)
    assert desk.failure() == "The request waited longer than its RequestTTLSeconds allows."


def test_a_replica_has_as_many_requests_as_the_configuration_says(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wait in the model until no further one comes."""
    released, plain, lock = threading.Event(), Echo.do_POST, threading.Lock()
    seen: list[int] = []
    inside = 0

    def held(handler: Echo) -> None:
        nonlocal inside
        with lock:
            inside += 1
            seen.append(inside)
        released.wait(60)
        with lock:
            inside -= 1
        plain(handler)

    monkeypatch.setattr(Echo, "do_POST", held)
    desk.serve(replica, config={**CONFIG, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}})
    for _ in range(5):
        desk.ask()
    desk.until(lambda: len(seen) == 2)
    desk.reconciler.tick()
    released.set()
    desk.until_all_ended()
    assert max(seen) == 2
    assert len(desk.keys()) == 5


def test_while_an_update_moves_traffic_both_sides_answer(desk: Desk, replica: Replica) -> None:
    """Even where the endpoint is to become one that isn't asynchronous."""
    with Replica(desk.sockets, "second") as second:
        variants = [{"VariantName": "second", "InitialVariantWeight": 1.0}]
        shift = {"step": 0, "share": 1.0, "until": 0.0, "variants": variants, "replicas": [second.address]}
        desk.ask(InferenceId="id")
        state = {endpoint_updates.SHIFT: shift, hosting.ASYNC: None}
        desk.store.update(hosting.ENDPOINT, "live", status="Updating", state=state)
        desk.until_all_ended()
    assert desk.objects.read("bucket", "out/id.out").startswith(b"second/0")


def test_a_request_that_was_accepted_before_the_server_died_is_answered(desk: Desk, replica: Replica) -> None:
    for number in range(3):
        desk.ask(InferenceId=str(number))
    desk.restart()
    desk.until_all_ended()
    assert desk.keys() == ["out/0.out", "out/1.out", "out/2.out"]


@pytest.mark.parametrize("body", [b"1,2", b"status 400"])
def test_a_request_that_was_not_recorded_as_ended_is_done_again(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """The server dies when the object is stored and the row still there; the second time makes the same object."""

    def die(*_: Any) -> bool:
        raise Killed

    monkeypatch.setattr(async_invocations, "_STORAGE_PAUSE", 600.0)
    desk.ask(InferenceId="id", Body=body)
    with monkeypatch.context() as patched:
        patched.setattr(desk.store, "delete", die)
        desk.until(lambda: desk.keys("out/") + desk.keys("failed/"))
        desk.reconciler.tick()
    (key,) = desk.keys("out/") + desk.keys("failed/")
    first = desk.objects.read("bucket", key)
    assert desk.waiting() == 1
    desk.restart()
    desk.until_all_ended()
    assert desk.keys("out/") + desk.keys("failed/") == [key]
    assert desk.objects.read("bucket", key) == first


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_whose_replica_died_is_asked_of_the_next(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    deaths, plain = iter(range(2)), Echo.do_POST

    def die_twice(handler: Echo) -> None:
        if next(deaths, None) is None:
            plain(handler)
            return
        if begun:  # it had said how long the answer would be, and a part of it
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b"1,2")
        handler.close_connection = True

    monkeypatch.setattr(Echo, "do_POST", die_twice)
    desk.ask_and_be_answered()


def test_a_full_disk_here_is_no_fault_of_the_replicas(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fails = shutil.copyfileobj, iter(range(TRIES + 1))

    def full(*arguments: Any) -> None:
        if next(fails, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(*arguments)

    monkeypatch.setattr(exchange.shutil, "copyfileobj", full)
    desk.ask_and_be_answered()


def test_a_refusal_needs_not_wait_for_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_invocations, "MOST", 0)  # all places are taken
    desk.serve()
    desk.ask()
    desk.serve(status=hosting.DELETING)
    desk.until_all_ended()
    assert desk.failure() == "The endpoint was deleted before it had processed the request."


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("a" * 1000, "Your key is too long"),
        ("выход", "A header can tell of ASCII characters only"),
        ("a\rb", "A header can tell of ASCII characters only"),
    ],
)
def test_an_address_that_no_answer_can_have_is_refused_at_once(desk: Desk, folder: str, why: str) -> None:
    desk.serve(config={"OutputConfig": {"S3OutputPath": f"s3://bucket/{folder}"}})
    with pytest.raises(ValidationError, match=f"cannot be stored at s3://bucket/.*: {why}"):
        desk.ask(S3OutputPathExtension="b" * 512)
    assert desk.waiting() == 0


def test_an_input_that_is_replaced_when_it_is_opened_is_read_a_moment_later(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fails = DirectoryObjects.open, iter(range(2))

    def replaced(*arguments: Any, **more: Any) -> BinaryIO:
        if next(fails, None) is not None:
            raise S3Error("PreconditionFailed", "It is another one by now.", 412)
        return plain(*arguments, **more)

    monkeypatch.setattr(DirectoryObjects, "open", replaced)
    desk.ask_and_be_answered()


def test_a_request_waits_for_an_object_store_that_is_away(
    desk: Desk, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fails = DirectoryObjects.put, iter(range(2))

    def put(objects: DirectoryObjects, bucket: str, key: str, *body: Any, **more: Any) -> ObjectInfo:
        if next(fails, None) is not None:
            raise S3Error("ServiceUnavailable", "Come back later.", 503)
        return plain(objects, bucket, key, *body, **more)

    desk.ask(InferenceId="id")
    monkeypatch.setattr(DirectoryObjects, "put", put)
    desk.until_all_ended()
    assert desk.keys() == ["out/id.out"]
    assert desk.keys("failed") == []


def test_an_answer_that_can_never_be_stored_is_a_failure(desk: Desk, replica: Replica) -> None:
    output = {"S3OutputPath": "s3://gone/out", "S3FailurePath": "s3://bucket/failed"}
    desk.serve(replica, config={"OutputConfig": output})
    desk.ask(InferenceId="id")
    desk.until_all_ended()
    assert desk.failure().startswith("The output cannot be stored at s3://gone/out/id.out: The specified bucket")


def test_a_failure_that_can_never_be_stored_is_in_the_log(desk: Desk, replica: Replica) -> None:
    desk.serve(replica, config={"OutputConfig": {"S3OutputPath": "s3://gone/out"}})
    desk.ask(InferenceId="id")
    desk.until_all_ended()
    first, second = desk.store.logs.events("/aws/sagemaker/Endpoints/live", async_invocations.LOG_STREAM)
    assert first.message.startswith("id: The output cannot be stored at s3://gone/out/id.out:")
    assert second.message.startswith("id: This could not be stored at s3://gone/out/id-error.out:")


def test_an_endpoint_is_gone_when_its_requests_have_been_refused(house: Installation) -> None:
    """Requests that wait keep the row, so that none can be lost with it."""
    config = {**CONFIG, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1}}
    house.deploy()
    house.until_status("InService")
    house.store.update(hosting.ENDPOINT, "live", state={hosting.ASYNC: config})
    context = Context(house.settings, house.store, house.objects)
    for number in range(3):
        invoke_endpoint_async(context, {"EndpointName": "live", "Body": b"1", "InferenceId": str(number)})
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=["InService"])
    house.until(lambda: not house.launcher.alive)
    for _ in range(5):
        house.reconciler.tick()
    row = house.row()
    assert row is not None
    assert row.status == "Deleting"
    reconciler = AsyncInvocations(house.store, house.objects, house.settings)
    house.until(lambda: reconciler.tick() or house.row() is None)
    reconciler.stop(1)
    failures = [house.objects.read("bucket", info.key).decode() for info in house.objects.walk("bucket", "failed")]
    assert failures == ["The endpoint was deleted before it had processed the request."] * 3
    assert house.store.count(async_inference.INVOCATION) == 0
