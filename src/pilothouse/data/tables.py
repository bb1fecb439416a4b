"""Tables: the objects of a channel, read into one Arrow table."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pilothouse.data import delimited, parquet
from pilothouse.data.header import check_names
from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

PARQUET = "x-application/vnd.amazon+parquet"
MAX_BYTES = 16 << 30
"""Bytes that a channel may hold in all, as text or as Arrow columns; no compressed file can grow without bound."""


def read(
    objects: Objects,
    infos: Sequence[ObjectInfo],
    content_type: str = "text/csv;header=present",
    gzip: bool = False,
    max_bytes: int = MAX_BYTES,
) -> pa.Table:
    """All rows of the objects, in their order.

    From CSV every column is a string column, with values as they stand in the file. From Parquet, numeric columns keep
    their type; booleans, dates, times, decimals and categories become the text that a CSV file would have; nested
    columns stay nested. Null stands for a missing value in either. `DataError` names the object and says what
    is wrong with it and what to do.
    """
    if not infos:
        raise DataError("There are no objects to read. Check the S3Uri of the channel.")
    if content_type.split(";")[0].strip().lower() == PARQUET:
        table = _joined(_parquet(objects, infos, max_bytes), infos)
    else:
        table = delimited.read(objects, infos, gzip=gzip, max_bytes=max_bytes)
    if not table.num_rows:
        raise DataError(f"The data at {infos[0].uri} has no rows below its header. Add rows.")
    return table


def _parquet(objects: Objects, infos: Sequence[ObjectInfo], max_bytes: int) -> list[pa.Table]:
    read: list[pa.Table] = []
    for info in infos:
        read.append(parquet.read(objects, info, max_bytes))
        max_bytes -= read[-1].nbytes
    return read


def _joined(tables: list[pa.Table], infos: Sequence[ObjectInfo]) -> pa.Table:
    names = tables[0].column_names
    check_names(names, infos[0].uri)
    for table, info in zip(tables, infos, strict=True):
        if sorted(table.column_names) != sorted(names):
            raise DataError(
                f"The columns of {info.uri} differ from those of {infos[0].uri}. "
                "All files of a channel must have the same."
            )
    try:
        return pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"The files of the channel have columns of different types: {error}. Write all files with one schema."
        ) from error
