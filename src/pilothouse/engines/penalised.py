"""The coefficients with the least loss, with an absolute penalty on them beside the squared one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.engines.base import Array, tell
from pilothouse.engines.losses import Loss
from pilothouse.engines.solvers import Columns

FLAT, FLAT_WITH_TERMS = 1e-7, 1e-5
"""A solver ends when the loss falls by less; with n-grams, going on takes long and only overfits."""

_MOST_STEPS = 300
_WATCHED = 10
"""Steps from one look at watched rows to the next."""

Point = tuple[Array, Array]
"""Coefficients [columns, outputs] and intercepts [outputs]."""

Smooth = Callable[[Array, Array], tuple[float, Array, Array]]
"""(mean loss, its gradient by the coefficients [columns, outputs], by the intercepts [outputs]) at a point."""


@dataclass(frozen=True)
class Penalties:
    """What is added to the mean loss: `l1` times the sizes of the coefficients, half of `l2` times their squares."""

    l1: float
    l2: float

    def of(self, theta: Array) -> float:
        """What these coefficients cost."""
        return self.l1 * float(np.abs(theta).sum()) + self.l2 / 2 * float((theta**2).sum())


def mean_loss(loss: Loss, a: Columns, y: Array, w: Array) -> Smooth:
    """The mean over rows in memory, of which each counts so much."""
    total = float(w.sum())

    def smooth(theta: Array, intercept: Array) -> tuple[float, Array, Array]:
        values, slopes = loss.of(a.times(theta) + intercept, y)
        pull = w[:, None] * slopes / total
        return float(w @ values) / total, a.transposed_times(pull), pull.sum(axis=0)

    return smooth


def minimised(
    smooth: Smooth,
    start: Point,
    penalties: Penalties,
    *,
    flat: float = FLAT,
    deadline: float | None = None,
    watch: Callable[[Array, Array], float] | None = None,
) -> Point:
    """The point where `smooth` and the penalties together are least, but for the deadline.

    By L-BFGS-B; with an absolute penalty over the positive and the negative parts of the coefficients, of which it is
    linear. What `watch` says of a point is told every ten steps.
    """
    from scipy.optimize import minimize

    theta, intercept = start
    size, parts = theta.size, 2 if penalties.l1 > 0 else 1

    def point(flat_parts: Array) -> Point:
        found = flat_parts[:size] if parts == 1 else flat_parts[:size] - flat_parts[size : 2 * size]
        return found.reshape(theta.shape), flat_parts[parts * size :]

    def loss(flat_parts: Array) -> tuple[float, Array]:
        here, at = point(flat_parts)
        value, slope, by_intercept = smooth(here, at)
        value += penalties.l2 / 2 * float((here**2).sum())
        slope = (slope + penalties.l2 * here).ravel()
        if parts == 1:
            return value, np.concatenate([slope, by_intercept])
        value += penalties.l1 * float(flat_parts[: 2 * size].sum())
        return value, np.concatenate([slope + penalties.l1, penalties.l1 - slope, by_intercept])

    steps = itertools.count(1)

    def after_step(flat_parts: Array) -> None:
        step = next(steps)
        if watch is not None and step % _WATCHED == 0:
            tell(step, watch(*point(flat_parts)))
        if deadline is not None and time.monotonic() >= deadline:
            raise StopIteration

    bounds: Any = None if parts == 1 else [(0, None)] * (2 * size) + [(None, None)] * len(intercept)
    options = {"maxiter": _MOST_STEPS, "ftol": flat}
    columns = [theta] if parts == 1 else [np.maximum(theta, 0.0), np.maximum(-theta, 0.0)]
    first = np.concatenate([*(column.ravel() for column in columns), intercept])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, callback=after_step, options=options)
    return point(np.asarray(found.x))
