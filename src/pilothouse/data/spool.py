"""Spools: tables on disk, for data larger than memory, written once and then read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Spool:
    """A table in an Arrow IPC file of record batches, or some of its rows and columns.

    It has those methods of `pa.Table` that fit data which is never whole in memory, with the same meaning. `nbytes` is
    what the whole table would take in memory. `kept` marks the rows of the file that belong to it; None: all.
    """

    path: Path
    schema: pa.Schema
    rows_of_batches: Array
    nbytes: int
    kept: npt.NDArray[np.bool_] | None = None

    @property
    def num_rows(self) -> int:
        return int(self.rows_of_batches.sum() if self.kept is None else np.count_nonzero(self.kept))

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def select(self, names: Sequence[str]) -> Spool:
        """The same rows with the columns `names`, in that order."""
        return replace(self, schema=pa.schema([self.schema.field(name) for name in names]))

    def filter(self, mask: pa.Array) -> Spool:
        """The rows that `mask`, a boolean for each row, has."""
        wanted = np.asarray(mask, np.bool_)
        if self.kept is None:
            return replace(self, kept=wanted)
        kept = self.kept.copy()
        kept[self.kept] = wanted
        return replace(self, kept=kept)

    def take(self, rows: Array) -> pa.Table:
        """The rows of these numbers, which must ascend, as a table in memory."""
        if self.kept is not None:
            rows = np.flatnonzero(self.kept)[rows]
        wanted = np.zeros(int(self.rows_of_batches.sum()), np.bool_)
        wanted[rows] = True
        return pa.concat_tables([self.schema.empty_table(), *replace(self, kept=wanted).blocks()])

    def blocks(self) -> Iterator[pa.Table]:
        """The rows in their order, a batch of the file at a time; at least one block, which may be empty."""
        if not self.num_rows:
            yield self.schema.empty_table()
            return
        # Column by column from the file, not through a map: mapped pages would count as memory of the process.
        with pa.OSFile(str(self.path)) as source:
            file = pa.ipc.open_file(source)
            places = [file.schema.get_field_index(name) for name in self.schema.names]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places, use_threads=False))
            begun = 0
            for number, rows in enumerate(self.rows_of_batches.tolist()):
                mine = None if self.kept is None else self.kept[begun : begun + rows]
                begun += rows
                if mine is None or mine.any():
                    block = pa.Table.from_batches([reader.get_batch(number)]).select(self.schema.names)
                    yield block if mine is None or mine.all() else block.filter(pa.array(mine))


def write(path: Path, schema: pa.Schema, blocks: Iterable[pa.Table]) -> Spool:
    """A spool at `path` of blocks that have the columns of `schema`, whatever their order."""
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    rows, size = list[int](), 0
    with pa.OSFile(str(path), "wb") as sink, closing(pa.ipc.new_file(sink, schema, options=options)) as writer:
        for block in blocks:
            for batch in block.select(schema.names).combine_chunks().to_batches():
                writer.write_batch(batch)
                rows.append(batch.num_rows)
                size += batch.nbytes
    return Spool(path, schema, np.array(rows, np.int64), size)


def blocks(table: pa.Table | Spool) -> Iterator[pa.Table]:
    """The rows of a table, at a time such as memory has room for: one that is in memory already comes whole."""
    if isinstance(table, Spool):
        yield from table.blocks()
    else:
        yield table
