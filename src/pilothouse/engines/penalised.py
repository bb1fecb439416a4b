"""Linear models with an absolute penalty beside the squared one, and losses that bear outliers."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pilothouse.engines.base import Array, tell
from pilothouse.engines.solvers import AnyColumns, Columns, softmax

SQUARED, HUBER, ABSOLUTE = "squared", "huber", "absolute"
_WIDTHS = {HUBER: 1.0, ABSOLUTE: 0.05}
"""Errors, in standard deviations of the target, around which a loss goes over from squared to absolute."""

_MOST_STEPS, _FLAT = 300, 1e-7
_WATCHED = 10
"""Steps from one look at watched rows to the next."""

Smooth = Callable[[Array, Array], tuple[float, Array, Array]]
"""(loss, its gradient by the coefficients [columns, outputs], by the intercept [outputs]) of those two."""

Watched = tuple[Columns, Array]
"""Other rows, and their targets, whose loss is told as the solver goes on."""


def regression(
    a: AnyColumns,
    y: Array,
    w: Array,
    l1: float,
    l2: float,
    loss: str,
    deadline: float | None,
    watched: Watched | None = None,
    *,
    absolute: bool = False,
) -> tuple[Array, Array]:
    """Coefficients [columns, 1] and intercept [1] with the least weighted loss of the standardised target.

    `huber` and `absolute` are the pseudo-Huber loss d² (√(1 + (r / d)²) - 1) with d = 1 and 0.05. Penalties count in
    rows, as if so many rows spoke for zero. Ends early at the deadline. The loss of watched rows is their mean squared,
    or `absolute`, error in standard deviations of the target.
    """
    total = float(w.sum())
    level = float(w @ y) / total
    spread = math.sqrt(float(w @ (y - level) ** 2) / total) or 1.0
    target = (y - level) / spread

    def smooth(theta: Array, intercept: Array) -> tuple[float, Array, Array]:
        errors = a.times(theta)[:, 0] + intercept[0] - target
        if loss == SQUARED:
            value, slope = 0.5 * errors**2, errors
        else:
            width = _WIDTHS[loss]
            root = np.sqrt(1 + (errors / width) ** 2)
            # Divided by its width, so that a penalty means the same beside either loss.
            value, slope = width * (root - 1), errors / (width * root)
        pull = (w * slope)[:, None] / total
        return float(w @ value) / total, a.transposed_times(pull), pull.sum(axis=0)

    def watch(theta: Array, intercept: Array) -> float:
        other, values = watched or (a, y)
        errors = other.times(theta)[:, 0] + intercept[0] - (values - level) / spread
        return float(np.abs(errors).mean() if absolute else (errors**2).mean())

    told = None if watched is None else watch
    theta, intercept = _minimised(smooth, a.count, np.zeros(1), l1 / total, l2 / total, deadline, told)
    return theta * spread, intercept * spread + level


def classification(
    a: AnyColumns,
    y: Array,
    w: Array,
    l1: float,
    l2: float,
    classes: int,
    deadline: float | None,
    watched: Watched | None = None,
) -> tuple[Array, Array]:
    """Multinomial logistic regression: coefficients [columns, outputs], intercept [outputs], as `solvers.logistic`."""
    total = float(w.sum())
    outputs = 1 if classes == 2 else classes
    hot = np.zeros((len(y), classes))
    hot[np.arange(len(y)), y.astype(np.int64)] = 1.0

    def smooth(theta: Array, intercept: Array) -> tuple[float, Array, Array]:
        p = softmax(a.times(theta) + intercept, classes)
        chosen = np.maximum((p * hot).sum(axis=1), 1e-300)
        pull = (w[:, None] * (p - hot))[:, -outputs:] / total
        return -float(w @ np.log(chosen)) / total, a.transposed_times(pull), pull.sum(axis=0)

    def watch(theta: Array, intercept: Array) -> float:
        other, labels = watched or (a, y)
        chosen = softmax(other.times(theta) + intercept, classes)[np.arange(len(labels)), labels.astype(np.int64)]
        return -float(np.log(np.maximum(chosen, 1e-300)).mean())

    prior = np.log((w @ hot + 1.0) / (total + classes))
    start = prior[1:] - prior[0] if outputs == 1 else prior
    told = None if watched is None else watch
    return _minimised(smooth, a.count, start, l1 / total, l2 / total, deadline, told)


def _minimised(
    smooth: Smooth,
    columns: int,
    start: Array,
    l1: float,
    l2: float,
    deadline: float | None,
    watch: Callable[[Array, Array], float] | None,
) -> tuple[Array, Array]:
    """By L-BFGS-B over the positive and the negative parts of the coefficients, of which the penalty is linear."""
    from scipy.optimize import minimize

    outputs = len(start)
    size = columns * outputs
    parts = 2 if l1 > 0 else 1

    def split(flat: Array) -> Array:
        theta = flat[:size] if parts == 1 else flat[:size] - flat[size : 2 * size]
        return theta.reshape(columns, outputs)

    def loss(flat: Array) -> tuple[float, Array]:
        theta = split(flat)
        value, slope, by_intercept = smooth(theta, flat[parts * size :])
        value += l2 / 2 * float((theta**2).sum()) + l1 * float(flat[: parts * size].sum()) * (parts == 2)
        slope = (slope + l2 * theta).ravel()
        gradient = [slope] if parts == 1 else [slope + l1, l1 - slope]
        return value, np.concatenate([*gradient, by_intercept])

    steps = itertools.count(1)

    def after_step(flat: Array) -> None:
        step = next(steps)
        if watch is not None and step % _WATCHED == 0:
            tell(step, watch(split(flat), flat[parts * size :]))
        if deadline is not None and time.monotonic() >= deadline:
            raise StopIteration

    bounds: Any = None if parts == 1 else [(0, None)] * (2 * size) + [(None, None)] * outputs
    options = {"maxiter": _MOST_STEPS, "ftol": _FLAT}
    first = np.concatenate([np.zeros(parts * size), start])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, callback=after_step, options=options)
    return split(found.x), np.asarray(found.x[parts * size :])
