"""Folders of a bucket as keys in order, whatever their names and their size."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.objects import folders, keys
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.tree import Walk

SEGMENTS = st.one_of(st.text("ab/.%\x00\U0001f600", max_size=6), st.text("z", min_size=246, max_size=250))
KEYS = st.lists(SEGMENTS, min_size=1, max_size=3).map("".join).filter(bool)
BUCKET = "a-bucket"


@pytest.fixture(params=[True, False], ids=["remembered", "read"])
def remembering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(folders, "LARGE", 0)
        monkeypatch.setattr(folders, "_STILL_SECONDS", -1)


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("times", [1, 2])
@given(st.sets(KEYS, max_size=12), KEYS, KEYS)
def test_a_walk_gives_the_keys_asked_for_in_their_order(times: int, made: set[str], prefix: str, after: str) -> None:
    raw = sorted(key.encode() for key in made)
    with tempfile.TemporaryDirectory() as name:
        for key in made:
            path = Path(name, *keys.names(key))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for first, begin in ((prefix, after), (prefix, ""), ("", after), (prefix[:1], prefix)):
            wanted = [key for key in raw if key.startswith(first.encode()) and key > begin.encode()]
            for _ in range(times):
                assert [found.key for found in Walk(Path(name), first.encode(), begin.encode())] == wanted


SHORT_KEYS = st.builds("{}{}".format, st.sampled_from("abcdef"), st.sampled_from(["", "/x", "/y"]))
CHANGES = st.lists(st.tuples(st.booleans(), SHORT_KEYS), max_size=3)
PAST = 10**18
"""A time long ago, in nanoseconds."""


def age(root: Path, times: Iterator[int]) -> None:
    """Lets the folders that have changed have done so long ago, each at another time, and no others."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        if folder.stat().st_mtime_ns > PAST * 1.5:
            os.utime(folder, ns=(PAST, next(times)))


@pytest.mark.usefixtures("remembering")
@settings(max_examples=60)
@given(st.sets(SHORT_KEYS, max_size=8), st.lists(CHANGES, min_size=1, max_size=6), st.integers(1, 4))
def test_each_page_shows_what_is_there_when_it_is_asked_for(
    made: set[str], changes: list[list[tuple[bool, str]]], limit: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        store, there, times, after = DirectoryObjects(Path(name) / "objects"), set[str](), itertools.count(PAST), ""
        store.create_bucket(BUCKET)
        for change in [[(True, key) for key in made], *changes]:
            for is_put, key in change:
                if is_put:
                    store.put(BUCKET, key, b"")
                    there.add(key)
                else:
                    store.delete(BUCKET, key)
                    there.discard(key)
            age(Path(name) / "objects" / BUCKET / "keys", times)
            page = store.list(BUCKET, after=after, limit=limit)
            assert [info.key for info in page.objects] == sorted(key for key in there if key > after)[:limit]
            after = page.next or ""


class Scans:
    """Counts how often folders are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._listdir = os.listdir
        monkeypatch.setattr(os, "listdir", self._read)

    def _read(self, path: int) -> list[str]:
        self.count += 1
        return self._listdir(path)


class TestALargeFolder:
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryObjects:
        monkeypatch.setattr(folders, "LARGE", 20)
        monkeypatch.setattr(folders, "_memory", folders._Memory())
        store = DirectoryObjects(tmp_path)
        store.create_bucket(BUCKET)
        for n in range(40):
            store.put(BUCKET, f"k{n:02}", b"")
        self.keys = tmp_path / BUCKET / "keys"
        os.utime(self.keys, (time.time() - 60,) * 2)
        return store

    def test_is_read_once_for_all_its_pages(self, store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
        scans = Scans(monkeypatch)
        after, found = "", []
        while True:
            page = store.list(BUCKET, after=after, limit=7)
            found += [info.key for info in page.objects]
            if page.next is None:
                break
            after = page.next
        assert found == [f"k{n:02}" for n in range(40)]
        assert scans.count == 1

    def test_shows_what_came_and_went_between_pages(self, store: DirectoryObjects) -> None:
        page = store.list(BUCKET, limit=10)
        assert page.next == "k09"
        store.put(BUCKET, "k095", b"")
        store.delete(BUCKET, "k10")
        assert [info.key for info in store.list(BUCKET, after=page.next, limit=2).objects] == ["k095", "k11"]
        store.put(BUCKET, "k10/x", b"")
        assert [info.key for info in store.list(BUCKET, after=page.next, limit=2).objects] == ["k095", "k10/x"]
        store.put(BUCKET, "k10/y", b"")
        assert [info.key for info in store.list(BUCKET, after="k10/x", limit=2).objects] == ["k10/y", "k11"]

    def test_is_not_remembered_while_it_changes(self, store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
        store.put(BUCKET, "new", b"")
        scans = Scans(monkeypatch)
        store.list(BUCKET, limit=1)
        store.list(BUCKET, limit=1)
        assert scans.count == 2

    def test_is_forgotten_when_others_need_the_room(
        self, store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.list(BUCKET, limit=1)
        one = folders._memory.size
        assert one > 0
        monkeypatch.setattr(folders, "_MOST_BYTES", int(one * 1.5))
        store.create_bucket("another")
        for n in range(40):
            store.put("another", f"k{n:02}", b"")
        os.utime(self.keys.parent.parent / "another" / "keys", (time.time() - 60,) * 2)
        scans = Scans(monkeypatch)
        for bucket in ("another", "another", BUCKET):
            store.list(bucket, limit=1)
        assert scans.count == 2
        assert folders._memory.size <= one * 1.5

    def test_leaves_the_others_remembered_if_it_is_too_large(
        self, store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create_bucket("larger")
        for n in range(80):
            store.put("larger", f"k{n:02}", b"")
        os.utime(self.keys.parent.parent / "larger" / "keys", (time.time() - 60,) * 2)
        store.list(BUCKET, limit=1)
        one = folders._memory.size
        monkeypatch.setattr(folders, "_MOST_BYTES", int(one * 1.5))
        scans = Scans(monkeypatch)
        for bucket in ("larger", BUCKET, "larger", BUCKET):
            store.list(bucket, limit=1)
        assert scans.count == 2
        assert folders._memory.size == one

    def test_shows_a_new_key_though_a_stat_still_tells_the_old_time(
        self, store: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.list(BUCKET, limit=1)
        known, stat = self.keys.stat(), os.stat
        store.put(BUCKET, "k00-new", b"")
        monkeypatch.setattr(os, "stat", lambda path, **how: known if str(path) == str(self.keys) else stat(path, **how))
        assert [info.key for info in store.list(BUCKET, after="k00", limit=1).objects] == ["k00-new"]
