"""Selections: rows of features that stay on disk until they are needed, block by block."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import Features

Array = npt.NDArray[Any]
Maker = Callable[[Features, Array], Features]
"""Adds columns to a block of rows; told which rows of the source they are."""

LARGE_CELLS = 64 << 20
"""Features with more values than this (256 MiB) are not copied for a training that can do without."""

BLOCK_CELLS = 4 << 20


def is_large(rows: int, columns: int) -> bool:
    """Whether so many rows and columns are to be read block by block."""
    return rows * max(columns, 1) > LARGE_CELLS


def counted_rows(training: int, rows: int) -> int:
    """What memory goes by of so many training rows among `rows` in all: where validation rows are more than the usual
    fifth the refit, which learns from them too, needs more than the folds lead to expect.
    """
    return max(training, rows * 4 // 5)


class Selection(Features):
    """`rows` of memory-mapped features, by number, and what `makers` add to them; None: all rows.

    What reads it by `blocks` or `codes` has little of it in memory at a time; `whole`, or any array asked for by its
    name, has all of it. `scratch` is a folder on disk for what an engine can't keep in memory.
    """

    def __init__(
        self, source: Features, rows: Array | None = None, scratch: Path | None = None, makers: tuple[Maker, ...] = ()
    ) -> None:
        empty = _made(source.take(slice(0, 0)), np.empty(0, np.int64), makers)
        own = {"source": source, "rows": rows, "scratch": scratch, "makers": makers}
        columns = {name: getattr(empty, name) for name in ("numeric_names", "categorical_names", "cardinalities")}
        vars(self).update(own | columns)

    source: Features
    rows: Array | None
    scratch: Path | None
    makers: tuple[Maker, ...]

    def __len__(self) -> int:
        return len(self.source) if self.rows is None else len(self.rows)

    @property
    def numeric(self) -> npt.NDArray[np.float32]:
        return self.whole().numeric

    @property
    def categorical(self) -> npt.NDArray[np.int32]:
        return self.whole().categorical

    @property
    def sparse(self) -> Any:
        return self.whole().sparse

    @property
    def is_large(self) -> bool:
        """Whether it is better not had in memory whole."""
        return is_large(len(self), self.columns)

    def take(self, rows: Array | slice) -> Selection:
        """Fewer of the rows; nothing is read."""
        if self.rows is not None:
            mine = self.rows[rows]
        elif isinstance(rows, slice):
            mine = np.arange(*rows.indices(len(self.source)))
        else:
            mine = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Selection(self.source, mine, self.scratch, self.makers)

    def widened(self, maker: Maker) -> Selection:
        """The same rows with what one more maker adds."""
        return Selection(self.source, self.rows, self.scratch, (*self.makers, maker))

    def codes(self, column: int) -> npt.NDArray[np.int32]:
        column_of_all = self.source.codes(column)
        taken = np.array(column_of_all if self.rows is None else column_of_all[self.rows])
        _let_go(self.source)
        return taken

    def whole(self) -> Features:
        taken = self._part(0, len(self))
        _let_go(self.source)
        return taken

    def blocks(self, rows: int | None = None) -> Iterator[Features]:
        """The rows in their order, at most so many at a time (by default some 16 MB); at least one block."""
        size = rows or max(1, BLOCK_CELLS // max(self.columns, 1))
        for start in range(0, max(len(self), 1), size):
            yield self._part(start, min(start + size, len(self)))
            _let_go(self.source)

    def _part(self, start: int, stop: int) -> Features:
        if self.rows is None:
            return _made(self.source.take(slice(start, stop)), np.arange(start, stop), self.makers)
        rows = self.rows[start:stop]
        return _made(self.source.take(rows), rows, self.makers)


def blocks(x: Features) -> Iterator[Features]:
    """The rows at a time such as memory has room for: what is in memory already comes whole."""
    if isinstance(x, Selection):
        yield from x.blocks()
    else:
        yield x


def _made(block: Features, rows: Array, makers: tuple[Maker, ...]) -> Features:
    for maker in makers:
        block = maker(block, rows)
    return block


def _let_go(features: Features) -> None:
    """Lets the kernel take back the pages of the maps, which would count as memory of this process."""
    sparse = () if features.sparse is None else (features.sparse.data, features.sparse.indices)
    for mapped in (features.numeric, features.categorical, *sparse):
        while isinstance(mapped, np.ndarray):  # SciPy's arrays are views of the maps
            mapped = mapped.base
        if isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED)
