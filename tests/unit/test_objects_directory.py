"""What only the directory store can show: files, crashes, and processes beside each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.errors import S3Error
from pilothouse.objects import directory, writeback
from pilothouse.objects.base import Encryption, Listing, Upload
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.stored import sync_folder
from pilothouse.objects.uploads import Uploads

BUCKET = "a-bucket"


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    store = DirectoryObjects(tmp_path / "objects")
    store.create_bucket(BUCKET)
    return store


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    store = DirectoryObjects(tmp_path / "objects")
    assert store.buckets() == []
    assert not (tmp_path / "objects").exists()


def test_keys_with_dots_stay_in_their_bucket(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put(BUCKET, "../../../escaped", b"x")
    objects.put(BUCKET, "/etc/escaped", b"x")
    assert all(name.startswith(f"objects/{BUCKET}/keys/") for name in files(tmp_path) if "escaped" in name)


def test_deleting_objects_leaves_no_folders(objects: DirectoryObjects, tmp_path: Path) -> None:
    for key in ("a/b/c", "a/b/d", "x" * 600):
        objects.put(BUCKET, key, b"x")
    objects.delete(BUCKET, "a/b/c")
    assert objects.read(BUCKET, "a/b/d") == b"x"
    objects.delete(BUCKET, "a/b/d")
    objects.delete(BUCKET, "x" * 600)
    assert list((tmp_path / "objects" / BUCKET / "keys").iterdir()) == []


def test_empty_folders_that_a_crash_left_do_not_keep_a_bucket(objects: DirectoryObjects, tmp_path: Path) -> None:
    (tmp_path / "objects" / BUCKET / "keys" / "a%" / "b%").mkdir(parents=True)
    assert objects.list(BUCKET, delimiter="/").prefixes == []
    objects.delete_bucket(BUCKET)
    assert objects.buckets() == []


def test_a_bucket_that_is_deleted_while_buckets_are_listed_is_left_out(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.create_bucket("gone")

    def then_deleted(found: Iterator[Path]) -> Iterator[Path]:
        yield from found
        objects.delete_bucket("gone")

    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda *arguments: then_deleted(glob(*arguments)))
    assert [bucket.name for bucket in objects.buckets()] == [BUCKET]


MEANWHILE: dict[str, Callable[[DirectoryObjects], object]] = {
    "create_upload": lambda objects: objects.create_upload(BUCKET, "k"),
    "put_part": lambda objects: objects.put_part(BUCKET, "k", "0" * 32, 1, b"x"),
    "uploads": lambda objects: objects.uploads(BUCKET),
    "put": lambda objects: objects.put(BUCKET, "k", b"x"),
    "delete": lambda objects: objects.delete(BUCKET, "k"),
    "encrypt": lambda objects: objects.set_bucket_encryption(BUCKET, Encryption("AES256")),
    "leave plain": lambda objects: objects.set_bucket_encryption(BUCKET, None),
}


@pytest.mark.parametrize("call", MEANWHILE)
def test_a_bucket_that_is_deleted_meanwhile_is_told_to_be_gone(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    objects.delete_bucket(BUCKET)
    monkeypatch.setattr(DirectoryObjects, "bucket_exists", lambda *_: True)  # so it was when they looked
    monkeypatch.setattr(Uploads, "find", lambda *_: Upload(BUCKET, "k", "0" * 32, 0.0))
    with pytest.raises(S3Error) as caught:
        MEANWHILE[call](objects)
    assert caught.value.code == "NoSuchBucket"


def test_a_file_that_is_no_object_is_not_listed_and_not_read(objects: DirectoryObjects, tmp_path: Path) -> None:
    objects.put(BUCKET, "good", b"content")
    keys = tmp_path / "objects" / BUCKET / "keys"
    (keys / "foreign.csv").write_text("a,b\n")
    (keys / "cut").write_bytes((keys / "good").read_bytes()[:-3])
    damaged = bytearray((keys / "good").read_bytes())
    damaged[-30] ^= 1
    (keys / "damaged").write_bytes(damaged)
    assert [info.key for info in objects.walk(BUCKET)] == ["good"]
    for key in ("foreign.csv", "cut", "damaged"):
        with pytest.raises(S3Error, match="damaged") as error:
            objects.read(BUCKET, key)
        assert error.value.status == 500


def test_readers_see_one_version_or_the_other_whole(objects: DirectoryObjects) -> None:
    versions = [bytes([n]) * 300_000 for n in range(4)]
    objects.put(BUCKET, "d/k", versions[0])
    over = threading.Event()

    def write() -> None:
        for turn in range(60):
            objects.put(BUCKET, "d/k", versions[turn % 4])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        content = objects.read(BUCKET, "d/k")
        assert content in versions
    writer.join()


def test_puts_and_deletes_below_one_folder_do_not_disturb_each_other(objects: DirectoryObjects) -> None:
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            for _ in range(60):
                objects.put(BUCKET, f"deep/er/{name}", b"x")
                assert objects.read(BUCKET, f"deep/er/{name}") == b"x"
                objects.delete(BUCKET, f"deep/er/{name}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(objects.walk(BUCKET)) == []


def test_of_two_who_delete_a_bucket_at_once_one_is_told_that_it_is_gone(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    told: list[str] = []

    def delete() -> None:
        try:
            objects.delete_bucket(BUCKET)
            told.append("deleted")
        except Exception as error:
            told.append(getattr(error, "code", repr(error)))

    threads = [threading.Thread(target=delete) for _ in range(2)]
    with (tmp_path / "objects" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # both have come as far as the lock
    for thread in threads:
        thread.join()
    assert sorted(told) == ["NoSuchBucket", "deleted"]


@pytest.mark.parametrize("how", ["put", "put if it is the same", "set_tags", "complete"])
def test_what_is_deleted_as_soon_as_it_is_written_has_been_written(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    etag = objects.put(BUCKET, "a/b/k", b"x").etag
    upload = objects.create_upload(BUCKET, "a/b/k")
    part = (1, objects.put_part(BUCKET, "a/b/k", upload, 1, b"x").etag)

    def deleted_before(folder: Path | str) -> None:
        monkeypatch.undo()
        objects.delete(BUCKET, "a/b/k")
        sync_folder(folder)

    monkeypatch.setattr(directory, "sync_folder", deleted_before)
    if how == "set_tags":
        objects.set_tags(BUCKET, "a/b/k", {"a": "b"})
    elif how == "complete":
        assert objects.complete(BUCKET, "a/b/k", upload, [part]).size == 1
    else:
        assert objects.put(BUCKET, "a/b/k", b"yy", if_match=None if how == "put" else etag).size == 2
    assert objects.list(BUCKET, delimiter="/") == Listing([], [], None)


def test_only_one_of_many_writers_that_must_not_replace_succeeds(objects: DirectoryObjects) -> None:
    outcomes: list[str] = []

    def write(name: str) -> None:
        try:
            objects.put(BUCKET, "d/lock", name.encode(), replace=False)
            outcomes.append(name)
        except S3Error:
            pass

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [objects.read(BUCKET, "d/lock").decode()] == outcomes


def test_a_counter_that_many_change_by_matching_its_version_loses_no_step(objects: DirectoryObjects) -> None:
    objects.put(BUCKET, "d/counter", b"0")

    def count() -> None:
        steps = 0
        while steps < 25:
            info = objects.head(BUCKET, "d/counter")
            with objects.open(BUCKET, "d/counter") as stream:
                value = int(stream.read())
            with contextlib.suppress(S3Error):  # another was quicker
                objects.put(BUCKET, "d/counter", str(value + 1).encode(), if_match=info.etag)
                steps += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert objects.read(BUCKET, "d/counter") == b"100"


def test_a_large_file_is_on_its_way_to_the_disk_before_its_end(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    begin = writeback.begin

    def noted(descriptor: int, start: int) -> None:
        begun.append((start, os.fstat(descriptor).st_size))
        begin(descriptor, start)

    monkeypatch.setattr(writeback, "begin", noted)
    content = os.urandom(1 << 20) * 20
    objects.put(BUCKET, "k", iter([content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]))
    assert begun == [(start << 20, (start + 2) << 20) for start in range(0, 20, 2)]
    assert objects.read(BUCKET, "k") == content


@pytest.mark.parametrize("meanwhile", ["replaced", "aborted", "completed"])
def test_what_happens_to_an_upload_while_it_completes_is_noticed(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    upload = objects.create_upload(BUCKET, "k")
    chosen = [(1, objects.put_part(BUCKET, "k", upload, 1, b"first").etag)]
    choose = Uploads.chosen

    def chosen_then(self: Uploads, *arguments: Any) -> Any:
        found = choose(self, *arguments)
        monkeypatch.setattr(Uploads, "chosen", choose)
        if meanwhile == "replaced":
            objects.put_part(BUCKET, "k", upload, 1, b"other")
        elif meanwhile == "aborted":
            objects.abort(BUCKET, "k", upload)
        else:
            objects.complete(BUCKET, "k", upload, chosen)
        return found

    monkeypatch.setattr(Uploads, "chosen", chosen_then)
    if meanwhile == "completed":
        assert objects.complete(BUCKET, "k", upload, chosen).etag == objects.head(BUCKET, "k").etag
        assert objects.read(BUCKET, "k") == b"first"
    else:
        with pytest.raises(S3Error) as caught:
            objects.complete(BUCKET, "k", upload, chosen)
        assert caught.value.code == {"replaced": "InvalidPart", "aborted": "NoSuchUpload"}[meanwhile]


def test_a_completed_upload_whose_clearing_up_was_killed_goes_with_the_next_complete(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    upload = objects.create_upload(BUCKET, "k")
    part = (1, objects.put_part(BUCKET, "k", upload, 1, b"x").etag)
    folder = tmp_path / "objects" / BUCKET / "uploads"
    shutil.copytree(folder / upload, tmp_path / "kept")
    done = objects.complete(BUCKET, "k", upload, [part])
    (tmp_path / "kept").rename(folder / upload)
    assert objects.complete(BUCKET, "k", upload, [part]) == done
    assert objects.uploads(BUCKET) == []


WRITER = """
import sys
from pathlib import Path
from pilothouse.objects.directory import DirectoryObjects

objects = DirectoryObjects(Path(sys.argv[1]))
print("ready", flush=True)
turn = 0
while True:
    turn += 1
    for key in ("a/k", "b/k"):
        objects.put("a-bucket", key, (turn % 256).to_bytes(1, "big") * 200_000, metadata={"turn": str(turn)})
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_objects_and_only_litter_to_sweep(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    root = tmp_path / "objects"
    for delay in (0.05, 0.1, 0.13, 0.2):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            process.stdout.close()
        for info in objects.walk(BUCKET):
            turn = int(info.metadata["turn"]) % 256
            assert objects.read(BUCKET, info.key) == turn.to_bytes(1, "big") * 200_000
    (root / BUCKET / "incoming" / "litter").write_bytes(b"x")
    upload = objects.create_upload(BUCKET, "k")
    objects.sweep()
    assert (root / BUCKET / "incoming" / "litter").exists()
    objects.sweep(age=-1)
    assert list((root / BUCKET / "incoming").iterdir()) == []
    assert [u.upload_id for u in objects.uploads(BUCKET)] == [upload]
    assert objects.buckets()


def test_a_page_of_a_large_bucket_reads_only_what_it_gives(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in range(5):
        for n in range(5):
            objects.put(BUCKET, f"{folder}/{n}", b"")
    read: list[str] = []
    listdir = os.listdir
    named = Path("/proc/self/fd")
    monkeypatch.setattr(os, "listdir", lambda fd: (read.append(str((named / str(fd)).readlink())), listdir(fd))[1])
    assert [info.key for info in objects.list(BUCKET, "3/", after="3/2").objects] == ["3/3", "3/4"]
    assert [Path(path).name for path in read] == ["keys", "3%"]
    read.clear()
    assert objects.list(BUCKET, after="2/4", limit=3).next == "3/2"
    assert [Path(path).name for path in read] == ["keys", "2%", "3%"]
