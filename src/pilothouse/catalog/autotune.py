"""Autotune: ranges from names and example values, and the limits that a request leaves open.

AWS does not say how its service chooses. Here a hint is taken as a good value. A number whose name says that it is a
share, a learning rate or a penalty gets the range that is usual for those, widened to the hint; any other is searched
over a decade to each side, on a logarithmic scale.
"""

from __future__ import annotations

import math

from pilothouse.catalog import tuning_ranges
from pilothouse.catalog.tuning_ranges import CategoricalRange, ContinuousRange, IntegerRange, Range

MOST_RETRIES = 3
"""MaximumRetryAttempts of a definition without a RetryStrategy."""

_FEWEST_JOBS, _MOST_JOBS, _JOBS_PER_RANGE = 20, 250, 15
_LARGEST = 2**53
_BOOLEANS = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))

_USUAL: tuple[tuple[tuple[str, ...], ContinuousRange], ...] = (
    (("dropout",), ContinuousRange("", 0.0, 0.6)),
    (("momentum", "beta1", "beta_1", "beta2", "beta_2"), ContinuousRange("", 0.5, 0.999, "ReverseLogarithmic")),
    (("subsample", "colsample", "fraction", "ratio", "rate_drop"), ContinuousRange("", 0.3, 1.0)),
    (("lr", "learning_rate", "learning-rate", "eta"), ContinuousRange("", 1e-4, 0.5, "Logarithmic")),
    (("alpha", "lambda", "decay", "l1", "l2", "penalty", "wd"), ContinuousRange("", 1e-6, 10.0, "Logarithmic")),
)


def range_for(name: str, hint: str) -> Range | None:
    """The range for a hyperparameter whose example value is `hint`; None where there is none to be had: a text."""
    for pair in _BOOLEANS:
        if hint in pair:
            return CategoricalRange(name, pair)
    try:
        return _integers(name, tuning_ranges.integer(hint))
    except ValueError:
        pass
    try:
        return _continuous(name, tuning_ranges.number(hint))
    except ValueError:
        return None


def jobs(ranges: int) -> int:
    """MaxNumberOfTrainingJobs for this many ranges."""
    return min(_MOST_JOBS, max(_FEWEST_JOBS, _JOBS_PER_RANGE * ranges))


def _integers(name: str, hint: int) -> IntegerRange | None:
    if abs(hint) > _LARGEST:
        return None
    if hint > 0:
        high = min(_LARGEST, max(hint * 10, 2))
        return IntegerRange(name, max(1, hint // 10), high, "Logarithmic")
    return IntegerRange(name, hint * 10 if hint else 0, 10 if hint == 0 else 0)


def _continuous(name: str, hint: float) -> ContinuousRange | None:
    usual = _usual(name)
    if usual is not None and 0 <= hint <= 1 and not (usual.scaling == "ReverseLogarithmic" and hint >= 1):
        return _widened(name, usual, hint)
    if hint > 0:
        low, high = hint / 10, hint * 10
        return ContinuousRange(name, low, high, "Logarithmic") if low > 0 and math.isfinite(high) else None
    low = hint * 10 if hint else 0.0
    return ContinuousRange(name, low, 0.0 if hint else 1.0) if math.isfinite(low) else None


def _usual(name: str) -> ContinuousRange | None:
    lowered = name.lower()
    words = set(lowered.replace("-", "_").split("_"))
    for keys, usual in _USUAL:
        if any(key in words or (not key.isalnum() and key in lowered) for key in keys):
            return usual
    return None


def _widened(name: str, usual: ContinuousRange, hint: float) -> ContinuousRange | None:
    """The usual range, with the hint in it and not at the end that a logarithm could not reach."""
    if usual.scaling == "Logarithmic":
        if hint <= 0:
            return ContinuousRange(name, 0.0, usual.high)
        low = min(usual.low, hint / 10)
        return ContinuousRange(name, low, max(usual.high, hint), "Logarithmic") if low > 0 else None
    return ContinuousRange(name, min(usual.low, hint), max(usual.high, hint), usual.scaling)
