"""The columns of linear models, dense and, beside them, sparse; and least squares over them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.engines.base import Array

_MOST_STEPS = 300
_CLOSE = 1e-5
"""Conjugate gradients end when the residual has shrunk to this share of the first."""

ROWS_AT_ONCE = 8192

WIDEST_SOLVED = 2_000
"""Dense columns that are solved at once, by a matrix of so many by so many: 32 MB. Where there are more, steps over a
few thousand rows take less time than that matrix would, and can end at the deadline."""

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
        dense = np.einsum("i,ij,ij->j", w, self.dense, self.dense)
        return np.asarray(dense if self.sparse is None else np.concatenate([dense, self.sparse.power(2).T @ w]))

    def parted(self, theta: Array) -> tuple[Array, Array | None]:
        """The coefficients of the dense columns, and (float32) of n-grams as they were before `of` scaled them."""
        if self.sparse is None:
            return theta, None
        first = self.dense.shape[1]
        return theta[:first], (theta[first:] * TERM_SCALE).astype(np.float32)


def ridge(a: Columns, y: Array, w: Array, l2: float, deadline: float | None) -> tuple[Array, Array]:
    """Weighted least squares with a penalty on all but the intercept: coefficients [columns, 1], intercept [1].

    By the normal equations where all columns are dense and not too many, else by conjugate gradients that end early at
    the deadline.
    """
    total = w.sum()
    l2 = max(l2, 1e-6)
    centre, level = a.transposed_times(w[:, None])[:, 0] / total, float(w @ y) / total
    if a.sparse is None and a.count <= WIDEST_SOLVED:
        gram, pull = np.zeros((len(centre), len(centre))), np.zeros(len(centre))
        for start in range(0, len(y), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            centred = a.dense[rows] - centre
            gram += centred.T @ (centred * w[rows, None])
            pull += centred.T @ (w[rows] * (y[rows] - level))
        gram[np.diag_indices_from(gram)] += l2
        theta = np.linalg.solve(gram, pull)
    else:
        theta = _conjugate_gradients(a, y - level, w, l2, centre, deadline)
    return theta[:, None], np.array([level - float(centre @ theta)])


def _conjugate_gradients(a: Columns, y: Array, w: Array, l2: float, centre: Array, deadline: float | None) -> Array:
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
