"""Tables: the objects of a channel, read into one Arrow table, or into a spool where that would be too large."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pilothouse.data import decompress, delimited, parquet, spool
from pilothouse.data.spool import Spool
from pilothouse.errors import DataError
from pilothouse.objects.base import ObjectInfo, Objects

PARQUET = "x-application/vnd.amazon+parquet"
MAX_BYTES = 16 << 30
"""Bytes that a table in memory may hold, and a compressed object: no compressed file can grow without bound."""

MAX_SPOOLED_BYTES = 100 * 10**9
"""Bytes that a channel may hold in all, as text or as Arrow columns; SageMaker's own limit for the input of a job."""

SPOOLED_FROM = 128 << 20
"""Channels that are expected to have more bytes than this together, as text, are not read into memory."""

_INFLATION = 6
"""How much larger than a compressed object, gzip or Parquet, its text is taken to be."""

_LOOKED_INTO = 100
"""So many objects, the largest, are looked into for gzip that nothing but its bytes tells."""


@dataclass(frozen=True)
class Listed:
    """The objects of a channel, and how they are to be read."""

    infos: Sequence[ObjectInfo]
    content_type: str = "text/csv;header=present"
    gzip: bool = False

    @property
    def is_parquet(self) -> bool:
        return self.content_type.split(";")[0].strip().lower() == PARQUET

    @property
    def expected_bytes(self) -> int:
        """Of the text, as far as names and declarations tell what is compressed."""
        return sum(info.size * (_INFLATION if self.is_packed(info) else 1) for info in self.infos)

    def is_packed(self, info: ObjectInfo) -> bool:
        """Whether the object is known to be compressed before it is looked into."""
        return self.gzip or self.is_parquet or info.key.lower().endswith(".gz")


@contextmanager
def opened(objects: Objects, channels: Sequence[Listed], folder: Path) -> Iterator[list[pa.Table | Spool]]:
    """The rows of each of the channels: tables in memory, or spools in `folder` if all are too large together.

    The folder is emptied before, so what a killed process left there does no harm, and is gone afterwards.
    """
    _check_size(channels)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if not _is_large(objects, channels):
            yield [read(objects, channel.infos, channel.content_type, channel.gzip) for channel in channels]
        else:
            folder.mkdir(parents=True)
            yield [spooled(objects, channel, folder / f"{i}.arrow") for i, channel in enumerate(channels)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    channel = Listed(infos, content_type, gzip)
    _check_listed(channel)
    if channel.is_parquet:
        table = _joined(_parquet(objects, infos, max_bytes), infos)
    else:
        table = pa.concat_tables(delimited.blocks(objects, infos, gzip=gzip, max_bytes=max_bytes))
    _check_rows(table, channel)
    return table


def spooled(objects: Objects, channel: Listed, path: Path) -> Spool:
    """The same rows as `read` gives, in a spool at `path`."""
    _check_listed(channel)
    if channel.is_parquet:
        blocks = _parquet_blocks(objects, channel.infos)
    else:
        blocks = delimited.blocks(
            objects, channel.infos, gzip=channel.gzip, max_bytes=MAX_SPOOLED_BYTES, object_bytes=MAX_BYTES
        )
    first = next(blocks)
    table = spool.write(path, first.schema, blocks)
    _check_rows(table, channel)
    return table


def _is_large(objects: Objects, channels: Sequence[Listed]) -> bool:
    """Whether the text of all channels is too large for memory; objects are looked into only if that decides it."""
    expected = sum(channel.expected_bytes for channel in channels)
    unknown = (info for channel in channels for info in channel.infos if not channel.is_packed(info))
    largest = sorted(unknown, key=lambda info: info.size, reverse=True)[:_LOOKED_INTO]
    more = [info.size * (_INFLATION - 1) for info in largest]
    for i, info in enumerate(largest):
        if not expected <= SPOOLED_FROM < expected + sum(more[i:]):
            break
        if decompress.is_gzip(objects, info):
            expected += more[i]
    return expected > SPOOLED_FROM


def _check_size(channels: Sequence[Listed]) -> None:
    stored = sum(info.size for channel in channels for info in channel.infos)
    if stored > MAX_SPOOLED_BYTES:
        raise DataError(
            f"The data is too large: the objects of the channels have {stored / 1e9:.1f} GB, "
            f"and at most {MAX_SPOOLED_BYTES / 1e9:.0f} GB are read. Use fewer rows or columns."
        )


def _check_listed(channel: Listed) -> None:
    if not channel.infos:
        raise DataError("There are no objects to read. Check the S3Uri of the channel.")


def _check_rows(table: pa.Table | Spool, channel: Listed) -> None:
    if not table.num_rows:
        raise DataError(f"The data at {channel.infos[0].uri} has no rows below its header. Add rows.")


def _parquet(objects: Objects, infos: Sequence[ObjectInfo], max_bytes: int) -> list[pa.Table]:
    read: list[pa.Table] = []
    for info in infos:
        read.append(parquet.read(objects, info, max_bytes))
        max_bytes -= read[-1].nbytes
    return read


def _parquet_blocks(objects: Objects, infos: Sequence[ObjectInfo]) -> Iterator[pa.Table]:
    """First a block without rows, of the schema that all blocks have."""
    schema = _joined([next(parquet.blocks(objects, info, MAX_BYTES)) for info in infos], infos).schema
    yield schema.empty_table()
    left = MAX_SPOOLED_BYTES
    for info in infos:
        for block in parquet.blocks(objects, info, min(left, MAX_BYTES)):
            left -= block.nbytes
            yield _united([schema.empty_table(), block.select(schema.names)])


def _joined(tables: list[pa.Table], infos: Sequence[ObjectInfo]) -> pa.Table:
    names = tables[0].column_names
    if not names:
        raise DataError(f"{infos[0].uri} has no columns. Give it a target column and columns to learn from.")
    for table, info in zip(tables, infos, strict=True):
        if sorted(table.column_names) != sorted(names):
            raise DataError(
                f"The columns of {info.uri} differ from those of {infos[0].uri}. "
                "All files of a channel must have the same."
            )
    return _united([table.select(names) for table in tables])


def _united(tables: Iterable[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"The files of the channel have columns of different types: {error}. Write all files with one schema."
        ) from error
