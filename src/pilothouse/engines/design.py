"""The columns of a linear model: what the effect of each feature, and of two together, may look like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pilothouse.data.text import is_topic
from pilothouse.engines.base import Array
from pilothouse.engines.products import best_pairs
from pilothouse.engines.solvers import TERM_SCALE

if TYPE_CHECKING:
    from pilothouse.data.features import Features

MOST_ONE_HOT = 100
"""Levels of a category that get a column of their own."""

_CLIP = 0.005
"""Numbers are clipped to their 0.5 % and 99.5 % quantiles."""

_WIDEST = 1e9

MOST_KNOTS = 7
_SAMPLE = 5000
"""So many rows tell whether a number takes many values, and choose products."""

_MOST_CELLS = 20_000_000
"""Hinges of all rows together: 160 MB. Wide or long data get fewer of them, or none. The same of products."""

_WIDEST_MULTIPLIED = 1_000
"""Designs of more columns get no products: to choose them takes the square of the columns in memory."""


@dataclass(frozen=True)
class Design:
    """Turns features into the columns of a linear model: standardised numbers (missing: 0, the mean), indicators of
    missing numbers, one column for each of the first levels of each category, and hinges, which let the effect of a
    number bend: max(0, standardised number `bent[i]` - `knots[i]`) / `spans[i]`, with knots at its quantiles. Last come
    products of two of the columns before the hinges, `left[i]` and `right[i]`, over `sizes[i]`.
    """

    low: Array
    high: Array
    mean: Array
    scale: Array
    indicated: Array
    levels: Array
    bent: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    knots: Array = field(default_factory=lambda: np.zeros(0))
    spans: Array = field(default_factory=lambda: np.zeros(0))
    left: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    right: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def fit(cls, x: Features, most_knots: int = MOST_KNOTS) -> Design:
        """Learns from rows; a number gets at most so many hinges."""
        numeric = np.asarray(x.numeric, dtype=np.float64)
        missing = np.isnan(numeric)
        low, high = _quantiles(numeric)
        clipped = np.where(missing, np.nan, np.clip(numeric, low, high))
        known = np.maximum((~missing).sum(axis=0), 1)
        mean = np.nansum(clipped, axis=0) / known
        spread = np.sqrt(np.nansum((clipped - mean) ** 2, axis=0) / known)
        levels = np.array([min(levels, MOST_ONE_HOT) for levels in x.cardinalities], dtype=np.int64)
        scale = np.where(spread > 0, spread, 1.0)
        if x.sparse is not None:
            # Topics sum up n-grams, so they are penalised like n-grams: as numbers of their own they would overfit.
            scale[[is_topic(name) for name in x.numeric_names]] = 1 / TERM_SCALE
        plain = cls(low, high, mean, scale, np.flatnonzero(missing.any(axis=0)), levels)
        return replace(plain, **_hinges(plain.numbers(x), x, most_knots))

    def multiplied(self, x: Features, targets: Array, counts: Array, most: int, seed: int = 0) -> Design:
        """With at most `most` products, chosen by rows, their targets [n, outputs] and how much each counts."""
        count = most_products(most, len(x))
        if self.width > _WIDEST_MULTIPLIED or count < 1:
            return self
        if len(x) > _SAMPLE:
            some = np.sort(np.random.default_rng(seed).permutation(len(x))[:_SAMPLE])
            x, targets, counts = x.take(some), targets[some], counts[some]
        categories = np.repeat(np.arange(len(self.levels)), self.levels)
        sources = np.concatenate([np.arange(len(self.mean)), self.indicated, -1 - categories])
        columns = self.plain(x, *self.numbers(x))
        pairs = best_pairs(columns, sources, len(self.mean), targets, counts, count)
        sizes = np.array([(columns[:, a] * columns[:, b]).std() for a, b in pairs])
        return replace(self, left=pairs[:, 0].copy(), right=pairs[:, 1].copy(), sizes=np.maximum(sizes, 1e-3))

    @property
    def width(self) -> int:
        """How many columns come before hinges and products."""
        return len(self.mean) + len(self.indicated) + int(self.levels.sum())

    def matrix(self, x: Features) -> Array:
        """float64 [n, columns]."""
        standard, missing = self.numbers(x)
        out = np.zeros((len(x), self.columns))  # filled in place: its parts beside it would be as large
        self._fill(out, x, standard, missing)
        products = self.width + len(self.bent)
        for number, column in enumerate(self.bent):
            hinge = out[:, self.width + number]
            np.maximum(standard[:, column] - self.knots[number], 0.0, out=hinge)
            hinge /= self.spans[number]
        for number, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            product = out[:, products + number]
            np.multiply(out[:, left], out[:, right], out=product)
            product /= self.sizes[number]
        return out

    def plain(self, x: Features, standard: Array, missing: Array) -> Array:
        """The columns before hinges and products: float64 [n, width], given what `numbers` says."""
        out = np.zeros((len(x), self.width))
        self._fill(out, x, standard, missing)
        return out

    def _fill(self, out: Array, x: Features, standard: Array, missing: Array) -> None:
        first = len(self.mean) + len(self.indicated)
        out[:, : len(self.mean)] = standard
        out[:, len(self.mean) : first] = missing[:, self.indicated]
        for j, levels in enumerate(self.levels):
            _mark(out[:, first : first + levels], x.categorical[:, j])
            first += levels

    @property
    def columns(self) -> int:
        """How many there are in all."""
        return self.width + len(self.bent) + len(self.left)

    def is_consistent(self) -> bool:
        """Whether all that the arrays name is there: those of a stored design may be anybody's."""
        places = (self.indicated, self.levels, self.bent, self.left, self.right)
        alike = [
            (self.low, self.high, self.scale, self.mean),
            (self.bent, self.knots, self.spans),
            (self.left, self.right, self.sizes),
            *((array,) for array in places),
        ]
        if not all(array.ndim == 1 and len(array) == len(arrays[0]) for arrays in alike for array in arrays):
            return False
        if not all(array.dtype == np.int64 for array in places):
            return False
        if not ((self.levels >= 0) & (self.levels <= MOST_ONE_HOT)).all():
            return False
        numbers, width = len(self.mean), self.width
        named = (self.indicated, numbers), (self.bent, numbers), (self.left, width), (self.right, width)
        return all(bool(((array >= 0) & (array < count)).all()) for array, count in named)

    def products(self, plain: Array) -> Array:
        """Those of plain columns: float64 [n, products]."""
        return np.asarray(plain[:, self.left] * plain[:, self.right] / self.sizes)

    def hinges(self, standard: Array) -> Array:
        """The hinges of standardised numbers: float64 [n, hinges]."""
        return np.asarray(np.maximum(standard[:, self.bent] - self.knots, 0.0) / self.spans)

    def numbers(self, x: Features) -> tuple[Array, Array]:
        """The standardised numbers, and which of them are missing: float64 and bool [n, p]."""
        numeric = np.asarray(x.numeric, dtype=np.float64)
        missing = np.isnan(numeric)
        clipped = np.minimum(np.maximum(np.where(missing, self.mean, numeric), self.low), self.high)
        standard = (clipped - self.mean) / self.scale
        standard[missing] = 0.0
        return standard, missing


def most_products(wanted: int, rows: int) -> int:
    """How many of the `wanted` products so many rows may have in memory."""
    return min(wanted, _MOST_CELLS // max(1, rows))


def _quantiles(numeric: Array) -> tuple[Array, Array]:
    low, high = np.full(numeric.shape[1], -_WIDEST), np.full(numeric.shape[1], _WIDEST)
    for j in range(numeric.shape[1]):
        known = numeric[~np.isnan(numeric[:, j]), j]
        if len(known):
            low[j], high[j] = np.quantile(known, [_CLIP, 1 - _CLIP])
            if low[j] == high[j]:
                low[j], high[j] = known.min(), known.max()
    return low, high


def _hinges(numbers: tuple[Array, Array], x: Features, most: int) -> dict[str, Array]:
    """`bent`, `knots` and `spans` of a design whose standardised numbers, and which are missing, are given."""
    standard, missing = numbers
    columns = [j for j, name in enumerate(x.numeric_names) if not is_topic(name)]
    count = min(most, _MOST_CELLS // max(1, len(x) * len(columns)))
    found = [(j, _knots(standard[~missing[:, j], j], count)) for j in columns if count]
    bent = np.array([j for j, knots in found for _ in knots], np.int64)
    knots = np.array([knot for _, knots in found for knot in knots], np.float64)
    # Column by column: all hinges at once would be as large as the design, several times over.
    spans = [np.maximum(standard[:, j, None] - knots, 0.0).std(axis=0) for j, knots in found]
    return {"bent": bent, "knots": knots, "spans": np.maximum(np.concatenate([np.zeros(0), *spans]), 1e-3)}


def _knots(values: Array, count: int) -> Array:
    """At most `count` quantiles between the least and the greatest value; none where values are few."""
    if len(np.unique(values[:_SAMPLE])) <= count + 1:
        return np.zeros(0)
    knots = np.unique(np.quantile(values, np.linspace(0, 1, count + 2)[1:-1]))
    return np.asarray(knots[(knots > values.min()) & (knots < values.max())])


def _mark(out: Array, codes: Array) -> None:
    """Sets ones in [n, levels] zeros; a code beyond the last level has no column."""
    rows = np.flatnonzero(codes < out.shape[1])
    out[rows, codes[rows]] = 1.0
