"""Large files that a thread gives back to the disk."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pilothouse.objects import freeing
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.freeing import Freer

BUCKET = "a-bucket"
LARGE = 5 << 20


def removed_and_held(folder: Path) -> list[str]:
    """Files of `folder` that have no name and that this process holds."""
    held = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return [path for path in held if path.startswith(str(folder)) and path.endswith("(deleted)")]


def await_freed(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while removed_and_held(folder):
        assert time.monotonic() < deadline, removed_and_held(folder)
        time.sleep(0.01)


def large(folder: Path, name: str = "large") -> Path:
    path = folder / name
    path.write_bytes(bytes(LARGE))
    return path


class Busy(Freer):
    """One whose thread frees nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def _serve(self) -> None:
        self.go_on.wait()
        super()._serve()


def test_what_a_put_replaces_and_a_delete_removes_is_left_to_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freer = Busy()
    monkeypatch.setattr(freeing, "_freer", freer)
    store = DirectoryObjects(tmp_path / "objects")
    store.create_bucket(BUCKET)
    for content in (b"old" * LARGE, b"new" * LARGE):
        store.put(BUCKET, "key", content)
    assert len(removed_and_held(tmp_path)) == 1
    assert store.read(BUCKET, "key") == b"new" * LARGE
    store.delete(BUCKET, "key")
    assert len(removed_and_held(tmp_path)) == 2
    freer.go_on.set()
    await_freed(tmp_path)


def test_a_large_file_waits_for_the_thread_and_a_small_one_does_not(tmp_path: Path) -> None:
    freer, small = Busy(), tmp_path / "small"
    small.write_bytes(b"x")
    for path in (small, large(tmp_path)):
        with freer.removing(path):
            path.unlink()
    assert removed_and_held(tmp_path) == [f"{tmp_path}/large (deleted)"]
    freer.go_on.set()
    await_freed(tmp_path)


def test_more_than_the_thread_has_room_for_is_freed_at_once(tmp_path: Path) -> None:
    freer = Busy()
    freer._held = queue.Queue(2)
    for number in range(5):
        path = large(tmp_path, str(number))
        with freer.removing(path):
            path.unlink()
    assert len(removed_and_held(tmp_path)) == 2
    freer.go_on.set()
    await_freed(tmp_path)


def test_without_a_thread_who_removes_a_file_frees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    path = large(tmp_path)
    with Freer().removing(path):
        path.unlink()
    assert removed_and_held(tmp_path) == []


def test_a_file_that_is_not_there_or_stays_is_nothing_special(tmp_path: Path) -> None:
    with Freer().removing(tmp_path / "none"):
        pass
    path = large(tmp_path)
    with pytest.raises(PermissionError), freeing.removing(path):
        raise PermissionError
    assert path.stat().st_size == LARGE


def test_a_forked_process_holds_nothing_and_has_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeing, "_freer", Busy())
    path = large(tmp_path)
    with freeing.removing(path):
        path.unlink()
    large(tmp_path)
    child = os.fork()
    if child == 0:  # pragma: no cover (coverage does not follow)
        status = 1
        try:
            assert not removed_and_held(tmp_path)
            with freeing.removing(path):
                path.unlink()
            await_freed(tmp_path)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
