"""A new master key for stored objects: none is lost, none is encrypted anew, and a rotation goes on where it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pilothouse.cli import main
from pilothouse.objects import stored
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.envelope import Envelopes

BUCKET = "bucket"
SECRET = b"nobody reads this on the disk " * 5000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    objects = store(tmp_path)
    objects.create_bucket(BUCKET)
    objects.put(BUCKET, "plain", b"in plain")
    for key in ("a", "b/c", "ü"):
        objects.keyed("alias/ours").put(BUCKET, key, SECRET, metadata={"a": key}, tags={"t": "1"})
    return tmp_path


def store(home: Path) -> DirectoryObjects:
    return DirectoryObjects(home / "objects")


def rotate(home: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["keys", "rotate", "--home", str(home), *options])


def master_keys(home: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((home / "master-keys.json").read_text())["keys"]
    return entries


def keep_newest(home: Path) -> None:
    (home / "master-keys.json").write_text(json.dumps({"version": 1, "keys": master_keys(home)[-1:]}))


def test_after_a_rotation_the_newest_key_alone_reads_all_objects(home: Path) -> None:
    before = [store(home).head(BUCKET, key) for key in ("a", "b/c", "ü", "plain")]
    content = (home / "objects" / BUCKET / "keys" / "a").read_bytes()
    done = rotate(home)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1] == "Encrypted objects: 3. Put under it now: 3. Failed: 0."
    assert len(master_keys(home)) == 2
    keep_newest(home)
    assert [store(home).read(BUCKET, key) for key in ("a", "b/c", "ü", "plain")] == [SECRET] * 3 + [b"in plain"]
    assert [store(home).head(BUCKET, key) for key in ("a", "b/c", "ü", "plain")] == before
    assert store(home).tags(BUCKET, "a") == {"t": "1"}
    after = (home / "objects" / BUCKET / "keys" / "a").read_bytes()
    assert after[: len(SECRET)] == content[: len(SECRET)]
    assert after != content


def test_a_rotation_that_was_cut_off_goes_on_without_another_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as cut:
        names = iter(["first", "second"])
        name = stored.Draft.name

        def killed(draft: stored.Draft, target: Path, *, replace: bool = True) -> None:
            if next(names) == "second":
                raise KeyboardInterrupt
            name(draft, target, replace=replace)

        cut.setattr(stored.Draft, "name", killed)
        assert rotate(home).exit_code != 0
    assert len(master_keys(home)) == 2
    assert [store(home).read(BUCKET, key) for key in ("a", "b/c", "ü")] == [SECRET] * 3
    assert rotate(home, "--resume").stdout.splitlines()[1] == "Encrypted objects: 3. Put under it now: 2. Failed: 0."
    assert rotate(home, "--resume").stdout.splitlines()[1] == "Encrypted objects: 3. Put under it now: 0. Failed: 0."
    assert len(master_keys(home)) == 2
    keep_newest(home)
    assert store(home).read(BUCKET, "ü") == SECRET


def test_an_object_that_is_replaced_meanwhile_is_the_new_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Envelopes.open

    def replaced(envelopes: Envelopes, facts: Any, place: Any, path: Path) -> Any:
        monkeypatch.setattr(Envelopes, "open", opened)
        store(home).keyed("alias/ours").put(BUCKET, "a", b"newer")
        return opened(envelopes, facts, place, path)

    monkeypatch.setattr(Envelopes, "open", replaced)
    assert rotate(home).exit_code == 0
    assert store(home).read(BUCKET, "a") == b"newer"


def test_what_cannot_be_opened_is_named_and_the_others_go_on(home: Path) -> None:
    [entry] = master_keys(home)
    (home / "master-keys.json").unlink()
    store(home).keyed("alias/ours").put(BUCKET, "later", SECRET)
    done = rotate(home)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1] == "Encrypted objects: 4. Put under it now: 1. Failed: 3."
    assert f"s3://{BUCKET}/b/c: The object is encrypted under the master key {entry['id']}" in done.stderr


def test_parts_of_an_upload_are_told_and_are_under_the_newest_key_when_it_is_complete(home: Path) -> None:
    upload = store(home).keyed("alias/ours").create_upload(BUCKET, "large")
    part = store(home).put_part(BUCKET, "large", upload, 1, SECRET)
    assert "Parts of unfinished uploads under older keys: 1." in rotate(home).stdout
    store(home).complete(BUCKET, "large", upload, [(1, part.etag)])
    keep_newest(home)
    assert store(home).read(BUCKET, "large") == SECRET


def test_a_real_s3_and_a_home_without_keys_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "master-keys.json").unlink()
    assert "There are no master keys" in rotate(home, "--resume").stderr
    monkeypatch.setenv("PILOTHOUSE_S3_ENDPOINT", "http://s3.example.org")
    assert "which has keys of its own" in rotate(home).stderr
