"""What a network reads of a row: scaled numbers, indicators and one-hot columns, and codes to embed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pilothouse.engines.base import Array

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_ONE_HOT_LEVELS = 9

_SCALED_AT_ONCE = 1 << 20
"""Values, of which there are several copies in double precision meanwhile."""

_KNEE = 3.0
"""Scaled numbers are squeezed smoothly into (-3, 3), so that no outlier drives a layer."""


@dataclass(frozen=True)
class Inputs:
    """Numbers are centred on the median and divided by the spread between the quartiles (where that is 0: by the
    standard deviation), then squeezed: x / sqrt(1 + (x / 3)^2), as RealMLP does (Holzmueller et al. 2024). A missing
    number becomes the mean of its column, and has an indicator. Code 0 has no one-hot column.

    `kept` are the numeric columns that vary, `indicated` those with missing values in training; `hot` and `embedded`
    are categorical columns, `levels` the cardinality of every categorical column.
    """

    kept: Array
    centre: Array
    spread: Array
    fill: Array
    indicated: Array
    hot: Array
    embedded: Array
    levels: Array

    @classmethod
    def fit(cls, x: Features, *, one_hot: int = _ONE_HOT_LEVELS) -> Inputs:
        """Columns with more levels than `one_hot` are embedded."""
        columns = [_scale(x.numeric[:, j]) for j in range(x.numeric.shape[1])]
        kept = np.array([j for j, (_, spread, _) in enumerate(columns) if spread > 0], dtype=np.int64)
        centre, spread, fill = (np.array([columns[j][i] for j in kept], dtype=np.float32) for i in range(3))
        levels = np.array(x.cardinalities, dtype=np.int64)
        indicated = np.flatnonzero(np.isnan(x.numeric).any(axis=0))
        many = levels > one_hot
        return cls(kept, centre, spread, fill, indicated, np.flatnonzero(~many), np.flatnonzero(many), levels)

    @property
    def extra(self) -> int:
        """How many columns `extras` has."""
        return len(self.indicated) + int(sum(self.levels[j] - 1 for j in self.hot))

    def numbers(self, x: Features) -> Array:
        """float32 [n, len(kept)]."""
        together = max(1, _SCALED_AT_ONCE // max(len(self.kept), 1))
        if len(x) <= together:
            return self._scaled(x.numeric)
        out = np.empty((len(x), len(self.kept)), np.float32)
        for start in range(0, len(x), together):
            rows = slice(start, start + together)
            out[rows] = self._scaled(x.numeric[rows])
        return out

    def _scaled(self, numeric: Array) -> Array:
        values = numeric[:, self.kept]
        scaled = (values.astype(np.float64) - self.centre) / self.spread
        squeezed = np.where(np.isnan(values), self.fill, scaled / np.sqrt(1.0 + (scaled / _KNEE) ** 2))
        return np.asarray(squeezed, dtype=np.float32)

    def extras(self, x: Features) -> Array:
        """Indicators of missing numbers, then the one-hot columns: float32 [n, extra]."""
        out = np.zeros((len(x), self.extra), dtype=np.float32)
        at = len(self.indicated)
        out[:, :at] = np.isnan(x.numeric[:, self.indicated])
        for j in self.hot:
            codes = x.categorical[:, j]
            rows = np.flatnonzero(codes > 0)
            out[rows, at + codes[rows] - 1] = 1.0
            at += self.levels[j] - 1
        return out

    def codes(self, x: Features) -> Array:
        """int64 [n, len(embedded)]."""
        return np.asarray(x.categorical[:, self.embedded], dtype=np.int64)


def _scale(values: Array) -> tuple[float, float, float]:
    """Centre and spread of a column, and the mean of what it becomes; a spread of 0 means that it is constant."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return 0.0, 0.0, 0.0
    low, centre, high = np.quantile(known, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349 if high > low else known.std()
    if spread <= 0:
        return float(centre), 0.0, 0.0
    scaled = (known - centre) / spread
    return float(centre), float(spread), float(np.mean(scaled / np.sqrt(1.0 + (scaled / _KNEE) ** 2)))
