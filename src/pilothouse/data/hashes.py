"""Hashes of rows: 64 bits for each, the same for equal rows of whatever block of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data import render

Array = npt.NDArray[Any]

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_SHIFT = np.uint64(32)
_BASE = 0xD1342543DE82EF95
_INVERSE = pow(_BASE, -1, 1 << 64)
_NULL = np.uint64(0xA0761D6478BD642F)


def mixed(hashes: Array, codes: Array) -> Array:
    """uint64: each hash with one more code in it."""
    both = (hashes ^ codes.astype(np.uint64)) * _ODD[0]
    return (both ^ (both >> _SHIFT)) * _ODD[1]


def rows_of(table: pa.Table) -> Array:
    """uint64 [n]: a hash of each row's cells, nested columns left out; null differs from every text and number."""
    hashes = np.zeros(table.num_rows, np.uint64)
    for column in table.columns:
        if not pa.types.is_nested(column.type):
            hashes = mixed(hashes, _values(render.chunk(column)))
    return hashes


def _values(column: pa.Array) -> Array:
    if pa.types.is_string(column.type):
        codes = _texts(column)
    else:
        codes = (
            pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64).view(np.uint64)
        )
    return np.where(column.is_null().to_numpy(zero_copy_only=False), _NULL, codes) if column.null_count else codes


def _texts(column: pa.Array) -> Array:
    """Each text's bytes as the digits of a number to the base `_BASE`, modulo 2^64, and then its length.

    All at once: a running total over the bytes of all texts, whose differences are brought down to the first power.
    """
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, 4 * column.offset).astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    content = column.buffers()[2]
    letters = np.frombuffer(content, np.uint8, last - first, first) if last > first else np.empty(0, np.uint8)
    total = np.zeros(last - first + 1, np.uint64)
    np.cumsum((letters.astype(np.uint64) + np.uint64(1)) * _powers(_BASE, last - first), out=total[1:])
    begin, end = offsets[:-1] - first, offsets[1:] - first
    own = (total[end] - total[begin]) * _powers(_INVERSE, last - first + 1)[begin]
    return mixed(own, end - begin)


def _powers(base: int, count: int) -> Array:
    """uint64 [count]: base^0, base^1, … modulo 2^64, by doubling."""
    powers = np.ones(max(count, 1), np.uint64)
    known = 1
    while known < count:
        more = min(known, count - known)
        powers[known : known + more] = powers[:more] * np.uint64(pow(base, known, 1 << 64))
        known += more
    return powers[:count]
