"""Solvers of linear models over dense columns and, beside them, sparse ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from pilothouse.engines.base import Array

_MOST_STEPS = 300
_FLAT, _FLAT_WITH_TERMS = 1e-7, 1e-5
"""L-BFGS ends when the loss falls by less; with n-grams, going on takes long and only overfits."""

_CLOSE = 1e-5
"""Conjugate gradients end when the residual has shrunk to this share of the first."""

TERM_SCALE = 3.0
"""Rows of n-grams have length 1; so much longer they are penalised as little as they should be."""


@dataclass(frozen=True)
class Columns:
    """A matrix [n, columns]: `dense`, then the columns of `sparse` (CSR), if there are any."""

    dense: Array
    sparse: Any = None

    @classmethod
    def of(cls, dense: Array, sparse: Any) -> Columns:
        """The columns of a design, with n-grams on their scale."""
        return cls(dense, None if sparse is None else sparse * np.float32(TERM_SCALE))

    @property
    def count(self) -> int:
        return int(self.dense.shape[1]) + (0 if self.sparse is None else int(self.sparse.shape[1]))

    @property
    def has_terms(self) -> bool:
        """Whether some columns are sparse."""
        return self.sparse is not None

    def parts(self) -> Iterator[tuple[slice, Columns]]:
        """The rows in pieces, with their places; here one piece."""
        yield slice(0, len(self.dense)), self

    def normal(self, w: Array, centre: Array, y: Array) -> tuple[Array, Array]:
        """Of the normal equations of the dense columns less their `centre`: the matrix and the right side for `y`."""
        centred = self.dense - centre
        return centred.T @ (centred * w[:, None]), centred.T @ (w * y)

    def times(self, theta: Array) -> Array:
        """The product with [columns, outputs]."""
        if self.sparse is None:
            return np.asarray(self.dense @ theta)
        first = self.dense.shape[1]
        return np.asarray(self.dense @ theta[:first] + self.sparse @ theta[first:].astype(np.float32))

    def transposed_times(self, rows: Array) -> Array:
        """The transpose's product with [n, outputs]."""
        dense = self.dense.T @ rows
        return np.asarray(
            dense if self.sparse is None else np.concatenate([dense, self.sparse.T @ rows.astype(np.float32)])
        )

    def squares(self, w: Array) -> Array:
        """[columns]: weighted sums of squares."""
        dense = w @ self.dense**2
        return np.asarray(dense if self.sparse is None else np.concatenate([dense, self.sparse.power(2).T @ w]))

    def parted(self, theta: Array) -> tuple[Array, Array | None]:
        """The coefficients of the dense columns, and (float32) of n-grams as they were before `of` scaled them."""
        if self.sparse is None:
            return theta, None
        first = self.dense.shape[1]
        return theta[:first], (theta[first:] * TERM_SCALE).astype(np.float32)


@dataclass(frozen=True)
class StreamedColumns:
    """The columns of rows that are still on disk: made piece by piece each time that they are needed.

    `pieces` starts a new walk over all of them.
    """

    pieces: Callable[[], Iterator[Columns]]
    first: Columns

    @property
    def count(self) -> int:
        return self.first.count

    @property
    def has_terms(self) -> bool:
        return self.first.has_terms

    def parts(self) -> Iterator[tuple[slice, Columns]]:
        at = 0
        for piece in self.pieces():
            yield slice(at, at := at + len(piece.dense)), piece

    def normal(self, w: Array, centre: Array, y: Array) -> tuple[Array, Array]:
        matrix, right = _sums(piece.normal(w[rows], centre, y[rows]) for rows, piece in self.parts())
        return matrix, right

    def times(self, theta: Array) -> Array:
        return np.concatenate([piece.times(theta) for _, piece in self.parts()])

    def transposed_times(self, rows: Array) -> Array:
        (total,) = _sums((piece.transposed_times(rows[mine]),) for mine, piece in self.parts())
        return total

    def squares(self, w: Array) -> Array:
        (total,) = _sums((piece.squares(w[rows]),) for rows, piece in self.parts())
        return total

    def parted(self, theta: Array) -> tuple[Array, Array | None]:
        return self.first.parted(theta)


AnyColumns = Columns | StreamedColumns


def _sums(parts: Iterable[tuple[Array, ...]]) -> tuple[Array, ...]:
    return reduce(lambda total, part: tuple(a + b for a, b in zip(total, part, strict=True)), parts)


class _OutOfTime(Exception):
    """The deadline has passed in the middle of a walk over the rows."""


def softmax(scores: Array, classes: int) -> Array:
    """Probabilities [n, classes] from scores; where there are two classes, that of class 0 is always 0."""
    if classes == 2:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def ridge(a: AnyColumns, y: Array, w: Array, l2: float, deadline: float | None) -> tuple[Array, Array]:
    """Weighted least squares with a penalty on all but the intercept: coefficients [columns, 1], intercept [1].

    By the normal equations where all columns are dense, else by conjugate gradients that end early at the deadline.
    """
    total = w.sum()
    l2 = max(l2, 1e-6)
    centre, level = a.transposed_times(w[:, None])[:, 0] / total, float(w @ y) / total
    if not a.has_terms:
        gram, right = a.normal(w, centre, y - level)
        gram[np.diag_indices_from(gram)] += l2
        theta = np.linalg.solve(gram, right)
    else:
        theta = _conjugate_gradients(a, y - level, w, l2, centre, deadline)
    return theta[:, None], np.array([level - float(centre @ theta)])


def _conjugate_gradients(a: AnyColumns, y: Array, w: Array, l2: float, centre: Array, deadline: float | None) -> Array:
    """The normal equations of the centred columns, preconditioned by their diagonal (Saad, "Iterative Methods for
    Sparse Linear Systems", 2003, algorithm 9.1)."""

    def back(rows: Array) -> Array:
        weighted = w * rows
        return np.asarray(a.transposed_times(weighted[:, None])[:, 0] - centre * weighted.sum())

    diagonal = np.maximum(a.squares(w) - w.sum() * centre**2, 0.0) + l2
    theta, residual = np.zeros(a.count), back(y)
    scaled = residual / diagonal
    direction, size = scaled, float(residual @ scaled)
    enough = size * _CLOSE**2
    for _ in range(_MOST_STEPS):
        if size <= enough or (theta.any() and deadline is not None and time.monotonic() >= deadline):
            break
        image = back(a.times(direction[:, None])[:, 0] - float(centre @ direction)) + l2 * direction
        step = size / float(direction @ image)
        theta, residual = theta + step * direction, residual - step * image
        scaled = residual / diagonal
        size, before = float(residual @ scaled), size
        direction = scaled + (size / before) * direction
    return theta


def logistic(
    a: AnyColumns,
    y: Array,
    w: Array,
    l2: float,
    classes: int,
    deadline: float | None,
    start: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Multinomial logistic regression by L-BFGS: coefficients [columns, outputs], intercept [outputs].

    A binary model has one output, the log odds of class 1. `start` is where to start from. Ends early at the deadline.
    """
    from scipy.optimize import minimize

    columns, total = a.count, w.sum()
    outputs = 1 if classes == 2 else classes

    def loss(flat: Array) -> tuple[float, Array]:
        theta = flat.reshape(columns + 1, outputs)
        value, gradient = _sums(part_of_loss(theta, rows, piece) for rows, piece in a.parts())
        value = (value + l2 / 2 * (theta[:-1] ** 2).sum()) / total
        gradient[:-1] += l2 * theta[:-1]
        return float(value), gradient.ravel() / total

    def part_of_loss(theta: Array, rows: slice, piece: Columns) -> tuple[Array, Array]:
        if rows.start and late():
            raise _OutOfTime
        hot = np.zeros((len(y[rows]), classes))
        hot[np.arange(len(hot)), y[rows].astype(np.int64)] = 1.0
        p = softmax(piece.times(theta[:-1]) + theta[-1], classes)
        chosen = np.maximum((p * hot).sum(axis=1), 1e-300)
        error = (w[rows, None] * (p - hot))[:, -outputs:]
        return -(w[rows] * np.log(chosen)).sum(), np.vstack([piece.transposed_times(error), error.sum(axis=0)])

    def late() -> bool:
        return deadline is not None and time.monotonic() >= deadline

    def after_step(flat: Array) -> None:
        reached[:] = flat.reshape(reached.shape)
        if late():
            raise StopIteration

    reached = np.zeros((columns + 1, outputs))
    prior = np.log((np.bincount(y.astype(np.int64), w, classes) + 1.0) / (total + classes))
    reached[-1] = prior[1:] - prior[0] if outputs == 1 else prior
    if start is not None:
        reached[:-1], reached[-1] = start
    options = {"maxiter": _MOST_STEPS, "ftol": _FLAT_WITH_TERMS if a.has_terms else _FLAT}
    try:
        found = minimize(loss, reached.ravel(), jac=True, method="L-BFGS-B", callback=after_step, options=options)
        reached = found.x.reshape(columns + 1, outputs)
    except _OutOfTime:
        pass
    return reached[:-1], reached[-1]
