"""Data that is too large for memory is read into a spool, and comes out the same."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pilothouse.data import duplicates, hashes, sample, spool, tables
from pilothouse.data.growing import GrowingArray
from pilothouse.data.spool import Spool
from pilothouse.data.tables import Listed
from pilothouse.errors import DataError, S3Error
from pilothouse.objects.directory import DirectoryObjects

List = Callable[..., Listed]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 1 << 10)
    monkeypatch.setattr("pilothouse.data.parquet.BATCH_ROWS", 50)
    monkeypatch.setattr("pilothouse.data.parquet.BUFFER", 1 << 10)


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    made = DirectoryObjects(tmp_path / "objects")
    made.create_bucket("bucket")
    return made


@pytest.fixture
def listed(objects: DirectoryObjects) -> List:
    def put(*files: bytes, **how: Any) -> Listed:
        infos = [objects.put("bucket", f"in/{i:03}", content) for i, content in enumerate(files)]
        return Listed(infos, **how)

    return put


def _csv(rows: Sequence[int], header: bool = True) -> bytes:
    lines = [f'{i},{i / 7},"a, ""b"" {i % 3}",{"" if i % 5 else "NA"}' for i in rows]
    return "\n".join(["id,x,words,gap"] * header + lines).encode()


def _parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=70)
    return sink.getvalue()


def _both(objects: DirectoryObjects, channel: Listed, folder: Path) -> tuple[pa.Table, Spool]:
    folder.mkdir(exist_ok=True)
    whole = tables.read(objects, channel.infos, channel.content_type, channel.gzip)
    return whole, tables.spooled(objects, channel, folder / "spool.arrow")


@pytest.mark.parametrize(
    ("files", "how"),
    [
        ([_csv(range(500))], {}),
        ([_csv(range(300)), _csv(range(300, 500))], {}),
        ([_csv(range(300)), _csv(range(300, 500), header=False)], {}),
        ([_csv(range(300)), b"words,gap,x,id\na,b,c,d\n"], {}),
        ([gzip.compress(_csv(range(500)))], {"gzip": True}),
        ([gzip.compress(_csv(range(300))), gzip.compress(_csv(range(300, 400), header=False))], {}),
        ([b"\xef\xbb\xbfa,b\r\n" + b"1,2\r\n\r\n" * 400], {}),
        ([b"a\n" + b'"x\ny"\n' * 400], {}),
        ([_csv([]), _csv(range(400))], {}),
    ],
)
def test_a_spool_has_the_rows_of_the_table(
    objects: DirectoryObjects, listed: List, tmp_path: Path, files: list[bytes], how: dict[str, Any]
) -> None:
    whole, spooled = _both(objects, listed(*files, **how), tmp_path / "out")
    assert len(spooled.rows_of_batches) > 2
    assert spooled.num_rows == whole.num_rows
    assert pa.concat_tables(spooled.blocks()).equals(whole)


def test_a_spool_of_parquet_files_has_the_rows_of_the_table(
    objects: DirectoryObjects, listed: List, tmp_path: Path
) -> None:
    first = _parquet(i=range(200), s=[f"w{i % 9}" for i in range(200)], n=[[i] for i in range(200)], e=[None] * 200)
    second = _parquet(e=["x"] * 100, s=["v"] * 100, i=[0.5] * 100, n=[[1]] * 100)
    channel = listed(first, second, content_type=tables.PARQUET)
    whole, spooled = _both(objects, channel, tmp_path / "out")
    assert len(spooled.rows_of_batches) > 4
    assert pa.concat_tables(spooled.blocks()).equals(whole)


@pytest.mark.parametrize(
    ("content", "how", "complaint"),
    [
        (b"a,b\n" + b"1,2\n" * 1000 + b"3\n", {}, "Row 1002 of .* has 1 columns where 2 are expected"),
        ("a,b\nö,2\n".encode() + b"1,2\n" * 1000 + b"1,\xff\n", {}, "not UTF-8"),
        (b'a,b\n1,"' + b"x" * 4000, {}, "never closed"),
        (b"a,b\n", {}, "no rows below its header"),
        (b"", {}, "is empty"),
        (gzip.compress(b"a\n" + bytes(range(48, 58)) * 90_000)[:-9], {}, "damaged gzip|longer than"),
        (_parquet(i=range(100))[:-5], {"content_type": tables.PARQUET}, "not a readable Parquet"),
        (_parquet(i=pa.array([], pa.int64())), {"content_type": tables.PARQUET}, "no rows"),
    ],
)
def test_what_is_wrong_is_said_as_of_a_table(
    objects: DirectoryObjects, listed: List, tmp_path: Path, content: bytes, how: dict[str, Any], complaint: str
) -> None:
    channel = listed(content, **how)
    for read in (_both, lambda *given: tables.spooled(given[0], given[1], tmp_path / "s.arrow")):
        with pytest.raises(DataError, match=complaint):
            read(objects, channel, tmp_path / "out")


def test_compressed_objects_are_capped_one_by_one_and_plain_ones_together(
    objects: DirectoryObjects, listed: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = b"a\n" + b"1\n" * 5000
    monkeypatch.setattr(tables, "MAX_BYTES", 9000)
    assert tables.spooled(objects, listed(plain), tmp_path / "s.arrow").num_rows == 5000
    with pytest.raises(DataError, match="too large"):
        tables.spooled(objects, listed(gzip.compress(plain)), tmp_path / "s.arrow")
    with pytest.raises(DataError, match="too large"):
        tables.spooled(objects, listed(_parquet(i=range(5000)), content_type=tables.PARQUET), tmp_path / "s.arrow")
    monkeypatch.setattr(tables, "MAX_SPOOLED_BYTES", 2 * len(plain) - 1)
    with pytest.raises(DataError, match="too large"):
        tables.spooled(objects, listed(plain, plain), tmp_path / "s.arrow")


def test_large_channels_are_spooled_and_the_folder_is_gone_afterwards(
    objects: DirectoryObjects, listed: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, folder = listed(_csv(range(300))), tmp_path / "spools"
    folder.mkdir()
    (folder / "half.arrow").write_bytes(b"left by a process that was killed")
    with tables.opened(objects, [channel], folder) as (small,):
        assert isinstance(small, pa.Table)
        assert not folder.exists()
    monkeypatch.setattr(tables, "SPOOLED_FROM", 1 << 10)
    with tables.opened(objects, [channel, channel], folder) as opened:
        assert [type(each) for each in opened] == [Spool, Spool]
        assert len(list(folder.iterdir())) == 2
    assert not folder.exists()


def test_gzip_and_parquet_are_expected_to_be_larger_than_they_are(objects: DirectoryObjects, listed: List) -> None:
    plain = listed(b"x" * 100)
    assert plain.expected_bytes == 100
    assert listed(b"x" * 100, gzip=True).expected_bytes > 300
    assert listed(b"x" * 100, content_type=tables.PARQUET).expected_bytes > 300


@pytest.mark.parametrize(("limit", "kind", "looks"), [(3, Spool, 1), (7, pa.Table, 0), (0.5, Spool, 0)])
def test_gzip_that_only_its_bytes_tell_is_spooled_where_that_decides(
    objects: DirectoryObjects,
    listed: List,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    kind: type,
    looks: int,
) -> None:
    channel = listed(_csv(range(1)), gzip.compress(_csv(range(300))), b"", _csv(range(2)))
    asked: list[tuple[Any, ...]] = []
    opened = objects.open
    monkeypatch.setattr(objects, "open", lambda *at, **how: (asked.append(at), opened(*at, **how))[1])
    monkeypatch.setattr(tables, "SPOOLED_FROM", limit * channel.expected_bytes)
    with tables.opened(objects, [channel], tmp_path / "spools") as (table,):
        assert type(table) is kind
    assert asked[:looks] == [("bucket", "in/001", 0, 2)] * looks
    assert len(asked) == looks + 4


def test_plain_objects_are_looked_into_and_stay_in_memory(
    objects: DirectoryObjects, listed: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = listed(_csv(range(300)), _csv(range(300)))
    monkeypatch.setattr(tables, "SPOOLED_FROM", 2 * channel.expected_bytes)
    with tables.opened(objects, [channel], tmp_path / "spools") as (table,):
        assert isinstance(table, pa.Table)
        assert table.num_rows == 600


def test_an_object_that_was_replaced_while_it_is_read_is_an_error(
    objects: DirectoryObjects, listed: List, tmp_path: Path
) -> None:
    channel = listed(_parquet(i=range(100)), content_type=tables.PARQUET)
    listed(_parquet(i=range(90)))
    with pytest.raises(S3Error, match="did not hold"):
        tables.spooled(objects, channel, tmp_path / "s.arrow")


class TestRowsAndColumns:
    @pytest.fixture
    def whole(self) -> pa.Table:
        return pa.table({"a": range(100), "b": [str(i) for i in range(100)], "c": [None, 1.5] * 50})

    @pytest.fixture
    def spooled(self, whole: pa.Table, tmp_path: Path) -> Spool:
        parts = [whole.slice(start, 30) for start in range(0, 100, 30)]
        return spool.write(tmp_path / "s.arrow", whole.schema, parts)

    def test_columns_are_selected(self, whole: pa.Table, spooled: Spool) -> None:
        chosen = spooled.select(["c", "a"])
        assert chosen.column_names == ["c", "a"]
        assert pa.concat_tables(chosen.blocks()).equals(whole.select(["c", "a"]))

    def test_rows_are_filtered_again_and_again(self, whole: pa.Table, spooled: Spool) -> None:
        even = pa.array([i % 2 == 0 for i in range(100)])
        third = pa.array([i % 3 == 0 for i in range(50)])
        filtered = spooled.filter(even).filter(third)
        expected = whole.filter(even).filter(third)
        assert filtered.num_rows == expected.num_rows
        assert pa.concat_tables(filtered.blocks()).equals(expected)
        assert filtered.take(np.array([0, 3, 16])).equals(expected.take([0, 3, 16]))

    def test_a_spool_without_rows_has_an_empty_block(self, spooled: Spool) -> None:
        nothing = spooled.filter(pa.array([False] * 100))
        assert [block.num_rows for block in nothing.blocks()] == [0]
        assert nothing.take(np.array([], np.int64)).num_rows == 0


def test_equal_rows_have_equal_hashes_whatever_block_they_are_in() -> None:
    table = pa.table({"s": ["a", "b", None, "", "ab", "a"] * 5, "n": [1.0, None, 2.5, 0.0, -1.0, 1.0] * 5})
    whole = hashes.rows_of(table)
    assert len(set(whole.tolist())) == 5
    assert whole.tolist() == whole[:6].tolist() * 5
    assert hashes.rows_of(table.slice(7, 11)).tolist() == whole[7:18].tolist()


def test_many_different_texts_have_different_hashes() -> None:
    texts = [f"{i}.{j}" for i in range(300) for j in range(300)] + [str(i) for i in range(100_000)]
    assert len(np.unique(hashes.rows_of(pa.table({"s": texts})))) == len(set(texts))


def test_copies_of_rows_are_found_in_a_spool_as_in_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.arange(400), rng.integers(0, 400, 60)])
    whole = pa.table({"a": [str(i / 3) for i in rows], "b": rows * 2.0})
    y = (rows % 2).astype(np.float64)
    spooled = spool.write(tmp_path / "s.arrow", whole.schema, [whole.slice(i, 100) for i in range(0, 460, 100)])
    expected, found = duplicates.groups(whole, y), duplicates.groups(spooled, y)
    assert expected is not None
    assert found is not None
    assert len(set(zip(expected.tolist(), found.tolist(), strict=True))) == len(set(found)) == len(set(expected))


def test_a_sample_has_rows_of_every_class() -> None:
    y = np.zeros(50_000)
    y[:30], y[30:2000] = 1, 2
    drawn = sample.drawn(y, np.arange(100, 50_000), 3, 5000)
    counts = np.bincount(y[drawn].astype(int), minlength=3)
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] >= 100
    assert 4000 < counts[0] <= 5000
    assert counts[2] == 1000
    assert (drawn == sample.drawn(y, np.arange(100, 50_000), 3, 5000)).all()
    assert (sample.drawn(y, np.arange(4000), 3, 5000) == np.arange(4000)).all()


def test_a_sample_of_many_rare_classes_is_drawn_in_no_time() -> None:
    y = np.arange(1_000_000) % 900.0
    begun = time.process_time()
    drawn = sample.drawn(y, np.arange(len(y)), 3, 500_000)
    assert time.process_time() - begun < 3
    assert (np.bincount(y[drawn].astype(int)) >= 1000).all()
    assert len(drawn) == 900_000


@pytest.mark.parametrize("shape", [(7, 3), (1000, 0), (5,), (0, 2)])
def test_an_array_that_grows_is_the_file_that_numpy_saves(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    with GrowingArray(tmp_path / "grown.npy") as grown:
        for part in np.array_split(array, 3):
            grown.append(part)
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    assert len(grown) == len(array)
