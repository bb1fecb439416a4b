"""A channel as rows with labels, which stay on disk: libsvm, or CSV, Parquet and RecordIO with the label first."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pilothouse.data import features
from pilothouse.data.features import Features
from pilothouse.data.selection import BLOCK_CELLS, Selection, is_large
from pilothouse.errors import DataError
from pilothouse.training.algorithms import files
from pilothouse.training.algorithms.files import CSV, LIBSVM, PARQUET, RECORDIO

Array = np.ndarray[Any, Any]


class Block(NamedTuple):
    """Some rows in memory: `values` (float32, NaN where one is missing, or a sparse matrix), labels, maybe weights."""

    values: Any
    labels: Array
    weights: Array | None


@dataclass(frozen=True)
class Labelled:
    """Rows of `width` features, whose values are on disk, with their labels and maybe weights."""

    rows: Selection
    width: int
    labels: Array
    weights: Array | None = None

    @property
    def is_sparse(self) -> bool:
        """Whether values that are not there are zeros."""
        return self.rows.source.sparse is not None

    @property
    def is_large(self) -> bool:
        """Whether the values are better not had in memory all at once."""
        return is_large(self._values, 1)

    @property
    def _values(self) -> int:
        sparse = self.rows.source.sparse
        return len(self.labels) * self.width if sparse is None else int(sparse.nnz)

    def whole(self) -> Block:
        """All rows."""
        return self._block(0, self.rows.whole())

    def blocks(self) -> Iterator[Block]:
        """The rows in their order, some 16 MB at a time."""
        start = 0
        for block in self.rows.blocks(max(1, BLOCK_CELLS * len(self.labels) // max(self._values, 1))):
            yield self._block(start, block)
            start += len(block)

    def widened(self, width: int) -> Labelled:
        """The same with so many features: libsvm files leave out what they have no value of."""
        if self.width != width and not self.is_sparse:
            raise DataError(f"The channels differ in their columns: {self.width} and {width} features.")
        return replace(self, width=width)

    def _block(self, start: int, x: Features) -> Block:
        from scipy import sparse

        values, rows = x.numeric, slice(start, start + len(x))
        if x.sparse is not None:
            shape = (len(x), self.width)
            values = sparse.csr_matrix((x.sparse.data, x.sparse.indices, x.sparse.indptr), shape, copy=False)
        return Block(values, self.labels[rows], None if self.weights is None else self.weights[rows])


def read(
    folder: Path, content_type: str | None, scratch: Path, weighted: bool = False, *, usual: str = LIBSVM[0]
) -> Labelled:
    """All files below `folder`, kept in the folder `scratch`; without a content type they are of the `usual` one.

    `weighted`: the second column of a CSV file is the weight of its row. `DataError` if the files can't be read so.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    kind = (content_type or usual).partition(";")[0].strip().lower()
    if kind in LIBSVM:
        blocks = (Block(x, labels, None) for path in paths for x, labels in files.sparse_rows(path))
    elif kind in (CSV, PARQUET, RECORDIO):
        parted = partial(_parted, weighted=weighted and kind != RECORDIO)
        blocks = (parted(table) for path in paths for table in files.tables(path, kind))
    else:
        known = f"{CSV}, {LIBSVM[0]}, {PARQUET} or {RECORDIO}"
        raise DataError(f"The channel {folder.name} has ContentType {content_type}. Use {known}.")
    try:
        return _kept(blocks, scratch / folder.name, folder.name)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.ENOSPC):
            raise
        raise DataError(
            f"The channel {folder.name} does not fit on the volume once it is read. Raise VolumeSizeInGB."
        ) from error


def _parted(table: Array, weighted: bool) -> Block:
    first = 2 if weighted else 1
    if table.shape[1] <= first:
        raise DataError(
            "There is no feature: the first column is the label" + (", the second the weight." if weighted else ".")
        )
    labels = table[:, 0].copy()
    if np.isnan(labels).any():
        raise DataError(
            "The first column, which is the label, has values that are no numbers. The files need no header."
        )
    return Block(table[:, first:], labels, table[:, 1].copy() if weighted else None)


def _kept(blocks: Iterator[Block], target: Path, channel: str) -> Labelled:
    labels: list[Array] = []
    weights: list[Array] = []
    widths: set[int] = set()

    def read() -> Iterator[Features]:
        for values, own_labels, own_weights in blocks:
            if not len(own_labels):
                continue
            labels.append(own_labels)
            weights.extend([] if own_weights is None else [own_weights])
            x = _features(values)
            widths.add(len(x.numeric_names) if x.sparse is None else int(x.sparse.indices.max(initial=-1)) + 1)
            if x.sparse is None and len(widths) > 1:
                raise DataError("The files of a channel differ in the number of their columns.")
            yield x
        if not labels:
            raise DataError(f"The channel {channel} holds no data.")

    features.write(target, read())
    rows = Selection(Features.load(target), None, target)
    return Labelled(rows, max(widths), np.concatenate(labels), np.concatenate(weights) if weights else None)


def _features(values: Any) -> Features:
    """A block as it is kept: the numbers of dense values, or sparse ones alone."""
    none = np.empty((values.shape[0], 0), np.int32)
    if isinstance(values, np.ndarray):
        return Features(values, none, [str(place) for place in range(values.shape[1])], [], [])
    return Features(none.astype(np.float32), none, [], [], [], values)
