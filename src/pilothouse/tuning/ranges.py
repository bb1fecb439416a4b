"""The space that a search moves in: hyperparameter ranges as the sides of a unit cube.

A numeric range is scaled so that equal distances on its side are equal distances in x (Linear), log x (Logarithmic) or
log(1 - x) (ReverseLogarithmic). The whole numbers of an integer range get a cell each, the ends as large a one as
the others. A categorical range has a cell for each of its texts, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilothouse.catalog.tuning_ranges import (
    CategoricalRange,
    ContinuousRange,
    IntegerRange,
    Range,
    Value,
    combinations,
)

Point = tuple[float, ...]
"""A place in the unit cube: a coordinate from 0 to 1 for each range."""


@dataclass(frozen=True)
class Space:
    """The ranges of one training job definition, in a fixed order."""

    ranges: tuple[Range, ...]

    @property
    def is_finite(self) -> bool:
        """Whether it has a countable number of points."""
        return math.isfinite(combinations(self.ranges))

    def values(self, point: Sequence[float]) -> dict[str, str]:
        """The texts that a training job at this point is given, by hyperparameter."""
        return {each.name: each.text(value_at(each, unit)) for each, unit in zip(self.ranges, point, strict=True)}

    def point(self, values: Mapping[str, str]) -> Point | None:
        """Where a trial with these values stands; None if it lacks one, or has one that is not in its range."""
        found = [self._coordinate(each, values.get(each.name)) for each in self.ranges]
        known = tuple(unit for unit in found if unit is not None)
        return known if len(known) == len(found) else None

    def snapped(self, point: Sequence[float]) -> Point:
        """The middle of the cells that the point lies in; unchanged where the range is continuous."""
        pairs = zip(self.ranges, point, strict=True)
        return tuple(coordinate(each, value_at(each, unit)) for each, unit in pairs)

    @staticmethod
    def _coordinate(each: Range, text: str | None) -> float | None:
        try:
            value = each.value(text) if text is not None else None
        except ValueError:
            return None
        return coordinate(each, value) if value is not None and each.holds(value) else None


def value_at(each: Range, unit: float) -> Value:
    """The value of a range at a coordinate, which is clipped to 0 to 1."""
    unit = min(1.0, max(0.0, unit))
    if isinstance(each, CategoricalRange):
        return each.values[min(int(unit * len(each.values)), len(each.values) - 1)]
    if isinstance(each, IntegerRange) and each.scaling == "Linear":  # exact for whole numbers of any size
        return each.low + min(math.floor(unit * each.size), each.high - each.low)
    low, high = _ends(each)
    value = _unscaled(each, low * (1 - unit) + high * unit)
    if isinstance(each, IntegerRange):
        return min(each.high, max(each.low, _nearest(value)))
    return min(each.high, max(each.low, value))


def coordinate(each: Range, value: Value) -> float:
    """Where in 0 to 1 a value of the range lies: the middle of its cell, for what has cells."""
    if isinstance(each, CategoricalRange):
        return (each.values.index(str(value)) + 0.5) / len(each.values)
    if isinstance(each, IntegerRange) and each.scaling == "Linear":
        return (int(value) - each.low + 0.5) / each.size
    low, high = _ends(each)
    length = high / 2 - low / 2  # halves, since the widest ranges are longer than the largest float
    return min(1.0, max(0.0, (_scaled(each, float(value)) / 2 - low / 2) / length)) if length else 0.5


def _ends(each: IntegerRange | ContinuousRange) -> tuple[float, float]:
    margin = 0.5 if isinstance(each, IntegerRange) else 0.0
    return _scaled(each, each.low - margin), _scaled(each, each.high + margin)


def _scaled(each: IntegerRange | ContinuousRange, value: float) -> float:
    match each.scaling:
        case "Logarithmic":
            return math.log(value)
        case "ReverseLogarithmic":
            return -math.log1p(-value)
        case "Linear":
            return float(value)


def _unscaled(each: IntegerRange | ContinuousRange, scaled: float) -> float:
    match each.scaling:
        case "Logarithmic":
            return math.exp(scaled)
        case "ReverseLogarithmic":
            return -math.expm1(-scaled)
        case "Linear":
            return scaled


def _nearest(value: float) -> int:
    """Halves go up, where `round` would send them to the even neighbour and make cells of unequal size."""
    return math.floor(value + 0.5)
