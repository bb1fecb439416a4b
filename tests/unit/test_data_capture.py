"""Data capture: how records are written, who is left out when the store is slow, and what is refused."""

from __future__ import annotations

import base64
import errno
import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pilothouse.api import capture as recording
from pilothouse.api.capture import Recorder
from pilothouse.catalog import data_capture
from pilothouse.catalog.data_capture import Capture, Exchange
from pilothouse.config import Settings
from pilothouse.errors import ServiceUnavailable
from pilothouse.objects.base import Encryption
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

CONFIG = {
    "InitialSamplingPercentage": 50,
    "DestinationS3Uri": "s3://bucket/below/",
    "CaptureOptions": [{"CaptureMode": "Input"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["Application/JSON"]},
}
AT = 1_700_000_000.25


def exchange(body: bytes, content_type: str | None = "application/json", at: float = AT) -> Exchange:
    return Exchange("live", "main", at, body, content_type, b"", "text/csv")


def capture(**members: Any) -> Capture:
    read = Capture.of({**CONFIG, **members})
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "data"),
    [
        (b'{"a": "\xc3\xa9"}', "application/json; charset=utf-8", "JSON", '{"a": "é"}'),
        (b"\xff\xfe", "application/json", "BASE64", base64.b64encode(b"\xff\xfe").decode()),
        (b"1,2", "text/csv", "BASE64", base64.b64encode(b"1,2").decode()),
        (b"1,2", None, "BASE64", base64.b64encode(b"1,2").decode()),
    ],
)
def test_a_body_is_text_only_if_its_type_is_said_to_be(
    body: bytes, content_type: str | None, encoding: str, data: str
) -> None:
    record = json.loads(capture().line(exchange(body, content_type)))
    side = record["captureData"].pop("endpointInput")
    assert (side["encoding"], side["data"], side.get("observedContentType")) == (encoding, data, content_type)
    assert record["captureData"] == {}
    assert record["eventMetadata"]["inferenceTime"] == "2023-11-14T22:13:20Z"


def test_records_go_by_endpoint_variant_and_hour() -> None:
    assert data_capture.folder(exchange(b"")) == "live/main/2023/11/14/22"
    first = exchange(b"")
    assert data_capture.file_name(first) == f"13-20-250-{first.id}.jsonl"


def test_a_summary_says_whether_it_is_on() -> None:
    assert data_capture.summary(CONFIG)["CaptureStatus"] == "Started"
    assert data_capture.summary({**CONFIG, "EnableCapture": False})["CaptureStatus"] == "Stopped"
    assert Capture.of({**CONFIG, "EnableCapture": False}) is None


class Slow(DirectoryObjects):
    """Lets each object wait until it may go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def put(self, bucket: str, key: str, body: Any, **members: Any) -> Any:
        self.begun.set()
        self.may_go_on.wait(30)
        return super().put(bucket, key, body, **members)


def lines(objects: DirectoryObjects) -> Iterable[Any]:
    return [json.loads(one) for info in objects.walk("bucket") for one in objects.read("bucket", info.key).splitlines()]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    objects = Slow(settings.objects_root)
    objects.create_bucket("bucket")
    yield Context(settings, store, objects)
    store.close()


def test_what_waits_is_bounded_and_hours_have_files_of_their_own(slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_HELD", exchange(b"").size * 3 + 40)
    recorder, objects = Recorder(slow), slow.objects
    keyed = capture(KmsKeyId="alias/ours")
    recorder.offer(keyed, exchange(b'"0123456789"'))
    assert objects.begun.wait(30)
    for hour in range(4):
        recorder.offer(keyed, exchange(f'"{hour}12345678"'.encode(), at=AT + 3600 * hour))
    objects.may_go_on.set()
    recorder.close()
    told = {record["captureData"]["endpointInput"]["data"] for record in lines(objects)}
    assert told == {'"0123456789"', '"012345678"', '"112345678"'}
    assert [info.encryption for info in objects.walk("bucket")] == [Encryption("aws:kms", "alias/ours")] * 3


def test_each_record_is_stored_under_the_key_that_was_configured_when_it_was_made(slow: Any) -> None:
    """An update gives the endpoint a key, and then another, all within the time in which records share a file."""
    recorder, objects = Recorder(slow), slow.objects
    for number, kms_key in enumerate((None, "alias/ours", "alias/theirs", "alias/ours")):
        recorder.offer(capture(KmsKeyId=kms_key), exchange(f'"{number}"'.encode()))
    objects.may_go_on.set()
    recorder.close()
    stored = {
        info.encryption and info.encryption.kms_key: objects.read("bucket", info.key).count(b"eventId")
        for info in objects.walk("bucket")
    }
    assert stored == {None: 1, "alias/ours": 2, "alias/theirs": 1}


class Away(DirectoryObjects):
    """Fails before it stores what it is given, and then after that, as where the answer is lost on its way."""

    stores: ClassVar[list[bool]] = []
    failure: Exception = ServiceUnavailable("It is away.")

    def put(self, bucket: str, key: str, body: Any, **members: Any) -> Any:
        if not self.stores:
            return super().put(bucket, key, body, **members)
        if self.stores.pop(0):
            super().put(bucket, key, body, **members)
        raise self.failure


@pytest.fixture
def away(slow: Context) -> Context:
    return replace(slow, objects=Away(slow.settings.objects_root))


@pytest.mark.parametrize("failure", [Away.failure, OSError(errno.ENOSPC, "No space left on device")])
def test_records_wait_for_an_object_store_that_is_away_and_are_there_once(
    away: Context, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(Away, "failure", failure)
    monkeypatch.setattr(Away, "stores", [False, True])
    recorder, objects = Recorder(away), away.objects
    recorder.offer(capture(), exchange(b'"first"'))
    give_up = time.monotonic() + 30
    while objects.stores and time.monotonic() < give_up:
        recorder.offer(capture(), exchange(b'"more"'))
        time.sleep(0.02)
    recorder.close()
    told = [record["captureData"]["endpointInput"]["data"] for record in lines(objects)]
    events = {record["eventMetadata"]["eventId"] for record in lines(objects)}
    assert told.count('"first"') == 1
    assert len(events) == len(told) > 1
    assert recorder._held == 0


def test_what_an_object_store_never_takes_is_told_in_the_endpoints_log(
    away: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    away.store.migrate()
    monkeypatch.setattr(Away, "stores", [False])
    recorder = Recorder(away)
    recorder.offer(capture(), exchange(b'"1"'))
    recorder.close()
    (event,) = away.store.logs.events("/aws/sagemaker/Endpoints/live", "data-capture")
    assert event.message == "1 records could not be stored at s3://bucket/below/: It is away."


def test_an_object_store_that_is_away_is_not_asked_for_each_file(
    away: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor when the server ends, which would wait as long as it takes to fail; what failed makes room for the others."""
    away.store.migrate()
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 30)
    monkeypatch.setattr(Away, "stores", [False, False, False])
    recorder = Recorder(away)
    waiting = [(capture(), exchange(f'"{hour}"'.encode(), at=AT + 3600 * hour)) for hour in range(3)]
    left = recorder._store(waiting, False)
    assert left == [*waiting[1:], waiting[0]]
    assert len(Away.stores) == 2
    for one in left:
        recorder.offer(*one)
    recorder.close()
    assert len(Away.stores) == 1
    assert len(away.store.logs.events("/aws/sagemaker/Endpoints/live", "data-capture")) == 3


def test_a_machine_without_a_thread_to_give_fails_no_request(slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start, tries = threading.Thread.start, []

    def refused_once(thread: threading.Thread) -> None:
        tries.append(thread)
        if len(tries) == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused_once)
    recorder = Recorder(slow)
    slow.objects.may_go_on.set()
    recorder.offer(capture(), exchange(b'"1"'))
    recorder.offer(capture(), exchange(b'"2"'))
    recorder.close()
    assert len(list(lines(slow.objects))) == 2
