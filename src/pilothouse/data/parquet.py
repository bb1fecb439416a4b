"""Parquet files, one at a time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects


def read(objects: Objects, info: ObjectInfo) -> pa.Table:
    """The rows of one Parquet object in the column types of `tables.read`; `DataError` if it is broken."""
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(objects.read(info.bucket, info.key))).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{info.uri} is not a readable Parquet file ({_first_line(error)}). Write it again, or correct ContentType."
        ) from error
    columns = [_plain(table[i], table.schema.field(i).name, info) for i in range(table.num_columns)]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain(column: pa.ChunkedArray, name: str, info: ObjectInfo) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name, info)
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
            f"Column {name!r} of {info.uri} has the type {kind}, whose values can't be read as text "
            f"({_first_line(error)}). Store it as text or numbers, or leave it out."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].strip().rstrip(".")
