"""Arrow columns as texts: how a typed value would be written in a CSV file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_text(value: Any) -> str:
    """One Python value as a CSV cell: None is blank, and 3.0 is "3"."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 1e15:
        return str(int(value))
    return str(value)


def texts(column: pa.Array) -> pa.Array:
    """A column of texts or numbers as an Arrow string array; null is blank, and 3.0 is "3"."""
    if pa.types.is_string(column.type):
        return pc.fill_null(column, "")
    if pa.types.is_integer(column.type):
        return pc.fill_null(pc.cast(column, pa.string()), "")
    encoded = column.dictionary_encode()
    distinct = pa.array([as_text(value) for value in encoded.dictionary.to_numpy(zero_copy_only=False)], pa.string())
    return pc.fill_null(distinct.take(encoded.indices), "")


def chunk(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece."""
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
