"""Parquet files, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data import twins
from pilothouse.data.ranged import RangedFile
from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

BATCH_ROWS = 1 << 16
BATCH_BYTES = 64 << 20
"""Bytes that a batch has at most, and the texts of a piece of it, if rows are of equal size."""

BUFFER = 1 << 20
"""Bytes of a column that are asked for at a time, of an object that is not read whole."""

_TEXT = "BYTE_ARRAY"
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, _TEXT: 4}
"""Bytes of a value in memory; of a text, of its place in the dictionary."""


def read(objects: Objects, info: ObjectInfo, max_bytes: int) -> pa.Table:
    """The rows of one Parquet object in the column types of `tables.read`.

    `DataError` if it is broken, or once it turns out to take more than `max_bytes` in memory: encodings and compression
    make a small file of a large table.
    """
    if info.size > max_bytes:
        raise _too_large(info)
    with _readable(info):
        content = pa.BufferReader(objects.read(info.bucket, info.key))
        file = _Parquet(content, info, max_bytes)
        file.check_texts()
        return pa.concat_tables([file.schema.empty_table(), *file.blocks()])


def blocks(objects: Objects, info: ObjectInfo, max_bytes: int) -> Iterator[pa.Table]:
    """The same rows, a block at a time and first one that has none, without the whole object in memory."""
    with _readable(info):
        file = _Parquet(RangedFile(objects, info), info, max_bytes, BUFFER)
        yield file.schema.empty_table()
        yield from file.blocks()


@contextmanager
def _readable(info: ObjectInfo) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{info.uri} is not a readable Parquet file ({_first_line(error)}). Write it again, or correct ContentType."
        ) from error


class _Parquet:
    """A file that is read in batches, which may take `max_bytes` in all. `DataError` if its footer says more."""

    def __init__(self, source: Any, info: ObjectInfo, max_bytes: int, buffer: int = 0) -> None:
        import pyarrow.parquet as pq

        self._info, self._max_bytes = info, max_bytes
        metadata = pq.read_metadata(source)
        expected = self._expected = _bytes_expected(metadata)
        if expected > max_bytes:
            raise _too_large(info)
        self._rows = (
            BATCH_ROWS if not expected else max(1, min(BATCH_ROWS, BATCH_BYTES * metadata.num_rows // expected))
        )
        # As dictionaries, texts that repeat stay small until it is known how much room they take.
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        self._texts = [leaf.path for leaf in leaves if leaf.physical_type == _TEXT]
        self._file = pq.ParquetFile(source, read_dictionary=self._texts, buffer_size=buffer)
        self.schema = plain(self._file.schema_arrow.empty_table(), info.uri).schema

    def check_texts(self) -> None:
        """Reads the texts before the rest: a file that takes too much is refused before it takes it."""
        batches = self._file.iter_batches(batch_size=self._rows, columns=self._texts, use_threads=False)
        texts = sum(_text_bytes(pa.Table.from_batches([batch])) for batch in batches)
        if self._expected + texts > self._max_bytes:
            raise _too_large(self._info)

    def blocks(self) -> Iterator[pa.Table]:
        left = self._max_bytes
        for batch in self._file.iter_batches(batch_size=self._rows, use_threads=False):
            for piece in _pieces(pa.Table.from_batches([batch])):
                block = plain(piece, self._info.uri)
                left -= block.nbytes
                if left < 0:
                    raise _too_large(self._info)
                yield block


def _bytes_expected(metadata: Any) -> int:
    """Bytes of all values by their types, texts not counted; what the footer says is known before anything is read."""
    leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    widths = [_WIDTHS.get(leaf.physical_type) or leaf.length for leaf in leaves]
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return sum(group.column(i).num_values * width for group in groups for i, width in enumerate(widths))


def plain(table: pa.Table, uri: str) -> pa.Table:
    """A table as a Parquet file has it, in the column types of `tables.read`; `DataError` for what has no text."""
    columns = [_plain(column, name, uri) for name, column in zip(table.column_names, table.columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=twins.schema(table.column_names, [column.type for column in columns]))


def _text_bytes(table: pa.Table) -> int:
    """Bytes that the texts of dictionary columns have once each row has its own."""
    chunks = (chunk for column in table.columns if pa.types.is_dictionary(column.type) for chunk in column.chunks)
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in chunks)
    return sum(pc.sum(each).as_py() or 0 for each in lengths)


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """The rows in pieces small enough for their texts to be written out at a time."""
    if table.num_rows < 2 or _text_bytes(table) <= BATCH_BYTES:
        yield table
        return
    half = table.num_rows // 2
    yield from _pieces(table.slice(0, half))
    yield from _pieces(table.slice(half))


def _too_large(info: ObjectInfo) -> DataError:
    return DataError(
        f"The data is too large: with {info.uri} it exceeds the limit once decompressed. Use fewer rows or columns."
    )


def _plain(column: pa.ChunkedArray, name: str, uri: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name, uri)
    if pa.types.is_nested(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.cast(pa.float32()) if pa.types.is_float16(kind) else column
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "True", "False")
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"Column {name!r} of {uri} has the type {kind}, whose values can't be read as text "
            f"({_first_line(error)}). Store it as text or numbers, or leave it out."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].strip().rstrip(".")
