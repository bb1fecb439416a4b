"""Products of two columns of a linear model: what an effect depends on.

All pairs are tried: those stay whose product goes along with what the columns themselves leave unexplained by more
standard errors than the root of the logarithm of their number. The largest of so many that mean nothing is expected at
1.4 times that (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994), so that some of these stay
too, for the penalty to hold down. The errors allow for rows that differ in theirs (White, "A heteroskedasticity-
consistent covariance matrix estimator", 1980): what a few rows say together counts for little.
"""

from __future__ import annotations

import numpy as np

from pilothouse.engines.base import Array

_COLUMNS = 120
"""So many columns have a part in pairs: those that go most along with the target."""

_L2 = 1.0
_LEAST_SPREAD = 1e-6


def best_pairs(columns: Array, sources: Array, numbers: int, targets: Array, most: int) -> Array:
    """At most `most` pairs of `columns` [n, c], as int64 [pairs, 2], best first.

    `sources` [c] says what each column is made of: those of one source are not multiplied with each other. The first
    so many are `numbers`, which may be squared. `targets` is [n, outputs].
    """
    rows, wanted = columns - columns.mean(axis=0), targets - targets.mean(axis=0)
    spread = rows.std(axis=0)
    pull = np.abs(rows.T @ wanted).max(axis=1) / np.where(spread > _LEAST_SPREAD, spread, np.inf)
    known = np.sort(np.argsort(-pull, kind="stable")[: min(_COLUMNS, int((pull > 0).sum()))])
    rest = _unexplained(rows, wanted)
    left, right, worth = [], [], []
    for place, first in enumerate(known):
        others = known[place:]
        others = others[(sources[others] != sources[first]) | ((others == first) & (first < numbers))]
        products = rows[:, others] * rows[:, [first]]
        products -= products.mean(axis=0)
        along, error = np.abs(products.T @ rest), np.sqrt((products**2).T @ rest**2)
        worth.append((along / np.where(error > _LEAST_SPREAD, error, np.inf)).max(axis=1))
        left.append(np.full(len(others), first))
        right.append(others)
    if not worth:
        return np.zeros((0, 2), np.int64)
    scores, pairs = np.concatenate(worth), np.stack([np.concatenate(left), np.concatenate(right)], axis=1)
    best = np.argsort(-scores, kind="stable")[:most]
    return np.asarray(pairs[best[scores[best] > np.sqrt(np.log(len(scores)))]], dtype=np.int64)


def _unexplained(rows: Array, wanted: Array) -> Array:
    """What is left of the centred targets after ridge regression on the centred columns."""
    gram = rows.T @ rows
    gram[np.diag_indices_from(gram)] += _L2
    return np.asarray(wanted - rows @ np.linalg.solve(gram, rows.T @ wanted))
