"""Duplicates: rows recorded twice, which must not be learnt from on one side of a split and judged on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data.hashes import mixed, rows_of
from pilothouse.data.spool import Spool

Array = npt.NDArray[Any]

MOST_DISAGREEMENT = 0.1
"""Of the disagreement that chance would give: rows of equal cells whose targets differ more than this are not copies of
one record but cases that happen to look alike, as they do where columns have few values. If such sets of rows differ so
much on average, whatever their sizes, looking alike is the data's nature."""


def groups(table: pa.Table | Spool, y: Array) -> npt.NDArray[np.int64] | None:
    """A number for each row that rows share when all their cells and their targets are equal, unless targets of these
    cells differ; None where there are no such rows, or where equal cells are the data's nature.

    Keeping rows together whose cells have other targets too would do harm: with one of two targets of the same cells
    held out whole, a model has seen the other one only.
    """
    if not table.num_rows or not table.column_names:
        return None
    if isinstance(table, Spool):
        cells = _numbered(np.concatenate([rows_of(block) for block in table.blocks()]))
    else:
        cells = _numbered(_hashes(table))
    both = _numbered(mixed(mixed(np.zeros(len(y), np.uint64), cells), _numbered(y)))
    disagreement, most = _disagreement(cells, both), MOST_DISAGREEMENT * _by_chance(y)
    known = disagreement[~np.isnan(disagreement)]
    if not len(known) or known.mean() > most:
        return None
    alone = (disagreement > most)[cells]
    both[alone] = len(both) + np.arange(np.count_nonzero(alone))
    both = _numbered(both)
    return None if both.max() + 1 == len(both) else both


def _hashes(table: pa.Table) -> Array:
    """64 bits for each row; that rows which differ share them is one chance in 10^8 with 500,000 rows."""
    hashes = np.zeros(table.num_rows, np.uint64)
    for column in table.columns:
        if not pa.types.is_nested(column.type):
            hashes = mixed(hashes, _codes(column))
    return hashes


def _codes(column: pa.ChunkedArray) -> Array:
    encoded = column.combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode(null_encoding="encode")
    return np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), np.int64)


def _numbered(values: Array) -> npt.NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64).ravel()


def _disagreement(cells: Array, both: Array) -> Array:
    """Of each set of rows of equal cells, the chance that two of them have different targets; NaN of single rows."""
    sizes = np.bincount(cells)
    differing = np.bincount(cells, weights=sizes[cells] - np.bincount(both)[both])
    with np.errstate(invalid="ignore"):
        return np.asarray(differing / (sizes * (sizes - 1)))


def _by_chance(y: Array) -> float:
    shares = np.bincount(_numbered(y)) / len(y)
    return float(1 - (shares**2).sum())
