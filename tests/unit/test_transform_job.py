"""The story of a transform job that is killed, and stopped, while it stores its output."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.errors import JobFailed, ServiceUnavailable, StoreAway
from pilothouse.hosting.transform import job as story
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.training.task import StopRequested

REQUEST = {
    "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}},
    "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
}


class Attempts:
    """What a story needs of a job, over all its attempts. Its process is killed when it uploads `deadly`."""

    def __init__(self, folder: Path) -> None:
        self.request, self.name, self.directory = REQUEST, "job", folder / "work"
        self.settings = SimpleNamespace(region="us-east-1")
        self.resource = SimpleNamespace(state={"TransformStartTime": 1.0, "_containers": [{}]})
        self.stored = DirectoryObjects(folder / "objects")
        self.stored.create_bucket("bucket")
        for name in ("a", "b"):
            self.stored.put("bucket", f"in/{name}", b"1\n")
        self.objects, self.deadly = self, ""
        self.stop_requested = False
        self.steps: dict[str, Any] = {}
        self.status = "InProgress"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stored, name)

    def upload(self, path: Path, uri: str) -> None:
        if uri.endswith(self.deadly or "nothing"):
            raise KeyboardInterrupt
        self.stored.upload(path, uri)

    def recorded(self, step: str) -> bool:
        return step in self.steps

    def once(self, step: str, do: Any) -> Any:
        if step not in self.steps:
            self.steps[step] = do()
        return self.steps[step]

    def update(self, status: str, state: Any) -> None:
        self.status = status

    def output(self) -> list[str]:
        return [found.key for found in self.stored.walk("bucket", "out/")]


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    def answer(transform: story.Transform, found: list[Any]) -> None:
        transform._staged.mkdir(parents=True, exist_ok=True)
        for number in range(len(found)):
            transform._made(number).write_text("1\n")

    monkeypatch.setattr(story.Transform, "_transform", answer)
    return Attempts(tmp_path)


def test_a_job_that_is_stopped_behind_its_last_answer_has_stored_nothing(attempts: Any) -> None:
    attempts.stop_requested = True
    with pytest.raises(StopRequested):
        story.Transform(attempts).run()
    assert attempts.output() == []


def test_a_job_that_was_killed_while_it_stored_stores_all_though_it_is_stopped_then(attempts: Any) -> None:
    attempts.deadly = "b.out"
    with pytest.raises(KeyboardInterrupt):
        story.Transform(attempts).run()
    attempts.deadly, attempts.stop_requested = "", True
    story.Transform(attempts).run()
    assert attempts.output() == ["out/a.out", "out/b.out"]
    assert attempts.status == "Completed"


def test_what_is_stored_is_not_made_again_by_whoever_goes_on(attempts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    story.Transform(attempts).run()

    def gone(*_: Any) -> None:
        raise AssertionError("it is made again")

    monkeypatch.setattr(story.Transform, "_transform", gone)
    attempts.status = "InProgress"
    story.Transform(attempts).run()
    assert attempts.status == "Completed"


def test_a_stop_is_too_late_for_answers_that_are_made_again(attempts: Any) -> None:
    attempts.stop_requested, transform = True, story.Transform(attempts)
    with pytest.raises(StopRequested):
        transform._go_on()
    attempts.steps["answered"] = {}
    transform._go_on()


class QuickWorker:
    """Answers at once, with what it was asked; somebody asks for a stop while it has the third request."""

    def __init__(self, job: Any) -> None:
        self.job, self.asked, self.closed = job, 0, False

    def ask(self, body: bytes) -> bytes:
        self.asked += 1
        self.job.stop_requested = self.asked >= 3
        return body

    def follow(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_a_cell_may_be_as_long_as_a_text(attempts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own limit is 131,072 characters."""
    attempts.request = {**REQUEST, "DataProcessing": {"InputFilter": "$[1:]"}}
    text, asked, limit = b"x" * 200_000, [], csv.field_size_limit()
    record = b"id-1," + text
    monkeypatch.setattr(story.Transform, "run", lambda it: asked.append(it._processing.request([record])))
    try:
        story.run(attempts)
    finally:
        csv.field_size_limit(limit)
    assert asked == [text + b"\n"]


def test_an_object_that_breaks_off_while_it_is_read_fails_the_job_in_words(
    attempts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ServiceUnavailable("The object store broke off within an object.")

    monkeypatch.setattr(attempts.stored, "open", broken)
    transform = story.Transform(attempts)
    transform._staged.mkdir(parents=True)
    with pytest.raises(JobFailed, match=r"InternalServerError: s3://bucket/in/a: The object store broke off"):
        transform._object(0, transform._list()["objects"][0], QuickWorker(attempts))


def test_a_metadata_store_that_is_away_is_no_failure_of_the_object(
    attempts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Any) -> None:
        raise StoreAway

    transform = story.Transform(attempts)
    transform._staged.mkdir(parents=True)
    found = transform._list()["objects"]
    monkeypatch.setattr(story.Transform, "_go_on", away)
    with pytest.raises(StoreAway):
        transform._object(0, found[0], QuickWorker(attempts))


def test_a_stop_is_seen_between_quick_batches_of_an_object(attempts: Any) -> None:
    attempts.request = {
        **REQUEST,
        "TransformInput": {**REQUEST["TransformInput"], "SplitType": "Line"},
        "BatchStrategy": "SingleRecord",
    }
    attempts.stored.put("bucket", "in/a", b"1\n" * 200)
    transform, worker = story.Transform(attempts), QuickWorker(attempts)
    transform._staged.mkdir(parents=True)
    with pytest.raises(StopRequested):
        transform._object(0, transform._list()["objects"][0], worker)
    assert worker.asked < 10
    assert worker.closed
    assert not transform._made(0).exists()
