"""The least loss over more rows than memory has room for: solved on some of them, corrected by walks over all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from pilothouse.engines.base import Array
from pilothouse.engines.losses import Loss
from pilothouse.engines.penalised import FLAT, Penalties, Point, Smooth, minimised
from pilothouse.engines.solvers import Columns

_MOST_WALKS = 10
_UNSURE = 10.0
"""What so few rows of those in memory say of a column is no guide to all rows."""

_CAUTION = 10.0


class OutOfTime(Exception):
    """The deadline has passed in the middle of a walk."""


def over_all(
    here: Smooth,
    everywhere: Smooth,
    start: Point,
    penalties: Penalties,
    *,
    rows: int,
    flat: float = FLAT,
    deadline: float | None = None,
) -> Point:
    """The point where the mean loss `everywhere` is least with the penalties, close to which `start` is.

    Each call of `everywhere` is a walk over all rows. After it the loss `here`, that of `rows` rows in memory, is
    tilted so that its slope is the one everywhere, and minimised; the more alike the curvatures here and everywhere,
    the fewer walks it takes (Shamir, Srebro and Zhang, "Communication-Efficient Distributed Optimization using an
    Approximate Newton-type Method", 2014). Walks end when the loss falls by less than the share `flat`, and at the
    deadline, with the best point so far.
    """
    best, lowest, caution = start, float("inf"), _UNSURE / rows
    point = start
    try:
        for _ in range(_MOST_WALKS):
            value, *slope = everywhere(*point)
            value += penalties.of(point[0])
            if not math.isfinite(value):
                break
            fell = lowest - value
            if fell > 0:
                best, lowest, tilt = point, value, _tilt(here, point, slope)
            else:
                caution *= _CAUTION
            if abs(fell) <= flat * abs(lowest):
                break
            point = minimised(_tilted(here, best, tilt, caution), best, penalties, flat=flat, deadline=deadline)
    except OutOfTime:
        pass
    return best


def walk(
    loss: Loss, pieces: Callable[[], Iterable[Columns]], y: Array, w: Array, deadline: float | None = None
) -> Smooth:
    """The mean loss over rows that come piece by piece, in the order of their targets and weights; `OutOfTime`."""
    total = float(w.sum())

    def smooth(theta: Array, intercept: Array) -> tuple[float, Array, Array]:
        value, slope, by_intercept, at = 0.0, 0.0 * theta, 0.0 * intercept, 0
        for piece in pieces():
            if deadline is not None and time.monotonic() >= deadline:
                raise OutOfTime
            mine = slice(at, at := at + len(piece.dense))
            values, slopes = loss.of(piece.times(theta) + intercept, y[mine])
            pull = w[mine, None] * slopes / total
            value += float(w[mine] @ values) / total
            slope += piece.transposed_times(pull)
            by_intercept += pull.sum(axis=0)
        return value, slope, by_intercept

    return smooth


def _tilt(here: Smooth, point: Point, slope: list[Array]) -> tuple[Array, Array]:
    """The slopes everywhere less those here."""
    _, by_theta, by_intercept = here(*point)
    return slope[0] - by_theta, slope[1] - by_intercept


def _tilted(here: Smooth, centre: Point, tilt: tuple[Array, Array], caution: float) -> Smooth:
    """`here` with another slope at the centre, and the dearer the further away."""

    def smooth(theta: Array, intercept: Array) -> tuple[float, Array, Array]:
        value, slope, by_intercept = here(theta, intercept)
        away = theta - centre[0]
        value += float((tilt[0] * away + caution / 2 * away**2).sum() + tilt[1] @ (intercept - centre[1]))
        return value, slope + tilt[0] + caution * away, by_intercept + tilt[1]

    return smooth
