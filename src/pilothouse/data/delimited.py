"""CSV files: a header, then rows of texts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from pilothouse.data.decompress import DataStream
from pilothouse.data.header import check_names
from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

BLOCK = 16 << 20
HEADER_BYTES = 8 << 20
"""A header longer than this is taken for a file that is not CSV."""

_BOM = b"\xef\xbb\xbf"
_STEP = 1 << 16
_RECORD = re.compile(rb'(?:[^"\n]++|"[^"]*+")*+\n')
"""A record with its line end: one inside quotes does not count. It never backtracks, so time grows with length only."""


def blocks(
    objects: Objects, infos: Sequence[ObjectInfo], *, gzip: bool, max_bytes: int, object_bytes: int | None = None
) -> Iterator[pa.Table]:
    """The rows of all files as string columns, under the header of the first file, some 16 MB at a time; without rows
    at least a block that has none.

    A later file either repeats the header, its columns then in any order, or starts with its first row. `max_bytes` is
    what all files may have, decompressed; with `object_bytes` a compressed one may not have more than that.
    """
    names: list[str] = []
    left = max_bytes
    for info in infos:
        with objects.open(info.bucket, info.key) as raw:
            most = left if object_bytes is None else min(left, max(object_bytes, info.size))
            stream = DataStream(raw, info.uri, gzip, most)
            for block in _file(stream, info.uri, names):
                names = names or block.column_names
                yield block.select(names)
        left -= stream.count


def _file(stream: DataStream, uri: str, expected: list[str]) -> Iterator[pa.Table]:
    header, head = _first_record(stream, uri)
    first = _fields(header, uri)
    if not expected:
        if not any(first):
            raise DataError(f"{uri} is empty. Give it a header line with the column names, and rows.")
        check_names(first, uri)
        return _rows(stream.after(head), uri, first, header_rows=1)
    if sorted(first) == sorted(expected):
        return _rows(stream.after(head), uri, first, header_rows=1)
    if len(set(first) & set(expected)) > len(expected) / 2:
        differing = sorted(set(first) ^ set(expected))[0]
        raise DataError(
            f"The header of {uri} differs from that of the first file, for example in {differing!r}. "
            "All files of a channel must have the same columns."
        )
    return _rows(stream.after(header + head), uri, expected, header_rows=0)


def _first_record(stream: DataStream, uri: str) -> tuple[bytes, bytes]:
    """The bytes of the first record that is not blank, and what was read beyond it."""
    content = stream.read(_STEP).removeprefix(_BOM)
    while True:
        content = content.lstrip(b"\r\n")
        record = _RECORD.match(content)
        if record is not None:
            return content[: record.end()], content[record.end() :]
        if len(content) > HEADER_BYTES:
            raise DataError(f"{uri} has no end of line in its first {HEADER_BYTES >> 20} MB. Is it a CSV file?")
        more = stream.read(max(_STEP, len(content)))
        if not more:
            return content, b""
        content += more


def _fields(record: bytes, uri: str) -> list[str]:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{uri} is not UTF-8 text. Save it as UTF-8 CSV, or correct ContentType.") from error
    if "\x00" in text:
        raise DataError(f"{uri} is not a CSV text file. Save it as UTF-8 CSV, or correct ContentType.")
    try:
        return next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise DataError(
            f"The first line of {uri} can't be read as CSV ({error}). "
            "Give the file a header line, and close every quote."
        ) from error


def _rows(body: Any, uri: str, names: list[str], header_rows: int) -> Iterator[pa.Table]:
    ragged: list[tuple[int, int]] = []

    def refuse(row: Any) -> str:
        ragged.append((row.number + header_rows, row.actual_columns))
        return "error"

    columns = [str(position) for position in range(len(names))]
    yield pa.table({name: pa.array([], pa.string()) for name in names})
    try:
        reader = arrow_csv.open_csv(
            body,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=columns),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch]).rename_columns(names)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise DataError(_complaint(str(error), uri, len(names), ragged)) from error


def _complaint(error: str, uri: str, expected: int, ragged: list[tuple[int, int]]) -> str:
    if ragged:
        row, found = ragged[0]
        return (
            f"Row {row} of {uri} has {found} columns where {expected} are expected (rows are counted from the header, "
            "without blank lines). Correct the row; values that contain commas or quotes must be quoted."
        )
    if "UTF8" in error:
        return f"{uri} is not UTF-8 text ({error}). Save it as UTF-8 CSV."
    if "straddling" in error:
        return f"A row of {uri} is longer than {BLOCK >> 20} MB, usually because a quote is never closed. Close it."
    return f"{uri} can't be read as CSV ({error}). Correct the file."
