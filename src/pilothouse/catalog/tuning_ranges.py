"""Ranges of tunable hyperparameters: their kinds and scalings, their texts on the wire, and what makes one valid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pilothouse.errors import ValidationError

Scaling = Literal["Linear", "Logarithmic", "ReverseLogarithmic"]
Value = int | float | str
"""A value of an integer, a continuous or a categorical hyperparameter."""

MOST_CATEGORIES = 30
_LARGEST_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_WIDE = {"integer": 1000, "continuous": 100}
"""How many times MinValue MaxValue is at least for the scaling Auto to mean Logarithmic."""

_SWAP = "Swap them, or correct one."

Document = dict[str, Any]
_N = TypeVar("_N", int, float)


@dataclass(frozen=True)
class IntegerRange:
    """The whole numbers from `low` to `high`, both included."""

    kind: ClassVar[str] = "integer"
    name: str
    low: int
    high: int
    scaling: Scaling = "Linear"

    @classmethod
    def of(cls, document: Document) -> IntegerRange:
        """From an IntegerParameterRange; `ValidationError` says what is wrong with it."""
        low, high = _bounds(document, cls.kind, integer)
        _scalable(document, cls.kind, low)
        return cls(document["Name"], low, high, _scaling(document, cls.kind, low, high))

    def value(self, text: str) -> int:
        """What a training job's text means; `ValueError` if it is no whole number."""
        return integer(text)

    def text(self, value: Value) -> str:
        """What a training job is given: no decimals, no exponent."""
        return str(value)

    def holds(self, value: Value) -> bool:
        """Whether the range has this value."""
        return isinstance(value, int) and self.low <= value <= self.high

    @property
    def size(self) -> float:
        """The number of its values."""
        return self.high - self.low + 1


@dataclass(frozen=True)
class ContinuousRange:
    """The numbers from `low` to `high`, both included."""

    kind: ClassVar[str] = "continuous"
    name: str
    low: float
    high: float
    scaling: Scaling = "Linear"

    @classmethod
    def of(cls, document: Document) -> ContinuousRange:
        """From a ContinuousParameterRange; `ValidationError` says what is wrong with it."""
        low, high = _bounds(document, cls.kind, number)
        _scalable(document, cls.kind, low)
        if document.get("ScalingType") == "ReverseLogarithmic" and not 0 <= low <= high < 1:
            raise ValidationError(
                f"ReverseLogarithmic scaling of hyperparameter '{document['Name']}' is valid only for ranges within "
                f"0 <= x < 1.0; it is {document['MinValue']} to {document['MaxValue']}. Use Linear or Auto."
            )
        return cls(document["Name"], low, high, _scaling(document, cls.kind, low, high))

    def value(self, text: str) -> float:
        """What a training job's text means; `ValueError` if it is no finite number."""
        return number(text)

    def text(self, value: Value) -> str:
        """What a training job is given: the shortest text that reads as the same float."""
        return repr(float(value))

    def holds(self, value: Value) -> bool:
        """Whether the range has this value."""
        return not isinstance(value, str) and self.low <= value <= self.high

    @property
    def size(self) -> float:
        """1 where both ends are equal, else infinity."""
        return 1 if self.low == self.high else math.inf


@dataclass(frozen=True)
class CategoricalRange:
    """One of these texts."""

    kind: ClassVar[str] = "categorical"
    name: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, document: Document) -> CategoricalRange:
        """From a CategoricalParameterRange; `ValidationError` says what is wrong with it."""
        name, values = document["Name"], tuple(document["Values"])
        if not 1 <= len(values) <= MOST_CATEGORIES:
            raise ValidationError(
                f"The categorical hyperparameter '{name}' has {len(values)} values; "
                f"it must have at least 1 and at most {MOST_CATEGORIES}."
            )
        if len(set(values)) < len(values):
            raise ValidationError(f"The values of the categorical hyperparameter '{name}' must be unique.")
        return cls(name, values)

    def value(self, text: str) -> str:
        """The text itself."""
        return text

    def text(self, value: Value) -> str:
        """The text itself."""
        return str(value)

    def holds(self, value: Value) -> bool:
        """Whether it is one of the texts."""
        return value in self.values

    @property
    def size(self) -> float:
        """The number of its values."""
        return len(self.values)


Range = IntegerRange | ContinuousRange | CategoricalRange


def ranges(document: Document) -> tuple[Range, ...]:
    """The ranges of a ParameterRanges document, AutoParameters aside: integer, continuous, categorical ones, each in
    the request's order. `ValidationError` for the first that is not valid.
    """
    return (
        *map(IntegerRange.of, document.get("IntegerParameterRanges", [])),
        *map(ContinuousRange.of, document.get("ContinuousParameterRanges", [])),
        *map(CategoricalRange.of, document.get("CategoricalParameterRanges", [])),
    )


def combinations(chosen: Sequence[Range]) -> float:
    """How many points the ranges have; infinity where one of them is continuous."""
    return math.prod(each.size for each in chosen)


def integer(text: str) -> int:
    """A whole number of 64 bits; `ValueError` if the text is not one."""
    if not _INTEGER.fullmatch(text.strip()) or abs(whole := int(text)) > _LARGEST_INTEGER:
        raise ValueError(f"{text!r} is not an integer of 64 bits")
    return whole


def number(text: str) -> float:
    """A finite number; `ValueError` if the text is not one."""
    if "_" in text or not math.isfinite(value := float(text)):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def _bounds(document: Document, kind: str, read: Callable[[str], _N]) -> tuple[_N, _N]:
    low, high = (_bound(document, member, kind, read) for member in ("MinValue", "MaxValue"))
    if low > high:
        raise ValidationError(
            f"MinValue {document['MinValue']} of the {kind} hyperparameter '{document['Name']}' "
            f"is greater than its MaxValue {document['MaxValue']}. {_SWAP}"
        )
    return low, high


def _bound(document: Document, member: str, kind: str, read: Callable[[str], _N]) -> _N:
    try:
        return read(document[member])
    except ValueError as error:
        wanted = "an integer" if kind == "integer" else "a finite number"
        raise ValidationError(
            f"{member} '{document[member]}' of the {kind} hyperparameter '{document['Name']}' is not {wanted}. "
            "Give it as a decimal number."
        ) from error


def _scalable(document: Document, kind: str, low: float) -> None:
    scaling, name = document.get("ScalingType"), document["Name"]
    if scaling == "Logarithmic" and low <= 0:
        raise ValidationError(
            f"Logarithmic scaling of hyperparameter '{name}' is valid only for ranges with values greater than 0; "
            f"its MinValue is {document['MinValue']}. Raise MinValue, or use Linear or Auto."
        )
    if scaling == "ReverseLogarithmic" and kind == "integer":
        raise ValidationError(
            f"ReverseLogarithmic scaling is valid only for continuous hyperparameters; '{name}' is an integer one. "
            "Use Linear, Logarithmic or Auto."
        )


def _scaling(document: Document, kind: str, low: float, high: float) -> Scaling:
    """Auto is Logarithmic where the range spans orders of magnitude, ReverseLogarithmic where its distance to 1 does,
    else Linear.
    """
    asked: Scaling | Literal["Auto"] = document.get("ScalingType", "Auto")
    if asked != "Auto":
        return asked
    if low > 0 and high / low >= _WIDE[kind]:
        return "Logarithmic"
    if kind == "continuous" and 0.5 <= low < high < 1 and (1 - low) / (1 - high) >= _WIDE[kind]:
        return "ReverseLogarithmic"
    return "Linear"
