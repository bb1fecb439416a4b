"""Numbers written as text, one value or one column at a time, with the same outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data.markers import MISSING


def parse(text: str) -> float:
    """The finite decimal number that `text` spells, blanks around it allowed; NaN for anything else."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    if not math.isfinite(value) or "_" in text or not text.isascii():
        return math.nan
    return value


def is_infinite(text: str) -> bool:
    """Whether `text` spells infinity, or a number beyond double precision."""
    try:
        return math.isinf(float(text))
    except ValueError:
        return False


def parse_array(texts: pa.Array) -> npt.NDArray[np.float64]:
    """`parse` over an Arrow string array (no nulls), at Arrow's speed where every value is a number or missing."""
    trimmed = pc.ascii_trim_whitespace(texts)
    for prepared in (_as_it_is, _without_markers):
        try:
            return finite(pc.cast(prepared(trimmed), pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            continue
    encoded = texts.dictionary_encode()
    values = np.array([parse(text) for text in encoded.dictionary.to_pylist()], np.float64)
    rows: npt.NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False)
    return values[rows]


def as_float64(column: pa.Array) -> npt.NDArray[np.float64]:
    """An Arrow array of texts or of numbers in double precision; NaN for null and whatever is no number."""
    if pa.types.is_string(column.type):
        return parse_array(pc.fill_null(column, ""))
    values: npt.NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _as_it_is(trimmed: pa.Array) -> pa.Array:
    return trimmed


def _without_markers(trimmed: pa.Array) -> pa.Array:
    missing = pc.is_in(pc.ascii_lower(trimmed), value_set=pa.array(sorted(MISSING), pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def finite(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`values` with every infinity made NaN."""
    return np.where(np.isfinite(values), values, np.nan)


def to_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """`values` in single precision; what overflows it becomes NaN, as infinities do."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    narrow[~np.isfinite(narrow)] = np.nan
    return narrow


_OVERFLOW = (2 - 2**-24) * 2.0**127
"""From here on doubles round to an infinite float32."""


@dataclass(frozen=True)
class NumberEncoder:
    """Passes a numeric column through; what is not a number is NaN."""

    names: list[str]
    cardinality: int | None = None

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """One number for each text."""
        return to_float32(np.array([parse(text) for text in texts], np.float64)).reshape(-1, 1), None

    def read(self, text: str, numbers: list[float], _codes: list[int]) -> None:
        """Append the number of one text: what `encode` gives, once it is rounded to single precision."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        else:
            if not -_OVERFLOW < value < _OVERFLOW or "_" in text or not text.isascii():
                value = math.nan
        numbers.append(value)

    def encode_array(self, column: pa.Array) -> npt.NDArray[np.float32]:
        """The same for an Arrow array of texts or of numbers; null is NaN."""
        return to_float32(as_float64(column)).reshape(-1, 1)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `restore` needs: JSON and arrays."""
        return {}, {}

    @classmethod
    def restore(cls, column: str, _state: dict[str, Any], _arrays: dict[str, npt.NDArray[Any]]) -> NumberEncoder:
        """The encoder that `state` described."""
        return cls([column])
