"""Tables as people have them: files, frames, records; and rows picked by column name."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pilothouse import duration
from pilothouse.client.frames import as_file, batches, column
from pilothouse.data import render, tables
from pilothouse.errors import ConfigurationError, DataError
from pilothouse.objects.directory import DirectoryObjects


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows(source: Path | io.StringIO, *columns: str) -> list[list[str]]:
    return [row for batch in batches(source, columns, size=2) for row in batch]


def test_columns_are_matched_by_name_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "target,b,a\nyes,2,1\nno,4,3\nyes,6,5\n")
    assert rows(path, "a", "b") == [["1", "2"], ["3", "4"], ["5", "6"]]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a,c\n1,2\n")
    with pytest.raises(DataError, match=r"lack 1 of the 2 columns .*: b\."):
        rows(path, "a", "b")


def test_a_ragged_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a,b\n1,2\n\n1,2,3\n")
    with pytest.raises(DataError, match="Line 4 has 3 fields"):
        rows(path, "a", "b")


def test_an_empty_file_is_an_error_and_a_file_without_rows_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        rows(write(tmp_path / "empty.csv", ""), "a")
    assert rows(write(tmp_path / "header.csv", "a\n"), "a") == []


def test_quotes_byte_order_marks_and_line_breaks_in_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n"x, ""y""","line\nbreak"\r\n')
    assert rows(path, "a", "b") == [['x, "y"', "line\nbreak"]]


def test_gzip_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(gzip.compress(b"a\n1\n"))
    assert rows(path, "a") == [["1"]]


def test_a_broken_gzip_file_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10_000)[:40])
    with pytest.raises(DataError, match="damaged gzip"):
        rows(path, "a")


def test_files_are_read_as_they_are_for_training(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("größe;;a;a\r1,5;2;ö;4\r".encode("latin-1"))
    assert rows(path, "a.1", "a", "größe", "Unnamed: 1") == [["4", "ö", "1,5", "2"]]


def test_parquet_values_become_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"b": [1.5, None, 3.0], "a": ["x", "y", None]}), path)
    assert rows(path, "a", "b") == [["x", "1.5"], ["y", ""], ["", "3"]]


def test_parquet_values_become_the_texts_of_training(tmp_path: Path) -> None:
    table = pa.table(
        {
            "bytes": [b"red", None],
            "lasts": pa.array([90, None], pa.duration("s")),
            "at": pa.array([5_400_000_000, None], pa.time64("us")),
            "sure": [True, None],
            "class": pa.array(["x", None]).dictionary_encode(),
            "list": [[1], None],
        }
    )
    objects = DirectoryObjects(tmp_path / "objects")
    objects.create_bucket("bucket")
    parquet.write_table(table, tmp_path / "rows.parquet")
    read = tables.read(objects, [objects.put("bucket", "a", (tmp_path / "rows.parquet").read_bytes())], tables.PARQUET)
    trained = [render.texts(render.chunk(values)).to_pylist() for values in read.drop_columns("list").columns]
    found = rows(tmp_path / "rows.parquet", *table.column_names)
    assert [row[:-1] for row in found] == [list(row) for row in zip(*trained, strict=True)]
    assert [row[-1] for row in found] == ["", ""]


def test_a_quote_that_is_never_closed_takes_no_rows_away(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows cannot be read as CSV after line 4: unexpected end"):
        rows(write(tmp_path / "rows.csv", 'a,b\n1,2\n3,"x\n4,5\n'), "a", "b")


def test_a_stream_is_read_too() -> None:
    assert rows(io.StringIO("a,b\n1,2\n"), "b") == [["2"]]


def test_a_path_stays_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a\n1\n")
    assert as_file(str(path), tmp_path) == path


def test_a_file_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        as_file(tmp_path / "nothing.csv", tmp_path)


def test_records_frames_and_arrow_tables_become_csv(tmp_path: Path) -> None:
    class Frame:
        """Looks like pandas."""

        def to_csv(self, path: Path, *, index: bool) -> None:
            assert index is False
            path.write_text("a,b\n1,2\n")

    for data in ([{"a": 1, "b": 2}], Frame(), pa.table({"a": [1], "b": [2]})):
        assert rows(as_file(data, tmp_path), "a", "b") == [["1", "2"]]


def test_records_may_lack_members(tmp_path: Path) -> None:
    assert rows(as_file([{"a": 1}, {"b": 2, "a": None}], tmp_path), "a", "b") == [["1", ""], ["", "2"]]


@pytest.mark.parametrize("data", [3, [], [1], None])
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, data: object) -> None:
    with pytest.raises(DataError, match="is not a table"):
        as_file(data, tmp_path)


def test_a_column_comes_without_its_empty_values(tmp_path: Path) -> None:
    assert list(column(write(tmp_path / "rows.csv", "a,b\n1,x\n2,\n3,y\n"), "b")) == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("45", 45), (45, 45), (90.0, 90), (" 10M ", 600)],
)
def test_durations_are_read_as_people_write_them(text: str | float, expected: int) -> None:
    assert duration.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "1.5h", "0", 0, -1, "30m1h"])
def test_what_is_no_duration_is_refused_in_words(text: str | float) -> None:
    with pytest.raises(ConfigurationError, match="is not a duration"):
        duration.seconds(text)
