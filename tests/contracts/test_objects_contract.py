"""What every object store promises, held against the directory, plain and encrypted, and against our own S3 door."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from pilothouse.errors import S3Error
from pilothouse.objects.base import Attributes, Encryption, Objects
from pilothouse.objects.checksums import KINDS
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.s3 import RemoteObjects

BUCKET = "a-bucket"
MIB = 1 << 20
XXHASHES = {"XXHASH64": xxhash.xxh64, "XXHASH3": xxhash.xxh3_64, "XXHASH128": xxhash.xxh3_128}
AWKWARD = [
    "plain",
    "a",
    "a/",
    "a/b",
    "a//b",
    "a/b/",
    "/leading",
    "//",
    "..",
    "../../etc/passwd",
    "./.",
    "a/../b",
    ".hidden",
    "per%cent",
    "per%25cent",
    "a%",
    "a%+",
    "%-",
    "with space+plus",
    "x" * 247,
    "x" * 248,
    "x" * 248 + "/y",
    "x" * 248 + "!",
    "x" * 249,
    "x" * 1024,
    "/" * 200,
    "ö" * 300,
    "日本語/ключ/🙂",
    "new\nline\ttab",
    "re\rturn\r\n",
    "UPPER",
    "upper",
    "a?b#c&d=e",
    "back\\slash",
]


@pytest.fixture(scope="module")
def remote(s3_door: Any) -> RemoteObjects:
    """Our own S3 door as a client of any S3 sees it."""
    return RemoteObjects(s3_door.url, "us-east-1", access_key=s3_door.KEY_ID, secret_key=s3_door.SECRET)


@pytest.fixture(params=["directory", "encrypted", pytest.param("remote", marks=pytest.mark.slow)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Objects]:
    if request.param == "directory":
        yield DirectoryObjects(tmp_path / "objects")
        return
    if request.param == "encrypted":
        yield DirectoryObjects(tmp_path / "objects").keyed("alias/contract")
        return
    remote = request.getfixturevalue("remote")
    yield remote
    for bucket in remote.buckets():
        for info in remote.walk(bucket.name):
            remote.delete(bucket.name, info.key)
        remote.delete_bucket(bucket.name)


@pytest.fixture
def store(objects: Objects) -> Objects:
    objects.create_bucket(BUCKET)
    return objects


def code_of(error: pytest.ExceptionInfo[S3Error]) -> str:
    return error.value.code


class TestBuckets:
    def test_a_bucket_made_is_listed_and_found(self, objects: Objects) -> None:
        before = time.time()
        objects.create_bucket("beta")
        objects.create_bucket("alpha")
        assert [bucket.name for bucket in objects.buckets()] == ["alpha", "beta"]
        assert objects.buckets()[0].created_at == pytest.approx(before, abs=60)
        assert objects.bucket_exists("alpha")
        assert not objects.bucket_exists("gamma")
        assert not objects.bucket_exists("../alpha")

    def test_a_bucket_is_made_once(self, store: Objects) -> None:
        with pytest.raises(S3Error) as error:
            store.create_bucket(BUCKET)
        assert (code_of(error), error.value.status) == ("BucketAlreadyOwnedByYou", 409)

    @pytest.mark.parametrize("name", ["ab", "A-bucket", "a_b", "..", "a..b", "192.168.0.1", "-ab", "x" * 64, "a/b"])
    def test_a_name_against_the_rules_is_refused(self, objects: Objects, name: str) -> None:
        with pytest.raises(S3Error) as error:
            objects.create_bucket(name)
        assert code_of(error) == "InvalidBucketName"

    def test_only_an_empty_bucket_is_deleted(self, store: Objects) -> None:
        store.put(BUCKET, "a/b/c", b"x")
        with pytest.raises(S3Error) as error:
            store.delete_bucket(BUCKET)
        assert (code_of(error), error.value.status) == ("BucketNotEmpty", 409)
        store.delete(BUCKET, "a/b/c")
        store.delete_bucket(BUCKET)
        assert not store.bucket_exists(BUCKET)
        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "k", b"x")
        assert (code_of(error), error.value.status) == ("NoSuchBucket", 404)
        store.create_bucket(BUCKET)
        assert store.list(BUCKET).objects == []


class TestEncryption:
    def test_an_object_tells_how_it_is_encrypted(self, store: Objects) -> None:
        encryption = Encryption("aws:kms", "arn:aws:kms:us-east-1:000000000000:key/1", True)
        info = store.encrypting(encryption).put(BUCKET, "k", b"hello")
        assert info == store.head(BUCKET, "k")
        assert (info.encryption, info.size, info.etag) == (encryption, 5, hashlib.md5(b"hello").hexdigest())
        assert store.read(BUCKET, "k") == b"hello"

    def test_a_bucket_encrypts_what_its_writers_say_nothing_of(self, store: Objects) -> None:
        assert store.bucket_encryption(BUCKET) is None
        encryption = Encryption("AES256")
        store.set_bucket_encryption(BUCKET, encryption)
        assert store.bucket_encryption(BUCKET) == encryption
        store.encrypting(None).put(BUCKET, "k", b"hello")
        upload = store.keyed(None).create_upload(BUCKET, "parts")
        part = store.put_part(BUCKET, "parts", upload, 1, b"hello")
        assert store.complete(BUCKET, "parts", upload, [(1, part.etag)]).encryption == encryption
        store.set_bucket_encryption(BUCKET, None)
        store.encrypting(None).put(BUCKET, "plain", b"hello")
        assert [store.head(BUCKET, key).encryption for key in ("k", "plain")] == [encryption, None]
        for call in (store.bucket_encryption, lambda name: store.set_bucket_encryption(name, None)):
            with pytest.raises(S3Error) as error:
                call("no-bucket")
            assert code_of(error) == "NoSuchBucket"


class TestContent:
    def test_what_is_put_is_read_back_with_all_that_was_said_of_it(self, store: Objects) -> None:
        before = time.time()
        headers = {"Cache-Control": "no-store", "Content-Encoding": "gzip", "Expires": "Wed, 21 Oct 2026 07:28:00 GMT"}
        store.put(BUCKET, "k", b"hello", content_type="text/csv", metadata={"who": "me"}, headers=headers)
        info = store.head(BUCKET, "k")
        assert (info.bucket, info.key, info.size) == (BUCKET, "k", 5)
        assert info.etag == hashlib.md5(b"hello").hexdigest()
        assert info.content_type == "text/csv"
        assert info.metadata == {"who": "me"}
        assert info.headers == headers
        assert info.modified_at == pytest.approx(before, abs=60)
        assert store.read(BUCKET, "k") == b"hello"
        assert info.uri == f"s3://{BUCKET}/k"

    def test_a_put_replaces_the_object_and_all_that_was_said_of_it(self, store: Objects) -> None:
        store.put(BUCKET, "k", b"one", metadata={"a": "1"})
        store.put(BUCKET, "k", b"three")
        info = store.head(BUCKET, "k")
        assert (store.read(BUCKET, "k"), info.size, info.metadata) == (b"three", 5, {})

    @pytest.mark.parametrize("body", [b"", io.BytesIO(b"from a file"), iter([b"in ", b"", b"pieces"])])
    def test_bytes_files_and_iterables_are_bodies(self, store: Objects, body: Any) -> None:
        expected = {bytes: b"", io.BytesIO: b"from a file"}.get(type(body), b"in pieces")
        if isinstance(body, io.BytesIO):
            body = io.BytesIO(body.getvalue())
        elif not isinstance(body, bytes):
            body = iter([b"in ", b"", b"pieces"])
        store.put(BUCKET, "k", body)
        assert store.read(BUCKET, "k") == expected

    def test_a_large_object_survives_the_journey(self, store: Objects, tmp_path: Path) -> None:
        content = random.Random(0).randbytes(20 * MIB + 17)
        (tmp_path / "in").write_bytes(content)
        store.upload(tmp_path / "in", f"s3://{BUCKET}/deep/large")
        store.download(f"s3://{BUCKET}/deep/large", tmp_path / "made" / "out")
        assert (tmp_path / "made" / "out").read_bytes() == content
        assert [path.name for path in (tmp_path / "made").iterdir()] == ["out"]

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [(0, None, b"0123456789"), (3, 4, b"3456"), (8, 100, b"89"), (10, 5, b""), (99, None, b""), (2, 0, b"")],
    )
    def test_a_range_is_cut_at_the_end(self, store: Objects, start: int, length: int | None, expected: bytes) -> None:
        store.put(BUCKET, "k", b"0123456789")
        with store.open(BUCKET, "k", start, length) as stream:
            assert stream.read() == expected

    def test_an_open_stream_keeps_to_its_version(self, store: Objects) -> None:
        store.put(BUCKET, "k", b"old" * 4 * MIB)
        with store.open(BUCKET, "k") as stream:
            assert stream.read(3) == b"old"
            store.put(BUCKET, "k", b"new")
            assert stream.read(6) == b"oldold"
        assert store.read(BUCKET, "k") == b"new"

    def test_opening_another_version_than_named_fails(self, store: Objects) -> None:
        etag = store.put(BUCKET, "k", b"one").etag
        store.put(BUCKET, "k", b"two")
        with pytest.raises(S3Error) as error:
            store.open(BUCKET, "k", etag=etag)
        assert (code_of(error), error.value.status) == ("PreconditionFailed", 412)

    def test_a_put_that_must_not_replace_fails_on_an_existing_object(self, store: Objects) -> None:
        store.put(BUCKET, "a/k", b"one", replace=False)
        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "a/k", b"two", replace=False)
        assert (code_of(error), error.value.status) == ("PreconditionFailed", 412)
        assert store.read(BUCKET, "a/k") == b"one"

    def test_a_write_can_be_made_to_depend_on_the_version_that_it_replaces(self, store: Objects) -> None:
        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "k", b"x", if_match="*")
        assert (code_of(error), error.value.status) == ("NoSuchKey", 404)
        one = store.put(BUCKET, "k", b"one").etag
        two = store.put(BUCKET, "k", b"two", if_match=one).etag
        for write in (
            lambda: store.put(BUCKET, "k", b"x", if_match=one),
            lambda: store.delete(BUCKET, "k", if_match=one),
        ):
            with pytest.raises(S3Error) as error:
                write()
            assert (code_of(error), error.value.members["Condition"]) == ("PreconditionFailed", "If-Match")
        assert store.read(BUCKET, "k") == b"two"
        store.delete(BUCKET, "k", if_match=two)
        with pytest.raises(S3Error) as error:
            store.delete(BUCKET, "k", if_match=two)
        assert code_of(error) == "NoSuchKey"

    def test_tags_come_with_an_object_or_later_and_change_nothing_else(self, store: Objects) -> None:
        store.put(BUCKET, "k", b"hello", tags={"a": "1", "b & c": "ü"}, metadata={"who": "me"})
        before = store.head(BUCKET, "k")
        assert (store.tags(BUCKET, "k"), before.tagged) == ({"a": "1", "b & c": "ü"}, 2)
        store.set_tags(BUCKET, "k", {"d": ""})
        assert store.tags(BUCKET, "k") == {"d": ""}
        after = store.head(BUCKET, "k")
        assert (after.etag, after.modified_at, after.metadata) == (before.etag, before.modified_at, before.metadata)
        assert store.read(BUCKET, "k") == b"hello"
        store.put(BUCKET, "k", b"hello")
        assert store.tags(BUCKET, "k") == {}
        with pytest.raises(S3Error) as error:
            store.set_tags(BUCKET, "none", {})
        assert code_of(error) == "NoSuchKey"

    def test_a_body_that_breaks_off_stores_nothing(self, store: Objects) -> None:
        def broken() -> Iterator[bytes]:
            yield b"x" * MIB
            raise OSError("the sender went away")

        store.put(BUCKET, "k", b"whole")
        with pytest.raises(OSError, match="went away"):
            store.put(BUCKET, "k", broken())
        assert store.read(BUCKET, "k") == b"whole"
        assert [info.key for info in store.walk(BUCKET)] == ["k"]

    def test_what_is_missing_is_told(self, store: Objects) -> None:
        for call in (store.head, store.read, store.open):
            with pytest.raises(S3Error) as error:
                call(BUCKET, "none")
            assert (code_of(error), error.value.status) == ("NoSuchKey", 404)
            with pytest.raises(S3Error) as error:
                call("no-bucket", "none")
            assert (code_of(error), error.value.status) == ("NoSuchBucket", 404)
        store.delete(BUCKET, "none")

    @pytest.mark.parametrize("key", ["", "k" * 1025])
    def test_a_key_that_cannot_be_is_refused(self, store: Objects, key: str) -> None:
        with pytest.raises(S3Error):
            store.put(BUCKET, key, b"x")


class TestChecksums:
    def test_right_checksums_are_kept(self, store: Objects) -> None:
        crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
        store.put(BUCKET, "k", b"hello", checksums={"CRC32": crc, "Content-MD5": md5})
        assert store.head(BUCKET, "k").checksums == {"CRC32": crc}

    def test_a_checksum_asked_for_is_computed(self, store: Objects) -> None:
        sha = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
        store.put(BUCKET, "k", b"hello", checksums={"SHA256": None})
        assert store.head(BUCKET, "k").checksums == {"SHA256": sha}

    def test_a_checksum_may_arrive_with_the_end_of_the_body(self, store: Objects) -> None:
        late: dict[str, str | None] = {"CRC32": None}

        def body() -> Iterator[bytes]:
            yield b"hello"
            late["CRC32"] = "AAAAAA=="

        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "k", body(), checksums=late)
        assert code_of(error) == "BadDigest"

    @pytest.mark.parametrize("algorithm", KINDS)
    def test_every_kind_that_is_computed_verifies_itself(self, store: Objects, algorithm: str) -> None:
        store.put(BUCKET, "k", b"hello", checksums={algorithm: None})
        value = store.head(BUCKET, "k").checksums[algorithm]
        store.put(BUCKET, "k", b"hello", checksums={algorithm: value})
        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "k", b"hallo", checksums={algorithm: value})
        assert code_of(error) == "BadDigest"

    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256", "Content-MD5"])
    def test_a_wrong_checksum_stores_nothing(self, store: Objects, algorithm: str) -> None:
        with pytest.raises(S3Error) as error:
            store.put(BUCKET, "k", b"hello", checksums={algorithm: "AAAA"})
        assert (code_of(error), error.value.status) == ("BadDigest", 400)
        assert store.list(BUCKET).objects == []


class TestListing:
    def test_awkward_keys_live_side_by_side_in_byte_order(self, store: Objects) -> None:
        for key in AWKWARD:
            store.put(BUCKET, key, key.encode())
        listed = [info.key for info in store.walk(BUCKET)]
        assert listed == sorted(AWKWARD, key=str.encode)
        for key in AWKWARD:
            assert store.read(BUCKET, key) == key.encode()
            assert store.head(BUCKET, key).size == len(key.encode())
            store.delete(BUCKET, key)
        assert list(store.walk(BUCKET)) == []
        store.delete_bucket(BUCKET)

    def test_pages_of_any_length_add_up_to_the_whole(self, store: Objects) -> None:
        keys = sorted(f"{a}/{b}" if b else a for a in ("p", "q", "q!", "r") for b in ("", "1", "2/x", "2/y"))
        for key in keys:
            store.put(BUCKET, key, b"")
        for limit in (1, 2, 3, 7, 100):
            seen, after = [], ""
            while True:
                page = store.list(BUCKET, after=after, limit=limit)
                seen += [info.key for info in page.objects]
                assert len(page.objects) <= limit
                if page.next is None:
                    break
                after = page.next
            assert seen == keys

    def test_a_delimiter_rolls_up_what_lies_below(self, store: Objects) -> None:
        for key in ("a", "a/1", "a/2/x", "b-1", "b-2", "c/", "d"):
            store.put(BUCKET, key, b"")
        whole = store.list(BUCKET, delimiter="/")
        assert ([info.key for info in whole.objects], whole.prefixes) == (["a", "b-1", "b-2", "d"], ["a/", "c/"])
        below = store.list(BUCKET, "a/", delimiter="/")
        assert ([info.key for info in below.objects], below.prefixes) == (["a/1"], ["a/2/"])
        other = store.list(BUCKET, delimiter="-")
        assert ([info.key for info in other.objects], other.prefixes) == (["a", "a/1", "a/2/x", "c/", "d"], ["b-"])

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_rolled_up_prefixes_page_like_keys(self, store: Objects, limit: int) -> None:
        for key in ("a", "a/1", "a/2", "b/1", "b/2", "c", "d/1"):
            store.put(BUCKET, key, b"")
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page = store.list(BUCKET, after=after, delimiter="/", limit=limit)
            seen += sorted([info.key for info in page.objects] + page.prefixes)
            after = page.next
        assert seen == ["a", "a/", "b/", "c", "d/"]

    def test_a_prefix_need_not_end_at_a_slash(self, store: Objects) -> None:
        for key in ("data/train.csv", "data/train/1", "data/test.csv", "dat"):
            store.put(BUCKET, key, b"")
        assert [info.key for info in store.walk(BUCKET, "data/tr")] == ["data/train.csv", "data/train/1"]
        assert [info.key for info in store.walk(BUCKET, "data/train/")] == ["data/train/1"]
        assert store.list(BUCKET, "nothing").objects == []

    def test_a_missing_bucket_is_told(self, objects: Objects) -> None:
        with pytest.raises(S3Error) as error:
            objects.list("no-bucket")
        assert code_of(error) == "NoSuchBucket"


class TestMultipart:
    def test_parts_make_an_object_whatever_their_order_of_arrival(self, store: Objects) -> None:
        attributes = Attributes("text/plain", {"a": "b"}, {"Cache-Control": "no-cache"})
        upload = store.create_upload(BUCKET, "deep/k", attributes)
        last = store.put_part(BUCKET, "deep/k", upload, 7, b"end")
        store.put_part(BUCKET, "deep/k", upload, 2, b"thrown away")
        first = store.put_part(BUCKET, "deep/k", upload, 2, io.BytesIO(b"x" * 5 * MIB))
        assert [(p.number, p.size) for p in store.parts(BUCKET, "deep/k", upload)] == [(2, 5 * MIB), (7, 3)]
        assert store.list(BUCKET).objects == []
        info = store.complete(BUCKET, "deep/k", upload, [(2, first.etag), (7, last.etag)])
        md5s = hashlib.md5(b"x" * 5 * MIB).digest() + hashlib.md5(b"end").digest()
        assert info.etag == hashlib.md5(md5s).hexdigest() + "-2"
        assert (info.content_type, info.metadata) == ("text/plain", {"a": "b"})
        assert info.headers == {"Cache-Control": "no-cache"}
        assert store.read(BUCKET, "deep/k") == b"x" * 5 * MIB + b"end"
        assert store.uploads(BUCKET) == []

    def test_completing_twice_gives_the_same_answer(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k")
        parts = [(1, store.put_part(BUCKET, "k", upload, 1, b"one").etag)]
        first = store.complete(BUCKET, "k", upload, parts)
        assert store.complete(BUCKET, "k", upload, parts) == first

    def test_uploads_in_progress_are_listed_by_key(self, store: Objects) -> None:
        ids = {key: store.create_upload(BUCKET, key) for key in ("b/2", "a", "b/1")}
        assert [(u.key, u.upload_id) for u in store.uploads(BUCKET, "b/")] == [("b/1", ids["b/1"]), ("b/2", ids["b/2"])]
        for key, upload in ids.items():
            store.abort(BUCKET, key, upload)
        assert store.uploads(BUCKET) == []

    def test_an_aborted_upload_is_gone(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k")
        store.put_part(BUCKET, "k", upload, 1, b"x")
        store.abort(BUCKET, "k", upload)
        for call in (store.abort, store.parts, store.upload_of):
            with pytest.raises(S3Error) as error:
                call(BUCKET, "k", upload)
            assert (code_of(error), error.value.status) == ("NoSuchUpload", 404)
        with pytest.raises(S3Error) as error:
            store.put_part(BUCKET, "k", upload, 1, b"x")
        assert code_of(error) == "NoSuchUpload"

    @pytest.mark.parametrize("upload", ["../../x", "no-such", "0" * 32])
    def test_an_upload_id_of_nobody_is_refused(self, store: Objects, upload: str) -> None:
        with pytest.raises(S3Error) as error:
            store.put_part(BUCKET, "k", upload, 1, b"x")
        assert code_of(error) == "NoSuchUpload"

    def test_wrong_lists_of_parts_are_refused(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k")
        one = (1, store.put_part(BUCKET, "k", upload, 1, b"small").etag)
        two = (2, store.put_part(BUCKET, "k", upload, 2, b"small too").etag)
        for parts, code in [
            ([two, one], "InvalidPartOrder"),
            ([one, (3, one[1])], "InvalidPart"),
            ([(1, two[1])], "InvalidPart"),
            ([one, two], "EntityTooSmall"),
            ([], "MalformedXML"),
        ]:
            with pytest.raises(S3Error) as error:
                store.complete(BUCKET, "k", upload, parts)
            assert (code_of(error), error.value.status) == (code, 400)
        assert store.list(BUCKET).objects == []
        store.abort(BUCKET, "k", upload)

    @pytest.mark.parametrize("number", [0, 10_001])
    def test_a_part_number_out_of_range_is_refused(self, store: Objects, number: int) -> None:
        upload = store.create_upload(BUCKET, "k")
        with pytest.raises(S3Error) as error:
            store.put_part(BUCKET, "k", upload, number, b"x")
        assert code_of(error) == "InvalidArgument"
        store.abort(BUCKET, "k", upload)

    def test_composite_checksums_are_sums_of_sums(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k", checksum_algorithm="CRC32")
        contents = [b"x" * 5 * MIB, b"y"]
        parts = [(n, store.put_part(BUCKET, "k", upload, n, c).etag) for n, c in enumerate(contents, 1)]
        store.complete(BUCKET, "k", upload, parts)
        crcs = b"".join(zlib.crc32(content).to_bytes(4, "big") for content in contents)
        whole = base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode()
        assert store.head(BUCKET, "k").checksums == {"CRC32": f"{whole}-2"}

    @pytest.mark.parametrize("algorithm", ["XXHASH64", "XXHASH3", "XXHASH128"])
    def test_xxhash_sums_of_parts_are_summed_alike(self, store: Objects, algorithm: str) -> None:
        upload = store.create_upload(BUCKET, "k", checksum_algorithm=algorithm)
        etag = store.put_part(BUCKET, "k", upload, 1, b"x").etag
        hashed = XXHASHES[algorithm]
        whole = f"{base64.b64encode(hashed(hashed(b'x').digest()).digest()).decode()}-1"
        with pytest.raises(S3Error) as error:
            store.complete(BUCKET, "k", upload, [(1, etag)], checksums={algorithm: "AAAA-1"})
        assert code_of(error) == "BadDigest"
        store.complete(BUCKET, "k", upload, [(1, etag)], checksums={algorithm: whole})
        assert store.head(BUCKET, "k").checksums == {algorithm: whole}

    def test_an_object_remembers_the_parts_it_was_made_of(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k", Attributes(tags={"a": "b"}), checksum_algorithm="SHA256")
        contents = {2: b"x" * 5 * MIB, 5: b"y"}
        chosen = [(n, store.put_part(BUCKET, "k", upload, n, content).etag) for n, content in contents.items()]
        store.complete(BUCKET, "k", upload, chosen)
        sums = {n: base64.b64encode(hashlib.sha256(content).digest()).decode() for n, content in contents.items()}
        assert [(part.number, part.size, part.checksums) for part in store.made_of(BUCKET, "k")] == [
            (2, 5 * MIB, {"SHA256": sums[2]}),
            (5, 1, {"SHA256": sums[5]}),
        ]
        assert store.tags(BUCKET, "k") == {"a": "b"}
        store.put(BUCKET, "k", b"whole")
        assert store.made_of(BUCKET, "k") == []

    def test_completing_can_depend_on_the_version_that_it_replaces(self, store: Objects) -> None:
        etag = store.put(BUCKET, "k", b"one").etag
        upload = store.create_upload(BUCKET, "k")
        part = (1, store.put_part(BUCKET, "k", upload, 1, b"two").etag)
        with pytest.raises(S3Error) as error:
            store.complete(BUCKET, "k", upload, [part], if_match="0" * 32)
        assert code_of(error) == "PreconditionFailed"
        store.complete(BUCKET, "k", upload, [part], if_match=etag)
        assert store.read(BUCKET, "k") == b"two"

    def test_a_full_object_checksum_is_that_of_the_whole(self, store: Objects) -> None:
        upload = store.create_upload(BUCKET, "k", checksum_algorithm="CRC32", checksum_type="FULL_OBJECT")
        contents = [b"x" * 5 * MIB, b"y"]
        parts = [(n, store.put_part(BUCKET, "k", upload, n, c).etag) for n, c in enumerate(contents, 1)]
        whole = base64.b64encode(zlib.crc32(b"".join(contents)).to_bytes(4, "big")).decode()
        with pytest.raises(S3Error) as error:
            store.complete(BUCKET, "k", upload, parts, checksums={"CRC32": "AAAAAA=="})
        assert code_of(error) == "BadDigest"
        store.complete(BUCKET, "k", upload, parts, checksums={"CRC32": whole})
        assert store.head(BUCKET, "k").checksums == {"CRC32": whole}
        assert store.read(BUCKET, "k") == b"".join(contents)
