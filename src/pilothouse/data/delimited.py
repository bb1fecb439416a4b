"""CSV files: a header, then rows of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from pilothouse.data import numbers, twins
from pilothouse.data.decompress import DataStream
from pilothouse.data.utf8 import Utf8Stream
from pilothouse.errors import DataError
from pilothouse.objects import header
from pilothouse.objects.base import ObjectInfo, Objects
from pilothouse.objects.header import Header

BLOCK = 16 << 20


@dataclass(frozen=True)
class _Layout:
    """How a file is laid out: its columns in their order, what is between them, and whether it names them itself."""

    schema: pa.Schema
    delimiter: str
    header_rows: int = 1

    @property
    def names(self) -> list[str]:
        return list(self.schema.names)


def blocks(
    objects: Objects, infos: Sequence[ObjectInfo], *, gzip: bool, max_bytes: int, object_bytes: int | None = None
) -> Iterator[pa.Table]:
    """The rows of all files as string columns, under the header of the first file that is not blank, some 16 MB at a
    time; without rows at least a block that has none.

    A later file either repeats the header, its columns then in any order, or in the same order with other case and
    blanks; or it starts with its first row. Within a file a row that repeats the header is none: files with headers
    were joined. `max_bytes` is what all files may have, decompressed; with `object_bytes` a
    compressed one may not have more than that.
    """
    first: _Layout | None = None
    left = max_bytes
    for info in infos:
        with objects.open(info.bucket, info.key) as raw:
            most = left if object_bytes is None else min(left, max(object_bytes, info.size))
            source = DataStream(raw, info.uri, gzip, most)
            stream = Utf8Stream(source, info.uri)
            layout = _layout(stream, info.uri, first)
            if layout is not None:
                first = first or layout
                for block in _rows(stream, info.uri, layout):
                    yield block.select(first.names)
        left -= source.count
    if first is None:
        raise DataError(f"{infos[0].uri} is empty. Give it a header line with the column names, and rows.")


def _layout(stream: Utf8Stream, uri: str, first: _Layout | None) -> _Layout | None:
    """The layout of a file, whose first row `stream` then gives next; None of one that is blank."""
    content, found = stream.start(lambda content, ended: _told(content, ended, uri, first))
    if not found.fields:
        return None
    names = header.names(found.fields)
    if first is None and not any(field.strip() for field in found.fields):
        raise DataError(f"The first line of {uri} names no column. Give the file a header line.")
    if first is None or sorted(names) == sorted(first.names):
        stream.after(content[found.end :])
        return _Layout(twins.schema(found.fields, [pa.string()] * len(names)), found.delimiter)
    folded, expected = _folded(found.fields), _folded(twins.header_of(first.schema))
    if folded == expected:
        stream.after(content[found.end :])
        return _Layout(first.schema, found.delimiter)
    named = set(expected) - {""}
    if len(named & set(folded)) > max(1, len(named) / 2):
        differing = sorted(set(names) ^ set(first.names))[0]
        raise DataError(
            f"The header of {uri} differs from that of the first file, for example in {differing!r}. "
            "All files of a channel must have the same columns."
        )
    stream.after(content)
    fits = len(names) == len(first.names)
    return _Layout(first.schema, found.delimiter if fits else first.delimiter, header_rows=0)


def _folded(fields: list[str]) -> list[str]:
    """The cells of a header as far as it may spell them otherwise than the first file's."""
    return [field.strip().casefold() for field in fields]


def _told(content: bytes, ended: bool, uri: str, first: _Layout | None) -> Header | None:
    if first is not None:
        found = header.told(content, ended, uri, first.delimiter)
        if found is not None and len(found.fields) == len(first.names):
            return found
    return header.told(content, ended, uri)


def _rows(body: Utf8Stream, uri: str, layout: _Layout) -> Iterator[pa.Table]:
    ragged: list[tuple[int, int]] = []
    names = layout.names

    def refuse(row: arrow_csv.InvalidRow) -> str:
        ragged.append((row.number + layout.header_rows, row.actual_columns))
        return "error"

    columns = [str(position) for position in range(len(names))]
    last = ""
    yield layout.schema.empty_table()
    try:
        reader = arrow_csv.open_csv(
            body,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=columns),
            parse_options=arrow_csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            # The stream has checked that it is UTF-8.
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), check_utf8=False
            ),
        )
        for batch in reader:
            last = batch.column(len(names) - 1)[-1].as_py() if batch.num_rows else last
            yield _without_headers(pa.Table.from_batches([batch]).rename_columns(names), layout)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise DataError(_complaint(str(error), uri, len(names), ragged)) from error
    if _is_open(last, body.tail, layout.delimiter if len(names) > 1 else ""):
        raise DataError(
            f"The last value of {uri} holds all lines from its quote on, because that is never closed. Close it."
        )


def _without_headers(table: pa.Table, layout: _Layout) -> pa.Table:
    """The rows but for those that are the header once more; numbers, or a single name, may be values all the same."""
    fields = twins.header_of(layout.schema)
    if sum(map(bool, fields)) < 2 or not all(math.isnan(numbers.parse(field)) for field in fields):
        return table
    same = pc.equal(table.column(0), fields[0])
    for column, field in zip(table.columns[1:], fields[1:], strict=True):
        if not pc.any(same).as_py():
            return table
        same = pc.and_(same, pc.equal(column, field))
    return table.filter(pc.invert(same))


def _is_open(last: str, tail: bytes, before: str) -> bool:
    """Whether the last value of a file that ends with `tail` begins with a quote, behind `before`, that nothing closes.

    Arrow doesn't say so: it takes all that is left for the value.
    """
    written = before + '"' + last.replace('"', '""')
    return bool(last.strip()) and not {"\n", "\r"}.isdisjoint(last) and tail.endswith(written.encode()[-len(tail) :])


def _complaint(error: str, uri: str, expected: int, ragged: list[tuple[int, int]]) -> str:
    if ragged:
        row, found = ragged[0]
        return (
            f"Row {row} of {uri} has {found} columns where {expected} are expected (rows are counted from the header, "
            "without blank lines). Correct the row; values that contain the delimiter or quotes must be quoted."
        )
    if "straddling" in error:
        return f"A row of {uri} is longer than {BLOCK >> 20} MB, usually because a quote is never closed. Close it."
    return f"{uri} can't be read as CSV ({error}). Correct the file."
