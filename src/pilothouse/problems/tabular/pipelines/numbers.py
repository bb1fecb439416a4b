"""Blocks of numeric features: as they are, scaled, bent, and multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pilothouse.data import sample
from pilothouse.problems.tabular.pipelines.block import Array, State

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_SAMPLE = 100_000
_QUANTILES = 101
_KNEE = 3.0
"""Scaled numbers are squeezed smoothly into (-3, 3), as x / sqrt(1 + (x / 3)^2), so that no outlier leads a model."""

_NORMAL = 1.349
"""The distance between the quartiles of a normal distribution, in standard deviations."""

_KNOTS = (0.2, 0.5, 0.8)
_MOST_MULTIPLIED = 8


@dataclass(frozen=True)
class Raw:
    """Numbers as they are, for algorithms that know what to do with missing ones."""

    kind: ClassVar[str] = "raw"
    names: list[str]

    @classmethod
    def fit(cls, x: Features) -> Raw:
        return cls(list(x.numeric_names))

    def transform(self, x: Features) -> Array:
        return np.asarray(x.numeric, dtype=np.float32)

    def state(self) -> State:
        return {"names": self.names}, {}

    @classmethod
    def restore(cls, facts: dict[str, Any], _arrays: dict[str, Array]) -> Raw:
        return cls(facts["names"])


@dataclass(frozen=True)
class Scaled:
    """Numbers around 0: divided by the distance between the quartiles and squeezed (`robust`), or mapped by their rank
    to a normal distribution (`normal`, linear between 101 quantiles). A missing number is 0, and has an indicator
    if any was missing in training.

    `grid`: float64 [quantiles, p], the quantiles of each number. `missing`: the numbers that have an indicator.
    """

    kind: ClassVar[str] = "scaled"
    names: list[str]
    shape: str
    grid: Array
    missing: Array

    @classmethod
    def fit(cls, x: Features, shape: str) -> Scaled:
        numeric = _some(x.numeric)
        levels = [0.25, 0.5, 0.75] if shape == "robust" else np.linspace(0, 1, _QUANTILES)
        columns = [_quantiles(numeric[:, j], levels) for j in range(numeric.shape[1])]
        grid = np.stack(columns, axis=1) if columns else np.zeros((len(levels), 0))
        missing = np.flatnonzero(np.isnan(x.numeric).any(axis=0))
        names = [*x.numeric_names, *(f"{x.numeric_names[j]}:missing" for j in missing)]
        return cls(names, shape, grid, missing)

    def numbers(self, numeric: Array) -> Array:
        """The scaled `numeric` [n, p], without the indicators: float64."""
        values = np.asarray(numeric, dtype=np.float64)
        scaled = self._robust(values) if self.shape == "robust" else self._normal(values)
        return np.where(np.isnan(values), 0.0, scaled)

    def transform(self, x: Features) -> Array:
        indicators = np.isnan(x.numeric[:, self.missing])
        return np.concatenate([self.numbers(x.numeric), indicators], axis=1).astype(np.float32)

    def _robust(self, values: Array) -> Array:
        low, middle, high = self.grid
        spread = np.where(high > low, (high - low) / _NORMAL, np.maximum(np.abs(middle), 1.0))
        scaled = (values - middle) / spread
        return np.asarray(scaled / np.sqrt(1.0 + (scaled / _KNEE) ** 2))

    def _normal(self, values: Array) -> Array:
        from scipy.special import ndtri

        scores = ndtri(np.linspace(0, 1, _QUANTILES).clip(0.5 / _QUANTILES, 1 - 0.5 / _QUANTILES))
        out = np.empty(values.shape)
        for j in range(values.shape[1]):
            # Equal quantiles are a jump; taken from both sides and averaged it is the rank's middle.
            grid = self.grid[:, j]
            above = np.interp(values[:, j], grid, scores)
            below = -np.interp(-values[:, j], -grid[::-1], -scores[::-1])
            out[:, j] = (above + below) / 2
        return out

    def state(self) -> State:
        return {"names": self.names, "shape": self.shape}, {"grid": self.grid, "missing": self.missing}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Scaled:
        return cls(facts["names"], facts["shape"], arrays["grid"], arrays["missing"])


@dataclass(frozen=True)
class Hinges:
    """What lets the effect of a number bend: max(0, scaled number - knot), with knots at quantiles of those that take
    many values. `columns`, `knots` [hinges]: the number and the place of each.
    """

    kind: ClassVar[str] = "hinges"
    names: list[str]
    scaled: Scaled
    columns: Array
    knots: Array

    @classmethod
    def fit(cls, x: Features, shape: str) -> Hinges:
        scaled = Scaled.fit(x, shape)
        rows = _some(x.numeric)
        numbers, missing = scaled.numbers(rows), np.isnan(rows)
        found = [(j, knot) for j in range(numbers.shape[1]) for knot in _knots(numbers[~missing[:, j], j])]
        columns = np.array([j for j, _ in found], np.int64)
        names = [f"{x.numeric_names[j]}:above:{knot:.3g}" for j, knot in found]
        return cls(names, scaled, columns, np.array([knot for _, knot in found], np.float64))

    def transform(self, x: Features) -> Array:
        above = np.maximum(self.scaled.numbers(x.numeric)[:, self.columns] - self.knots, 0.0)
        return np.asarray(above, dtype=np.float32)

    def state(self) -> State:
        facts, arrays = self.scaled.state()
        return {"names": self.names, "scaled": facts}, {**arrays, "columns": self.columns, "knots": self.knots}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Hinges:
        return cls(facts["names"], Scaled.restore(facts["scaled"], arrays), arrays["columns"], arrays["knots"])


@dataclass(frozen=True)
class Products:
    """Products of two scaled numbers each, among the few that take the most values. `pairs`: int64 [products, 2]."""

    kind: ClassVar[str] = "products"
    names: list[str]
    scaled: Scaled
    pairs: Array

    @classmethod
    def fit(cls, x: Features) -> Products:
        few = _some(x.numeric)[:5000]
        values = [len(np.unique(few[~np.isnan(few[:, j]), j])) for j in range(few.shape[1])]
        chosen = sorted(np.argsort([-count for count in values], kind="stable")[:_MOST_MULTIPLIED].tolist())
        pairs = list(combinations(chosen, 2))
        names = [f"{x.numeric_names[a]}*{x.numeric_names[b]}" for a, b in pairs]
        return cls(names, Scaled.fit(x, "robust"), np.array(pairs, np.int64).reshape(-1, 2))

    def transform(self, x: Features) -> Array:
        numbers = self.scaled.numbers(x.numeric)
        return (numbers[:, self.pairs[:, 0]] * numbers[:, self.pairs[:, 1]]).astype(np.float32)

    def state(self) -> State:
        facts, arrays = self.scaled.state()
        return {"names": self.names, "scaled": facts}, {**arrays, "pairs": self.pairs}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Products:
        return cls(facts["names"], Scaled.restore(facts["scaled"], arrays), arrays["pairs"])


def _some(values: Array) -> Array:
    """At most 100,000 rows, from all over them, as float64."""
    return np.asarray(values[sample.spread(len(values), _SAMPLE)], dtype=np.float64)


def _quantiles(values: Array, levels: Any) -> Array:
    known = values[~np.isnan(values)]
    return np.quantile(known, levels) if len(known) else np.zeros(len(levels))


def _knots(values: Array) -> list[float]:
    if len(np.unique(values[:5000])) <= 2 * len(_KNOTS):
        return []
    found = np.unique(np.quantile(values, _KNOTS))
    return [float(knot) for knot in found if values.min() < knot < values.max()]
