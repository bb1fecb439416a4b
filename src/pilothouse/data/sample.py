"""Samples of training rows: what column types and features are learnt from where rows are too many for memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pilothouse.data.spool import Spool

Array = npt.NDArray[Any]

LEARNT_ROWS, LEARNT_BYTES = 500_000, 512 << 20
"""What of a spool features are learnt from: so many rows, or fewer if those would take more memory."""

ROWS_OF_A_CLASS = 1_000
"""Rows of each class that a sample has at least, or all there are."""


def learnt_from(table: pa.Table | Spool, y: Array, rows: Array, seed: int) -> Array:
    """Those of the training `rows`, ascending, that features are learnt from: all of a table in memory.

    `y`: the targets of all rows of the table.
    """
    if not isinstance(table, Spool):
        return rows
    most = LEARNT_BYTES * int(table.rows_of_batches.sum()) // max(table.nbytes, 1)
    return drawn(y, rows, seed, min(LEARNT_ROWS, max(most, ROWS_OF_A_CLASS)))


def drawn(y: Array, rows: Array, seed: int, most: int) -> Array:
    """`most` of `rows` drawn by `seed`, and further ones of classes that have few among them; ascending.

    Targets of more than a thousand different values are no classes.
    """
    if len(rows) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    values, of_row = np.unique(y[rows], return_inverse=True)
    chosen = np.zeros(len(rows), np.bool_)
    chosen[order[:most]] = True
    if len(values) <= ROWS_OF_A_CLASS:
        sizes = np.bincount(of_row)
        by_class = order[np.argsort(of_row[order], kind="stable")]
        place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen[by_class[place < ROWS_OF_A_CLASS]] = True
    return np.asarray(rows[chosen])


def spread(rows: int, most: int) -> Array:
    """The numbers of `most` of so many rows, ascending and all over them, the same each time; of all if they are few.

    One is drawn from each of `most` stretches: where rows of two kinds take turns, every second one is of one kind.
    """
    if rows <= most:
        return np.arange(rows)
    ends = np.arange(most + 1) * rows // most
    return np.asarray(ends[:-1] + (np.random.default_rng(0).random(most) * np.diff(ends)).astype(np.int64))
