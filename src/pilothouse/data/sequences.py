"""Sequences: columns whose values are numbers in an order, "1.5,2,-3", and what is made of each.

A user's word alone makes a column one (feature type `sequence`); the evidence would call it text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.numbers import parse

Array = npt.NDArray[np.float64]

MOST_NUMBERS = 10_000
"""Longer sequences are judged by their beginning."""

_SPREAD = ("minimum", "lower_quartile", "median", "upper_quartile", "maximum")
_SHAPE = ("mean", "deviation", "skewness", "kurtosis")
_ENDS = ("first", "last", "slope", "place_of_minimum", "place_of_maximum")
_MOVES = ("mean_step", "largest_step", "crossings", "peaks")
_LAGS = (1, 2, 5, 10)
_WAVES = ("frequency", "regularity")

STATISTICS = ("count", *_SPREAD, *_SHAPE, *_ENDS, *_MOVES, *(f"autocorrelation_{lag}" for lag in _LAGS), *_WAVES)
"""What is told of a sequence. Places are from 0, the first number, to 1, the last; the slope is that of the least
squares over these places. Steps are absolute differences of neighbours. Crossings (of the mean) and peaks (above both
neighbours) are shares of the numbers. The frequency is that of the strongest wave, in waves a number; the regularity is
its share of the power of all.
"""

_NOTHING = (math.nan,) * len(STATISTICS)
_LARGEST = float(np.finfo(np.float32).max)


def numbers(text: str) -> Array:
    """The numbers of a sequence, in their order; what stands between commas and is no finite number is left out."""
    words = text.strip().strip("[]()").split(",", MOST_NUMBERS)[:MOST_NUMBERS]
    found = [parse(word) for word in words]
    return np.array([number for number in found if math.isfinite(number)], np.float64)


def statistics(text: str) -> tuple[float, ...]:
    """The `STATISTICS` of a sequence; NaN where it is too short, or does not vary, for one of them."""
    values = numbers(text)
    if not len(values):
        return _NOTHING
    with np.errstate(all="ignore"):
        told = [*_spread(values), *_shape(values), *_ends(values), *_moves(values), *_memory(values), *_waves(values)]
    return (float(len(values)), *(value if abs(value) < _LARGEST else math.nan for value in told))


def _spread(values: Array) -> list[float]:
    return [float(quantile) for quantile in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])]


def _shape(values: Array) -> list[float]:
    mean, deviation = float(values.mean()), float(values.std())
    if not deviation > 0:
        return [mean, deviation, math.nan, math.nan]
    standard = (values - mean) / deviation
    return [mean, deviation, float((standard**3).mean()), float((standard**4).mean())]


def _ends(values: Array) -> list[float]:
    first, last = float(values[0]), float(values[-1])
    if len(values) < 2:
        return [first, last, math.nan, math.nan, math.nan]
    place = np.linspace(0, 1, len(values))
    centred = place - 0.5
    slope = float((centred * values).sum() / (centred * centred).sum())
    return [first, last, slope, float(place[values.argmin()]), float(place[values.argmax()])]


def _moves(values: Array) -> list[float]:
    if len(values) < 3:
        return [math.nan] * len(_MOVES)
    steps, above = np.abs(np.diff(values)), values > values.mean()
    peaks = (values[1:-1] > values[:-2]) & (values[1:-1] > values[2:])
    crossings = above[1:] != above[:-1]
    return [float(steps.mean()), float(steps.max()), crossings.sum() / len(values), peaks.sum() / len(values)]


def _memory(values: Array) -> list[float]:
    centred = values - values.mean()
    power = float((centred * centred).sum())
    told = {
        lag: float((centred[lag:] * centred[:-lag]).sum()) / power
        for lag in _LAGS
        if len(values) > lag + 1 and power > 0
    }
    return [told.get(lag, math.nan) for lag in _LAGS]


def _waves(values: Array) -> list[float]:
    if len(values) < 4:
        return [math.nan] * len(_WAVES)
    power = np.abs(np.fft.rfft(values - values.mean())[1:]) ** 2
    total = float(power.sum())
    if not 0 < total < math.inf:
        return [math.nan] * len(_WAVES)
    strongest = int(power.argmax())
    return [(strongest + 1) / len(values), float(power[strongest]) / total]


class SequenceEncoder:
    """The statistics of a sequence as numbers, those that vary in the training rows; NaN where there is no sequence."""

    def __init__(self, column: str, parts: list[str]) -> None:
        self.parts = parts
        self.names = [f"{column}:{part}" for part in parts]
        self.cardinality: int | None = None
        self._positions = [STATISTICS.index(part) for part in parts]

    @classmethod
    def fit(cls, column: str, distinct: Sequence[str]) -> SequenceEncoder:
        """Learn which statistics vary from the distinct training texts."""
        told = np.array([statistics(text) for text in distinct], np.float32).reshape(-1, len(STATISTICS))
        varying = [part for part, values in zip(STATISTICS, told.T, strict=True) if _varies(values)]
        return cls(column, varying or ["mean"])

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """The numbers of each text, in the order of `names`."""
        told = np.array([statistics(text) for text in texts], np.float64).reshape(-1, len(STATISTICS))
        return told[:, self._positions].astype(np.float32), None

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `restore` needs: JSON and arrays."""
        return {"parts": self.parts}, {}

    @classmethod
    def restore(cls, column: str, state: dict[str, Any], _arrays: dict[str, npt.NDArray[Any]]) -> SequenceEncoder:
        """The encoder that `state` described."""
        return cls(column, state["parts"])


def _varies(values: npt.NDArray[np.float32]) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() < known.max())
