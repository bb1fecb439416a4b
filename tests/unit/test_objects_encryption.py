"""Objects that are encrypted at rest: what lies on the disk, what is read back, and what tells that it was changed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilothouse import composition
from pilothouse.config import Settings
from pilothouse.errors import S3Error
from pilothouse.objects import ciphertext, stored, uploads
from pilothouse.objects.base import Encryption
from pilothouse.objects.ciphertext import PIECE, TAG
from pilothouse.objects.directory import DirectoryObjects

BUCKET, KEY = "bucket", "alias/ours"
SECRET = b"nobody reads this on the disk "
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17]
Facts = dict[str, Any]


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    store = DirectoryObjects(tmp_path / "objects")
    store.create_bucket(BUCKET)
    return store


@pytest.fixture
def keyed(objects: DirectoryObjects) -> DirectoryObjects:
    return objects.keyed(KEY)


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    return tmp_path / "master-keys.json"


def path_of(tmp_path: Path, key: str = "k") -> Path:
    return tmp_path / "objects" / BUCKET / "keys" / key


def in_parts(store: DirectoryObjects, parts: list[bytes], monkeypatch: pytest.MonkeyPatch, key: str = "k") -> None:
    monkeypatch.setattr(uploads, "_SMALLEST_PART", 0)
    upload = store.create_upload(BUCKET, key)
    etags = [(n, store.put_part(BUCKET, key, upload, n, part).etag) for n, part in enumerate(parts, 1)]
    store.complete(BUCKET, key, upload, etags)


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(S3Error) as error:
        call(*arguments)
    return error.value.code


def rewritten(path: Path, change: Callable[[bytes, Facts], bytes]) -> None:
    """Writes the file again with another content and other facts, and a footer that fits them."""
    facts, _ = stored.facts_of(path)
    raw = path.read_bytes()
    content = raw[: ciphertext.length(facts["encryption"]["sizes"])]
    content = change(content, facts)
    text = json.dumps(facts).encode()
    path.write_bytes(content + text + stored._FOOTER.pack(len(text), zlib.crc32(text), stored._MAGIC))


class TestOnTheDisk:
    def test_no_plain_byte_reaches_it(
        self, keyed: DirectoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keyed.put(BUCKET, "small", SECRET)
        keyed.put(BUCKET, "large", SECRET * 10_000)
        keyed.put(BUCKET, "pieces", iter([SECRET] * 5_000))
        upload = keyed.create_upload(BUCKET, "unfinished")
        keyed.put_part(BUCKET, "unfinished", upload, 1, SECRET * 3)
        in_parts(keyed, [SECRET * 3, SECRET], monkeypatch)
        keyed.set_tags(BUCKET, "small", {"a": "b"})
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 6
        assert not [path for path in files if SECRET in path.read_bytes()]
        assert keyed.read(BUCKET, "pieces") == SECRET * 5_000

    def test_the_same_bytes_never_look_the_same(self, keyed: DirectoryObjects, tmp_path: Path) -> None:
        keyed.put(BUCKET, "a", bytes(2 * PIECE))
        keyed.put(BUCKET, "b", bytes(2 * PIECE))
        a, b = path_of(tmp_path, "a").read_bytes(), path_of(tmp_path, "b").read_bytes()
        assert len({a[:64], b[:64], a[PIECE + TAG : PIECE + TAG + 64]}) == 3

    def test_what_is_known_of_an_object_is_that_of_its_plain_bytes(
        self, objects: DirectoryObjects, keyed: DirectoryObjects, masters: Path
    ) -> None:
        plain = objects.put(BUCKET, "plain", SECRET, checksums={"SHA256": None})
        made = objects.encrypting(Encryption("aws:kms", KEY, True)).put(BUCKET, "k", SECRET, checksums={"SHA256": None})
        assert (made.size, made.etag, made.checksums) == (plain.size, plain.etag, plain.checksums)
        assert (plain.encryption, made.encryption) == (None, Encryption("aws:kms", KEY, True))
        masters.unlink()  # to know it takes no key
        assert objects.head(BUCKET, "k") == made
        assert [(info.key, info.size) for info in objects.walk(BUCKET)] == [("k", len(SECRET)), ("plain", len(SECRET))]
        objects.delete(BUCKET, "k")

    def test_objects_that_are_not_encrypted_lie_there_as_they_are_and_need_no_library(self, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from pilothouse.objects.directory import DirectoryObjects\n"
            "store = DirectoryObjects(Path(sys.argv[1])); store.create_bucket('bucket')\n"
            "store.put('bucket', 'k', b'plain'); assert store.read('bucket', 'k') == b'plain'\n"
            "assert 'cryptography' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "objects")], check=True)
        assert path_of(tmp_path).read_bytes().startswith(b"plain{")
        assert not (tmp_path / "master-keys.json").exists()


class TestRanges:
    @pytest.mark.parametrize("size", SIZES)
    def test_any_range_of_an_object_is_that_of_its_plain_bytes(self, keyed: DirectoryObjects, size: int) -> None:
        content = random.Random(size).randbytes(size)
        keyed.put(BUCKET, "k", content)
        assert keyed.read(BUCKET, "k") == content
        self.hold(keyed, content)

    def test_ranges_go_across_parts(self, keyed: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = random.Random(1)
        parts = [rng.randbytes(size) for size in (PIECE + 5, 0, 3, 2 * PIECE, PIECE - 1, 0)]
        in_parts(keyed, parts, monkeypatch)
        assert keyed.head(BUCKET, "k").size == len(b"".join(parts))
        self.hold(keyed, b"".join(parts))

    @staticmethod
    def hold(store: DirectoryObjects, content: bytes) -> None:
        rng = random.Random(len(content))
        edges = [0, 1, PIECE - 1, PIECE, PIECE + 1, len(content) - 1, len(content), len(content) + 1]
        starts = edges + [rng.randint(0, len(content)) for _ in range(60)]
        for start in (start for start in starts if start >= 0):
            length = rng.choice([None, 0, 1, 100, PIECE, rng.randint(0, len(content) + 1)])
            with store.open(BUCKET, "k", start, length) as stream:
                assert stream.read() == content[start : None if length is None else start + length]
        with store.open(BUCKET, "k", 10, 2 * PIECE) as stream:
            window = content[10 : 10 + 2 * PIECE]
            for _ in range(60):
                at, count = rng.randint(0, len(window)), rng.randint(0, 3000)
                assert stream.seek(at) == at
                assert stream.read(count) == window[at : at + count]

    def test_a_range_costs_only_the_pieces_that_it_touches(
        self, keyed: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = random.Random(2).randbytes(64 * PIECE)
        keyed.put(BUCKET, "k", content)
        read: list[int] = []
        whole = os.pread
        monkeypatch.setattr(ciphertext.os, "pread", lambda fd, n, at: read.append(n) or whole(fd, n, at))
        with keyed.open(BUCKET, "k", 40 * PIECE - 5, 10) as stream:
            assert stream.read() == content[40 * PIECE - 5 : 40 * PIECE + 5]
        assert read.count(PIECE + TAG) == 2
        assert sum(read) < 3 * PIECE


class TestDamage:
    @pytest.mark.parametrize("at", [0, PIECE, PIECE + TAG, 2 * PIECE + 2 * TAG, -1])
    def test_a_changed_byte_is_an_error(self, keyed: DirectoryObjects, tmp_path: Path, at: int) -> None:
        keyed.put(BUCKET, "k", bytes(2 * PIECE + 100))

        def flip(content: bytes, _: Facts) -> bytes:
            changed = bytearray(content)
            changed[at] ^= 1
            return bytes(changed)

        rewritten(path_of(tmp_path), flip)
        assert refused(keyed.read, BUCKET, "k") == "InternalError"

    def test_pieces_that_changed_places_are_an_error(self, keyed: DirectoryObjects, tmp_path: Path) -> None:
        keyed.put(BUCKET, "k", bytes(3 * PIECE))
        step = PIECE + TAG
        rewritten(path_of(tmp_path), lambda content, _: content[step : 2 * step] + content[:step] + content[2 * step :])
        assert refused(keyed.read, BUCKET, "k") == "InternalError"

    def test_an_object_cut_at_the_end_of_a_piece_is_an_error(self, keyed: DirectoryObjects, tmp_path: Path) -> None:
        keyed.put(BUCKET, "k", bytes(3 * PIECE))
        raw = path_of(tmp_path).read_bytes()

        def cut(content: bytes, facts: Facts) -> bytes:
            facts["encryption"]["sizes"] = [2 * PIECE]
            return content[: 2 * (PIECE + TAG)]

        rewritten(path_of(tmp_path), cut)
        assert refused(keyed.read, BUCKET, "k") == "InternalError"
        path_of(tmp_path).write_bytes(raw)
        rewritten(path_of(tmp_path), lambda content, _: content[: 2 * (PIECE + TAG)])
        assert refused(keyed.head, BUCKET, "k") == "InternalError"

    def test_a_piece_that_is_not_the_last_does_not_pass_for_it(self, tmp_path: Path) -> None:
        encryptor = ciphertext.Encryptor()
        (tmp_path / "cut").write_bytes(next(encryptor.update(bytes(PIECE + 1))))
        with (tmp_path / "cut").open("rb") as file:
            segment = ciphertext.Segment(PIECE, encryptor.key)
            cut = ciphertext.Plaintext(file.fileno(), [segment], "cut")
            assert refused(cut.read_into, memoryview(bytearray(PIECE)), 0) == "InternalError"

    def test_parts_that_changed_places_are_an_error(
        self, keyed: DirectoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        in_parts(keyed, [b"a" * 100, b"b" * 100], monkeypatch)
        rewritten(path_of(tmp_path), lambda content, _: content[100 + TAG :] + content[: 100 + TAG])
        assert refused(keyed.read, BUCKET, "k") == "InternalError"

    @pytest.mark.parametrize(("fact", "value"), [("etag", "0" * 32), ("meta", {"who": "you"}), ("type", "text/html")])
    def test_what_is_known_of_an_object_belongs_to_it(
        self, keyed: DirectoryObjects, tmp_path: Path, fact: str, value: Any
    ) -> None:
        keyed.put(BUCKET, "k", SECRET, metadata={"who": "me"})

        def change(content: bytes, facts: Facts) -> bytes:
            facts[fact] = value
            return content

        rewritten(path_of(tmp_path), change)
        assert refused(keyed.open, BUCKET, "k") == "InternalError"
        assert refused(keyed.set_tags, BUCKET, "k", {}) == "InternalError"

    def test_a_file_that_took_the_place_of_another_is_an_error(self, keyed: DirectoryObjects, tmp_path: Path) -> None:
        keyed.put(BUCKET, "mine", SECRET)
        keyed.put(BUCKET, "k", b"x")
        path_of(tmp_path, "mine").replace(path_of(tmp_path))
        assert refused(keyed.open, BUCKET, "k") == "InternalError"

    @pytest.mark.parametrize("member", ["kms_key", "master", "salt", "keys", "sizes"])
    def test_an_envelope_that_lacks_or_changed_something_is_an_error(
        self, keyed: DirectoryObjects, tmp_path: Path, member: str
    ) -> None:
        keyed.put(BUCKET, "k", SECRET)
        raw = path_of(tmp_path).read_bytes()

        def lack(content: bytes, facts: Facts) -> bytes:
            del facts["encryption"][member]
            return content

        rewritten(path_of(tmp_path), lack)
        assert refused(keyed.open, BUCKET, "k") == "InternalError"
        path_of(tmp_path).write_bytes(raw)

        def change(content: bytes, facts: Facts) -> bytes:
            facts["encryption"][member] = "other"
            return content

        rewritten(path_of(tmp_path), change)
        assert refused(keyed.open, BUCKET, "k") in ("InternalError", "KMS.NotFoundException")


class TestMasterKeys:
    def test_the_file_is_its_owners_alone_and_made_once(self, keyed: DirectoryObjects, masters: Path) -> None:
        threads = [threading.Thread(target=keyed.put, args=(BUCKET, f"k{n}", SECRET)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert masters.stat().st_mode & 0o777 == 0o600
        assert len(json.loads(masters.read_text())["keys"]) == 1
        assert all(keyed.read(BUCKET, f"k{n}") == SECRET for n in range(8))

    @pytest.mark.parametrize("content", [None, "", "{}", '{"keys": []}', '{"keys": [{"id": "a", "secret": "AAAA"}]}'])
    def test_without_its_master_key_an_object_is_told_from_a_damaged_one(
        self, keyed: DirectoryObjects, masters: Path, content: str | None
    ) -> None:
        keyed.put(BUCKET, "k", SECRET)
        if content is None:
            masters.unlink()
        else:
            masters.write_text(content)
        assert refused(keyed.open, BUCKET, "k") == "KMS.NotFoundException"
        if content is not None:  # a file that is there is never written over
            assert refused(keyed.put, BUCKET, "new", SECRET) == "KMS.NotFoundException"

    def test_one_altered_file_leaves_its_bucket_listable(self, keyed: DirectoryObjects, tmp_path: Path) -> None:
        for key in ("a", "b"):
            keyed.put(BUCKET, key, SECRET)

        def without_the_key(content: bytes, facts: Facts) -> bytes:
            del facts["encryption"]["kms_key"]
            return content

        rewritten(path_of(tmp_path, "a"), without_the_key)
        assert [info.key for info in keyed.list(BUCKET).objects] == ["b"]
        assert refused(keyed.head, BUCKET, "a") == "InternalError"

    def test_a_lost_file_made_anew_takes_in_the_keys_of_a_backup(self, keyed: DirectoryObjects, masters: Path) -> None:
        keyed.put(BUCKET, "old", SECRET)
        backup = json.loads(masters.read_text())
        masters.unlink()
        keyed.put(BUCKET, "new", SECRET)
        assert refused(keyed.read, BUCKET, "old") == "KMS.NotFoundException"
        document = json.loads(masters.read_text())
        masters.write_text(json.dumps({"version": 1, "keys": backup["keys"] + document["keys"]}))
        assert keyed.read(BUCKET, "old") == keyed.read(BUCKET, "new") == SECRET

    def test_they_can_be_kept_apart_from_the_objects(self, objects: DirectoryObjects, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path, master_keys=tmp_path / "disk/keys")
        keyed = composition.objects(settings).keyed(KEY)
        assert refused(keyed.put, BUCKET, "k", SECRET) == "KMS.NotFoundException"  # the disk is not there
        settings.master_keys_file.parent.mkdir(parents=True)
        keyed.put(BUCKET, "k", SECRET)
        assert keyed.read(BUCKET, "k") == SECRET
        assert [path.name for path in tmp_path.rglob("*.json")].count("master-keys.json") == 1
        assert settings.master_keys_file.exists()
        assert refused(objects.read, BUCKET, "k") == "KMS.NotFoundException"

    def test_another_secret_under_the_same_id_decrypts_nothing(self, keyed: DirectoryObjects, masters: Path) -> None:
        keyed.put(BUCKET, "k", SECRET)
        document = json.loads(masters.read_text())
        document["keys"][0]["secret"] = "A" * 43 + "="
        masters.write_text(json.dumps(document))
        assert refused(keyed.open, BUCKET, "k") == "InternalError"
