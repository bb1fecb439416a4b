"""Reading CSV and Parquet objects into tables, and what is said of those that can't be read."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import time
import zlib
from collections.abc import Callable
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pilothouse.data import tables
from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

Read = Callable[..., pa.Table]


class _Contents(dict[str, bytes]):
    def open(self, bucket: str, key: str) -> io.BytesIO:
        return io.BytesIO(self[key])

    def read(self, bucket: str, key: str) -> bytes:
        return self[key]


def _read(*files: bytes, content_type: str = "text/csv;header=present", **options: Any) -> pa.Table:
    contents = _Contents({f"data/{i}": content for i, content in enumerate(files)})
    infos = [ObjectInfo("bucket", key, len(content), "", 0.0) for key, content in contents.items()]
    return tables.read(cast(Objects, contents), infos, content_type, **options)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_csv_values_stay_the_texts_they_are() -> None:
    table = _read(b'a,b\n01, x\n,"1,5"\nNA,"two\nlines ""quoted"""\n')
    assert table.to_pydict() == {"a": ["01", "", "NA"], "b": [" x", "1,5", 'two\nlines "quoted"']}
    assert set(table.schema.types) == {pa.string()}


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa,b\r\n1,2\r\n", b"a,b\n1,2", b"\n\na,b\n\n1,2\n\n"])
def test_byte_order_marks_line_ends_and_blank_lines_do_not_matter(content: bytes) -> None:
    assert _read(content).to_pydict() == {"a": ["1"], "b": ["2"]}


def test_a_header_may_hold_quotes_and_line_ends() -> None:
    assert _read(b'"first\nname","a ""b"""\n1,2\n').column_names == ["first\nname", 'a "b"']


def test_a_quoted_name_of_many_lines_is_refused_in_no_time() -> None:
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"first line of s3://bucket/data/0 can't be read as CSV \(field larger"):
        _read(b'"' + b"\n" * (7 << 20) + b'",y\n1,2\n')
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("at", range(-4, 4))
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_letters_are_whole_wherever_a_read_ends(monkeypatch: pytest.MonkeyPatch, encoding: str, at: int) -> None:
    monkeypatch.setattr("pilothouse.data.utf8._STEP", 16)
    monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 256)
    values = ["x" * (60 + at) + "öß€" * 9, "é" * 40, "plain"] * 9
    table = _read(("a,b\n" + "".join(f"{value},1\n" for value in values)).encode(encoding))
    assert table["a"].to_pylist() == values


def test_a_header_longer_than_one_read_is_found() -> None:
    names = [f"column_{i}" for i in range(20_000)]
    assert _read((",".join(names) + "\n" + ",".join("1" * 20_000) + "\n").encode()).column_names == names


def test_files_may_repeat_the_header_or_leave_it_to_the_first() -> None:
    table = _read(b"a,b\n1,2\n", b"a,b\n3,4\n", b"5,6\n7,8\n")
    assert table.to_pydict() == {"a": ["1", "3", "5", "7"], "b": ["2", "4", "6", "8"]}


def test_a_repeated_header_may_have_another_order() -> None:
    assert _read(b"a,b\n1,2\n", b"b,a\n4,3\n").to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}


def test_a_row_that_repeats_the_header_of_its_file_is_none() -> None:
    table = _read(b"a,,b\n1,,2\na,,b\na,,c\n", b"b,,a\n4,,3\nb,,a\n6,,5", b"7,,8\na,,b\n")
    assert table.to_pydict() == {"a": [*"1a357"], "Unnamed: 1": [""] * 5, "b": [*"2c468"]}


@pytest.mark.parametrize("line", ["0,1", "a,1", "a", "a,"])
def test_a_row_of_numbers_or_of_a_single_value_may_be_as_the_header(line: str) -> None:
    assert _read(f"{line}\n{line}\n".encode()).num_rows == 1


@pytest.mark.parametrize(("first", "later"), [("a,b,c", "a,b,d"), ("a,b,c,,", "a,d,b,,")])
def test_a_header_with_other_names_is_refused(first: str, later: str) -> None:
    row = ",".join("1" * (first.count(",") + 1))
    with pytest.raises(DataError, match=r"header of s3://bucket/data/1 differs"):
        _read(f"{first}\n{row}\n".encode(), f"{later}\n{row}\n".encode())


@pytest.mark.parametrize(("header", "row"), [("a,b,,,", "3,4,,,"), ("a,,", "3,,"), (",a", ",3")])
def test_blank_cells_do_not_make_a_header_of_a_row(header: str, row: str) -> None:
    table = _read(f"{header}\n{row}\n".encode(), f"{row}\n".encode())
    assert [*map(tuple, zip(*table.to_pydict().values(), strict=True))] == [tuple(row.split(","))] * 2


def test_a_later_header_may_have_names_that_differ_in_the_first_by_case_only() -> None:
    assert _read(b"A,a\n1,2\n", b"a,a\n3,4\n").to_pydict() == {"A": ["1", "3"], "a": ["2", "4"]}


@pytest.mark.parametrize(
    ("content", "row", "found"),
    [(b"a,b\n1,2\n3\n", 3, 1), (b"a,b\n1,2,3\n", 2, 3), (b'a,b\n"x\ny",2\n"z",1,1\n', 3, 3)],
)
def test_a_ragged_row_is_named(content: bytes, row: int, found: int) -> None:
    with pytest.raises(DataError, match=rf"Row {row} of s3://bucket/data/0 has {found} columns where 2 are expected"):
        _read(content)


def test_a_ragged_row_in_a_file_without_header_is_counted_from_its_first_line() -> None:
    with pytest.raises(DataError, match=r"Row 2 of s3://bucket/data/1 has 3 columns"):
        _read(b"a,b\n1,2\n", b"1,2\n1,2,3\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b", "no rows below its header"),
        (b"a,b\n", "no rows below its header"),
        (b",\n1,2\n", "names no column"),
        ("a,b\né,2\n".encode() + b"1,\xff\n", "not UTF-8"),
        (b"\xef\xbb\xbfa,b\n1,\xff\n", "not UTF-8"),
        (b"\xff\xfea\x00,\x00b", "not UTF-8"),
        (b"\xff\xfe\x00\xd8,\x00", "not UTF-8"),
        (b"a,b\n1,\xff\0\n", "not UTF-8 .*zero bytes"),
        (b"a,b\0\n1,2\n", "not a CSV"),
    ],
)
def test_unusable_csv_is_refused_with_the_reason(content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        _read(content)


def test_a_quote_that_is_never_closed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 1 << 16)
    with pytest.raises(DataError, match="never closed"):
        _read(b'a,b\n"' + b"x,y\n" * 50_000)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
@pytest.mark.parametrize("inner", ["", 'say ""no""', '""', '"",""', "x" * 2000])
def test_a_quote_that_is_never_closed_takes_no_rows_away(end: str, inner: str) -> None:
    lines = ["a,b", "1,2", f'3,"{inner}', "4,5", f"6,{inner}"]
    with pytest.raises(DataError, match="data/1 holds all lines from its quote on"):
        _read(b"a,b\n1,2\n", ((end or "\n").join(lines) + end).encode())


@pytest.mark.parametrize(
    "value", ["\n", "\r\n", "x\n", '"\n', '"x"\n"', ',"\n', 'x\n,""', "y" * 2000 + "\n", "z" * 2000]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\n", "", '"junk\n'])
@pytest.mark.parametrize("names", ["a", "a,b"])
def test_a_last_value_may_hold_line_ends(value: str, end: str, names: str) -> None:
    escaped = value.replace('"', '""')
    table = _read(f'{names}\n{"1,"[: len(names) - 1]}"{escaped}"{end.removeprefix(chr(34))}'.encode())
    assert table.column(-1).to_pylist() == [value + end[1:5] * end.startswith('"')]


def test_gzip_is_told_by_its_bytes() -> None:
    packed = gzip.compress(b"a\n1\n") + gzip.compress(b"2\n")
    assert _read(packed).to_pydict() == _read(packed, gzip=True).to_pydict() == {"a": ["1", "2"]}


def test_gzip_that_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="declared as Gzip but is not"):
        _read(b"a\n1\n", gzip=True)


def test_damaged_gzip_is_refused() -> None:
    packed = gzip.compress(b"a\n" + bytes(i % 251 + 1 for i in range(100_000)))
    assert zlib.crc32(packed)
    for broken in (packed[:-20], packed[:-8] + b"\0" * 8, packed[:200] + b"\xff" * 50 + packed[250:], packed[:5]):
        with pytest.raises(DataError, match=r"damaged gzip|UTF-8"):
            _read(broken, gzip=True)


def test_decompression_is_capped() -> None:
    bomb = gzip.compress(b"a\n" + b"1\n" * 2_000_000)
    with pytest.raises(DataError, match="too large"):
        _read(bomb, gzip=True, max_bytes=1 << 20)


def test_the_cap_is_for_all_files_together() -> None:
    file = b"a\n" + b"1\n" * 1000
    with pytest.raises(DataError, match="too large"):
        _read(file, file, file, max_bytes=2 * len(file) + 1)


def test_parquet_numbers_stay_numbers_and_the_rest_becomes_text() -> None:
    source = pa.table(
        {
            "i": pa.array([1, None], pa.int64()),
            "f": pa.array([0.5, None], pa.float32()),
            "b": pa.array([True, None]),
            "d": pa.array([datetime.date(2020, 1, 2), None]),
            "t": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5), None]),
            "m": pa.array([decimal.Decimal("1.50"), None]),
            "c": pa.array(["x", None]).dictionary_encode(),
            "n": pa.nulls(2),
        }
    )
    table = _read(_parquet(source), content_type=tables.PARQUET)
    first = {name: values[0] for name, values in table.to_pydict().items()}
    assert first == {
        "i": 1,
        "f": 0.5,
        "b": "True",
        "d": "2020-01-02",
        "t": "2020-01-02 03:04:05.000000",
        "m": "1.50",
        "c": "x",
        "n": None,
    }
    assert all(values[1] is None for values in table.to_pydict().values())


def test_parquet_files_of_different_integer_and_float_types_are_joined() -> None:
    files = [_parquet(pa.table({"a": [1], "b": ["x"]})), _parquet(pa.table({"b": ["y"], "a": [1.5]}))]
    assert _read(*files, content_type=tables.PARQUET).to_pydict() == {"a": [1.0, 1.5], "b": ["x", "y"]}


def test_parquet_files_of_contradicting_types_or_columns_are_refused() -> None:
    numbers = _parquet(pa.table({"a": [1]}))
    with pytest.raises(DataError, match="different types"):
        _read(numbers, _parquet(pa.table({"a": ["x"]})), content_type=tables.PARQUET)
    with pytest.raises(DataError, match="differ from those of"):
        _read(numbers, _parquet(pa.table({"b": [1]})), content_type=tables.PARQUET)


def test_broken_parquet_is_refused() -> None:
    whole = _parquet(pa.table({"a": list(range(1000))}))
    for broken in (b"", b"a,b\n1,2\n", whole[:-10], b"PAR1" + b"\0" * 100 + b"PAR1", whole[:20] + whole[-300:]):
        with pytest.raises(DataError, match=r"s3://bucket/data/0 is not a readable Parquet file"):
            _read(broken, content_type=tables.PARQUET)


def test_binary_parquet_columns_that_are_not_text_are_refused() -> None:
    with pytest.raises(DataError, match=r"Column 'a' .* has the type binary"):
        _read(_parquet(pa.table({"a": [b"\xff\xfe"]})), content_type=tables.PARQUET)


def _repeated(text: str | bytes, rows: int) -> bytes:
    return _parquet(pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))}))


@pytest.mark.parametrize("text", ["x" * 100_000, b"x" * 100_000])
def test_repeated_parquet_texts_count_as_often_as_they_occur(text: str | bytes) -> None:
    file = _repeated(text, 50_000)
    assert len(file) < 20_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"too large: with s3://bucket/data/0"):
        _read(file, content_type=tables.PARQUET, max_bytes=1 << 30)
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert pa.default_memory_pool().max_memory() < 1 << 30


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.5] * 400_000),
        pa.array([[1] * 1000] * 400),
        pa.array([b"x" * 4000] * 1000, pa.binary(4000)),
        pa.array([True] * 400_000),
    ],
)
def test_parquet_values_are_capped_whatever_their_type(column: pa.Array) -> None:
    file = _parquet(pa.table({"a": column}))
    assert len(file) < 1 << 20
    with pytest.raises(DataError, match="too large"):
        _read(file, content_type=tables.PARQUET, max_bytes=1 << 20)


def test_the_cap_is_for_all_parquet_files_together() -> None:
    file = _parquet(pa.table({"a": list(range(1000))}))
    assert _read(file, file, content_type=tables.PARQUET, max_bytes=17_000).num_rows == 2000
    with pytest.raises(DataError, match=r"too large: with s3://bucket/data/2"):
        _read(file, file, file, content_type=tables.PARQUET, max_bytes=17_000)


def test_parquet_is_read_in_batches_and_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.data.parquet.BATCH_ROWS", 7)
    monkeypatch.setattr("pilothouse.data.parquet.BATCH_BYTES", 800)
    source = pa.table({"a": list(range(50)), "b": [f"{i % 3}" * 300 for i in range(50)], "n": [[{"k": "v"}]] * 50})
    assert _read(_parquet(source), content_type=tables.PARQUET).to_pydict() == source.to_pydict()


def test_parquet_without_rows_or_columns_is_refused() -> None:
    for table, complaint in ((pa.table({"a": pa.array([], pa.string())}), "no rows"), (pa.table({}), "no columns")):
        with pytest.raises(DataError, match=complaint):
            _read(_parquet(table), content_type=tables.PARQUET)


def test_no_objects_is_an_error_and_no_traceback() -> None:
    with pytest.raises(DataError, match="no objects"):
        _read()
