"""Data sources and the headers of their files."""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pilothouse.errors import DataError, ServiceUnavailable, ValidationError
from pilothouse.objects import manifest, peek
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.refusals import DamagedError

BUCKET = "a-bucket"
CSV = "text/csv;header=present"
PARQUET = "x-application/vnd.amazon+parquet"


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    store = DirectoryObjects(tmp_path / "objects")
    store.create_bucket(BUCKET)
    return store


class TestPrefix:
    def test_all_objects_with_data_under_the_prefix_are_meant_in_order(self, objects: DirectoryObjects) -> None:
        for key in ("train/b.csv", "train/a.csv", "train.csv", "test/c.csv"):
            objects.put(BUCKET, key, b"x")
        objects.put(BUCKET, "train/", b"")
        objects.put(BUCKET, "train/sub/", b"marker")
        objects.put(BUCKET, "train/empty", b"")
        found = manifest.expand(objects, "S3Prefix", f"s3://{BUCKET}/train")
        assert [info.key for info in found] == ["train.csv", "train/a.csv", "train/b.csv"]

    @pytest.mark.parametrize("uri", ["s3://a-bucket/none/", "s3://no-bucket/x", "s3://Not_A_Bucket/x"])
    def test_no_objects_is_told_as_aws_tells_it(self, objects: DirectoryObjects, uri: str) -> None:
        role = "arn:aws:iam::000000000000:role/R"
        with pytest.raises(ValidationError) as error:
            manifest.expand(objects, "S3Prefix", uri, region="us-east-1", role_arn=role)
        assert error.value.message.startswith(f'No S3 objects found under S3 URL "{uri}" given in input data source.')
        assert "(us-east-1)" in error.value.message
        assert role in error.value.message

    @pytest.mark.parametrize("error", [ServiceUnavailable(), DamagedError("x")])
    def test_a_store_that_fails_does_not_mean_that_there_is_nothing(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def away(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(objects, "walk", away)
        for look in (manifest.expand, manifest.first):
            with pytest.raises(type(error)):
                look(objects, "S3Prefix", f"s3://{BUCKET}/x")

    def test_other_data_types_are_refused(self, objects: DirectoryObjects) -> None:
        with pytest.raises(ValidationError, match="AugmentedManifestFile"):
            manifest.expand(objects, "AugmentedManifestFile", f"s3://{BUCKET}/x")


class TestManifest:
    def test_a_manifest_names_objects_below_its_prefix(self, objects: DirectoryObjects) -> None:
        for key in ("d/a", "d/b", "d/c"):
            objects.put(BUCKET, key, b"x")
        objects.put(BUCKET, "m", json.dumps([{"prefix": f"s3://{BUCKET}/d/"}, "c", "a", "c"]).encode())
        found = manifest.expand(objects, "ManifestFile", f"s3://{BUCKET}/m")
        assert [info.key for info in found] == ["d/a", "d/c"]

    @pytest.mark.parametrize(
        ("document", "sentence"),
        [
            ("{", "not a JSON document"),
            ("[" * 100_000, "not a JSON document"),
            ("{}", "does not begin with a prefix"),
            ("[]", "does not begin with a prefix"),
            ('["a"]', "does not begin with a prefix"),
            ('[{"other": 1}, "a"]', "not a string"),
            ('[{"prefix": "s3://a-bucket/d/"}, 3]', "not a string"),
            ('[{"prefix": "s3://a-bucket/d/"}, "none"]', "which cannot be read"),
            ('[{"prefix": "d/"}, "a"]', "Invalid S3 URI"),
            ('[{"prefix": "s3://a-bucket/d/"}]', "No S3 objects found"),
        ],
    )
    def test_a_bad_manifest_is_refused_with_a_reason(
        self, objects: DirectoryObjects, document: str, sentence: str
    ) -> None:
        objects.put(BUCKET, "m", document.encode())
        with pytest.raises(ValidationError, match=sentence):
            manifest.expand(objects, "ManifestFile", f"s3://{BUCKET}/m")

    @pytest.mark.parametrize(
        ("document", "sentence"),
        [
            ('["' + "x" * (4 << 20) + '"]', "larger than 4 MiB"),
            (json.dumps([{"prefix": "s3://a-bucket/d/"}] + ["a"] * 100_001), "more than 100000 keys"),
        ],
    )
    def test_a_manifest_has_a_largest_size(self, objects: DirectoryObjects, document: str, sentence: str) -> None:
        objects.put(BUCKET, "m", document.encode())
        for find in (manifest.expand, manifest.first):
            with pytest.raises(ValidationError, match=sentence):
                find(objects, "ManifestFile", f"s3://{BUCKET}/m")

    def test_a_key_named_again_is_looked_at_once(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objects.put(BUCKET, "d/a", b"x")
        objects.put(BUCKET, "m", json.dumps([{"prefix": f"s3://{BUCKET}/d/"}, *["a"] * 5000]).encode())
        looked_at = _heads(objects, monkeypatch)
        assert len(manifest.expand(objects, "ManifestFile", f"s3://{BUCKET}/m")) == 1
        assert looked_at == ["d/a"]

    def test_a_missing_manifest_is_refused(self, objects: DirectoryObjects) -> None:
        with pytest.raises(ValidationError, match="cannot be read"):
            manifest.expand(objects, "ManifestFile", f"s3://{BUCKET}/none")


def _heads(objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are looked at from here on."""
    keys: list[str] = []
    head = objects.head
    monkeypatch.setattr(objects, "head", lambda bucket, key: (keys.append(key), head(bucket, key))[1])
    return keys


class TestFirst:
    def test_the_first_object_with_data_under_a_prefix_ends_the_walk(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key, content in (("d/", b""), ("d/a", b""), ("d/b/", b"x"), ("d/c", b"x"), ("d/d", b"x"), ("d/e", b"x")):
            objects.put(BUCKET, key, content)
        seen: list[str] = []
        walk = objects.walk
        monkeypatch.setattr(objects, "walk", lambda *place: (seen.append(info.key) or info for info in walk(*place)))
        assert manifest.first(objects, "S3Prefix", f"s3://{BUCKET}/d/").key == "d/c"
        assert seen[-1] == "d/c"

    def test_the_first_object_with_data_in_a_manifest_is_the_last_one_looked_at(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key, content in (("d/a", b""), ("d/b", b"x"), ("d/c", b"x")):
            objects.put(BUCKET, key, content)
        objects.put(BUCKET, "m", json.dumps([{"prefix": f"s3://{BUCKET}/d/"}, "none", "c", "b", "a"]).encode())
        looked_at = _heads(objects, monkeypatch)
        assert manifest.first(objects, "ManifestFile", f"s3://{BUCKET}/m").key == "d/b"
        assert looked_at == ["d/a", "d/b"]

    @pytest.mark.parametrize("uri", ["s3://a-bucket/none/", "s3://no-bucket/x"])
    def test_no_objects_is_told_as_for_all_of_them(self, objects: DirectoryObjects, uri: str) -> None:
        said = []
        for find in (manifest.expand, manifest.first):
            with pytest.raises(ValidationError) as error:
                find(objects, "S3Prefix", uri, region="us-east-1")
            said.append(error.value.message)
        assert said[0] == said[1]
        assert said[0].startswith("No S3 objects found")

    def test_objects_after_the_one_that_is_wanted_are_not_looked_at(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key in ("d/a", "d/b", "d/c"):
            objects.put(BUCKET, key, b"x")
        objects.put(BUCKET, "m", json.dumps([{"prefix": f"s3://{BUCKET}/d/"}, "a", "b", "c", "none"]).encode())
        looked_at = _heads(objects, monkeypatch)
        each = manifest.each(objects, "ManifestFile", f"s3://{BUCKET}/m")
        assert [next(each).key, next(each).key] == looked_at == ["d/a", "d/b"]
        with pytest.raises(ValidationError, match="which cannot be read"):
            list(each)

    def test_a_manifest_whose_first_key_is_missing_is_refused(self, objects: DirectoryObjects) -> None:
        objects.put(BUCKET, "m", json.dumps([{"prefix": f"s3://{BUCKET}/d/"}, "none", "\ud800"]).encode())
        with pytest.raises(ValidationError, match="which cannot be read"):
            manifest.first(objects, "ManifestFile", f"s3://{BUCKET}/m")


def header(
    objects: DirectoryObjects, content: bytes, content_type: str = CSV, declared_gzip: bool = False
) -> list[str]:
    found = peek.header(objects, objects.put(BUCKET, "f", content), content_type, declared_gzip)
    assert found is not None
    return found


class TestHeader:
    @pytest.mark.parametrize(
        ("content", "names"),
        [
            (b"a,b,c\n1,2,3\n", ["a", "b", "c"]),
            (b"a,b\r\n1,2\r\n", ["a", "b"]),
            (b"\xef\xbb\xbfa,b\n1,2", ["a", "b"]),
            (b'"a, b","c\nd","say ""x"""\n1,2,3\n', ["a, b", "c\nd", 'say "x"']),
            (b"\n\na,b\n", ["a", "b"]),
            (b"only,header", ["only", "header"]),
            ("größe,名前\n".encode(), ["größe", "名前"]),
            ("größe;maß, netto\n1;2\n".encode("latin-1"), ["größe", "maß, netto"]),
            ("größe\t名前\n".encode("utf-16"), ["größe", "名前"]),
            (b"a|b\r1|2\r", ["a", "b"]),
            (b'a 5" b,c\n1,2\n', ['a 5" b', "c"]),
            (b",a,a\n", ["", "a", "a"]),
        ],
    )
    def test_a_csv_header_is_read(self, objects: DirectoryObjects, content: bytes, names: list[str]) -> None:
        assert header(objects, content) == names
        assert header(objects, gzip.compress(content)) == names
        assert header(objects, gzip.compress(content), declared_gzip=True) == names

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_very_long_header_is_read_whole(self, objects: DirectoryObjects, packed: bool) -> None:
        names = [f"{n}" * 20 for n in range(20_000)]
        content = ",".join(names).encode() + b"\n" + b"1," * 400_000
        assert header(objects, gzip.compress(content) if packed else content) == names

    @pytest.mark.parametrize("member", [50, 1000, 0xFF00, 1 << 17])
    @pytest.mark.parametrize("padding", [b"", b"\0\0\0"])
    def test_a_header_in_several_gzip_members_is_read_whole(
        self, objects: DirectoryObjects, member: int, padding: bytes
    ) -> None:
        names = [f"column {n * n}" for n in range(20_000)]
        content = ",".join(names).encode() + b"\n" + b"1," * 19_999 + b"1\n"
        parts = [content[start : start + member] for start in range(0, len(content), member)]
        packed = padding.join(gzip.compress(part, 1) for part in [b"", *parts, b""])
        assert header(objects, packed) == names
        assert header(objects, packed, declared_gzip=True) == names
        assert header(objects, padding.join(gzip.compress(part) for part in (b"a,", b"b"))) == ["a", "b"]

    def test_members_are_told_wherever_a_read_ends(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"column {n}" for n in range(40)]
        content = ",".join(names).encode() + b"\n"
        packed = b"".join(gzip.compress(content[start : start + 30], mtime=0) for start in range(0, len(content), 30))
        for first in range(2, len(packed)):
            monkeypatch.setattr(peek, "_FIRST", first)
            assert header(objects, packed) == names

    def test_members_without_content_take_no_time(self, objects: DirectoryObjects) -> None:
        started = time.perf_counter()
        assert header(objects, gzip.compress(b"") * (4 << 20 >> 4) + gzip.compress(b"a,b\n")) == ["a", "b"]
        assert time.perf_counter() - started < 20

    def test_one_small_read_is_enough(self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
        info = objects.put(BUCKET, "f", b"a,b\n" + b"1,2\n" * 1_000_000)
        asked: list[tuple[Any, ...]] = []
        opened = objects.open
        monkeypatch.setattr(objects, "open", lambda *args, **kw: (asked.append(args), opened(*args, **kw))[1])
        assert peek.header(objects, info, CSV) == ["a", "b"]
        assert [args[2:] for args in asked] == [(0, 1 << 16)]

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"\x1f\x8bnot really", "not valid gzip"),
            (b"\xff\xfea\x00b", "not UTF-8"),
            (b"x," * (5 << 20), "no header line"),
            (gzip.compress(b"x" * (100 << 20)), "no header line"),
            (b'"' + b"x" * 200_000, "field larger"),
        ],
    )
    def test_a_file_without_a_header_is_told_why(
        self, objects: DirectoryObjects, content: bytes, sentence: str
    ) -> None:
        with pytest.raises(DataError, match=sentence):
            header(objects, content)

    @pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf\n"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_a_blank_file_has_none(self, objects: DirectoryObjects, content: bytes, packed: bool) -> None:
        info = objects.put(BUCKET, "f", gzip.compress(content) if packed else content)
        assert peek.header(objects, info, CSV) is None

    def test_declared_gzip_must_be_gzip(self, objects: DirectoryObjects) -> None:
        with pytest.raises(DataError, match="not gzip"):
            header(objects, b"a,b\n", declared_gzip=True)


class TestParquet:
    def test_the_columns_are_read_from_the_footer(
        self, objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = io.BytesIO()
        pq.write_table(pa.table({"a": list(range(300_000)), "b c": ["x"] * 300_000}), file, compression="none")
        info = objects.put(BUCKET, "f", file.getvalue())
        asked: list[int] = []
        opened = objects.open
        monkeypatch.setattr(
            objects, "open", lambda b, k, start=0, *rest: (asked.append(start), opened(b, k, start, *rest))[1]
        )
        assert peek.header(objects, info, PARQUET) == ["a", "b c"]
        assert asked == [info.size - (1 << 16)]

    def test_a_footer_longer_than_one_read_is_read_whole(self, objects: DirectoryObjects) -> None:
        names = [f"column-{n}" * 3 for n in range(3000)]
        file = io.BytesIO()
        pq.write_table(pa.table({name: [1] for name in names}), file)
        assert header(objects, file.getvalue(), PARQUET) == names

    @pytest.mark.parametrize(
        "content", [b"PAR1", b"a,b\n1,2\n", b"PAR1" + b"x" * 50 + b"\x10\0\0\0PAR1", b"\xff" * 8 + b"PAR1"]
    )
    def test_a_broken_file_is_told(self, objects: DirectoryObjects, content: bytes) -> None:
        with pytest.raises(DataError, match="not a valid Parquet file"):
            header(objects, content, PARQUET)


def test_sizes_are_summed(objects: DirectoryObjects) -> None:
    objects.put(BUCKET, "a", b"123")
    objects.put(BUCKET, "b", b"4567")
    assert peek.total_size(objects.walk(BUCKET)) == 7
