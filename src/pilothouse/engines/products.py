"""Products of two columns of a linear model: what an effect depends on.

Of the columns that go most along with the target all pairs are tried. Those stay whose product goes along with what the
columns themselves leave unexplained by more than two standard errors, and by more than the root of the logarithm of
their number. The largest of so many that mean nothing is expected at 1.4 times that (Donoho and Johnstone, "Ideal
spatial adaptation by wavelet shrinkage", 1994), so that some of these stay too, for the penalty to hold down. The
errors allow for rows that differ in theirs (White, "A heteroskedasticity-consistent covariance matrix estimator",
1980): n rows that say it alone make no more than the root of n.
"""

from __future__ import annotations

import math

import numpy as np

from pilothouse.engines.base import Array

_COLUMNS = 120
"""So many columns have a part in pairs."""

_LEAST_ERRORS = 2.0
_L2 = 1.0
_LEAST_SPREAD = 1e-6


def best_pairs(columns: Array, sources: Array, numbers: int, targets: Array, counts: Array, most: int) -> Array:
    """At most `most` pairs of `columns` [n, c], as int64 [pairs, 2], best first.

    `sources` [c] says what each column is made of: those of one source are not multiplied with each other. The first
    so many are `numbers`, which may be squared. `targets` is [n, outputs]; row i counts `counts[i]`.
    """
    rows, wanted = _centred(columns, counts), _centred(targets, counts)
    wanted = wanted / (np.abs(wanted).max() or 1.0)
    weighted = counts[:, None] * wanted
    pull = np.abs(rows.T @ weighted).max(axis=1) / _divisor(rows.std(axis=0))
    known = np.sort(np.argsort(-pull, kind="stable")[: min(_COLUMNS, int((pull > 0).sum()))])
    rest = counts[:, None] * (wanted - rows @ _ridge(rows, weighted, counts))
    left, right, worth = [], [], []
    for place, first in enumerate(known):
        others = known[place:]
        others = others[(sources[others] != sources[first]) | ((others == first) & (first < numbers))]
        products = _centred(rows[:, others] * rows[:, [first]], counts)
        along, error = np.abs(products.T @ rest), np.sqrt((products**2).T @ rest**2)
        worth.append((along / _divisor(error)).max(axis=1))
        left.append(np.full(len(others), first))
        right.append(others)
    scores = np.concatenate(worth) if worth else np.zeros(0)
    if not len(scores):
        return np.zeros((0, 2), np.int64)
    pairs = np.stack([np.concatenate(left), np.concatenate(right)], axis=1)
    best = np.argsort(-scores, kind="stable")[:most]
    enough = max(_LEAST_ERRORS, math.sqrt(math.log(len(scores))))
    return np.asarray(pairs[best[scores[best] > enough]], dtype=np.int64)


def _centred(values: Array, counts: Array) -> Array:
    return np.asarray(values - counts @ values / counts.sum())


def _divisor(values: Array) -> Array:
    """`values`, but infinity for those that are next to nothing."""
    return np.where(values > _LEAST_SPREAD, values, np.inf)


def _ridge(rows: Array, weighted: Array, counts: Array) -> Array:
    """The coefficients of ridge regression on centred columns, given the weighted centred targets."""
    gram = (rows * counts[:, None]).T @ rows
    gram[np.diag_indices_from(gram)] += _L2
    return np.asarray(np.linalg.solve(gram, rows.T @ weighted))
