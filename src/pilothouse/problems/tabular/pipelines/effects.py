"""The block that says what the levels of categories have to do with the target, where rows are many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pilothouse.problems.tabular.pipelines.block import Array, State

if TYPE_CHECKING:
    from pilothouse.data.features import Features
    from pilothouse.problems.tabular.dataset import Dataset

MOST_CLASSES = 10
"""Each class but one of two has a column of its own for each category; with more of them there are none."""

_MOST_COLUMNS = 32
"""Of a matrix; the categories with the most levels come first."""

_PRIOR = 20.0
"""Rows that speak for the mean of all rows beside those of a level."""

_LEAST = 100
"""Rows that a level has at least, so that none of them counts for much; of the others nothing is said."""


@dataclass(frozen=True)
class Lessons:
    """Rows to learn effects from: features `x`, the targets `y` [n] with so many `classes` (0: values) and weights.

    Nobody may be judged on these rows.
    """

    x: Features
    y: Array
    classes: int
    w: Array | None = None

    @classmethod
    def of(cls, data: Dataset, rows: Array) -> Lessons:
        """From these rows of a data set, which are copied without their numbers."""
        x = replace(data.features, numeric=data.features.numeric[:, :0], numeric_names=[], sparse=None)
        w = None if data.w is None else data.w[rows]
        return cls(x.take(rows), data.y[rows], len(data.classes or ()), w)

    @property
    def outcomes(self) -> Array:
        """float64 [n, columns]: the values, whether it is class 1 of two, or whether it is each of the classes."""
        if not self.classes:
            return np.asarray(self.y, np.float64)[:, None]
        if self.classes > MOST_CLASSES:
            return np.zeros((len(self.y), 0))
        of = [1] if self.classes == 2 else range(self.classes)
        return np.column_stack([self.y == each for each in of]).astype(np.float64)


@dataclass(frozen=True)
class Effects:
    """How the outcomes of a row's level differ from those of all rows, for each category with more than `above` levels:
    the difference of log odds for classes, of means in standard deviations for values; 0 where little is known.

    `table` float64 [codes, outcomes]: the row of category i's code v is `starts[i] + v`.
    """

    kind: ClassVar[str] = "effects"
    names: list[str]
    columns: Array
    starts: Array
    table: Array

    @classmethod
    def fit(cls, lessons: Lessons, above: int) -> Effects:
        x, outcomes = lessons.x, lessons.outcomes
        w = np.ones(len(outcomes)) if lessons.w is None else lessons.w * (len(outcomes) / max(lessons.w.sum(), 1e-300))
        count = outcomes.shape[1]
        columns = _widest(x.cardinalities, above, _MOST_COLUMNS // count) if count else []
        tables = [_effects(x.categorical[:, j], x.cardinalities[j], outcomes, w, lessons.classes) for j in columns]
        starts = np.cumsum([0, *map(len, tables)])[:-1]
        names = [f"{x.categorical_names[j]}:effect{i if count > 1 else ''}" for j in columns for i in range(count)]
        table = np.concatenate([*tables, np.zeros((0, count))])
        return cls(names, np.array(columns, np.int64), starts, table)

    def transform(self, x: Features) -> Array:
        found = self.table[x.categorical[:, self.columns] + self.starts]
        return found.reshape(len(x), len(self.names)).astype(np.float32)

    def state(self) -> State:
        return {"names": self.names}, {"columns": self.columns, "starts": self.starts, "table": self.table}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Effects:
        return cls(facts["names"], arrays["columns"], arrays["starts"], arrays["table"])


def _widest(cardinalities: list[int], above: int, most: int) -> list[int]:
    """The places of the categories with more than `above` levels, or of the `most` that have the most."""
    found = [j for j, levels in enumerate(cardinalities) if levels - 1 > above]
    return sorted(sorted(found, key=lambda j: -cardinalities[j])[:most])


def _effects(codes: Array, levels: int, outcomes: Array, w: Array, classes: int) -> Array:
    """[levels, outcomes]. Means are shrunk to that of all rows (Micci-Barreca, "A preprocessing scheme for
    high-cardinality categorical attributes", 2001)."""
    rows, weights = np.bincount(codes, minlength=levels), np.bincount(codes, w, levels)
    sums = np.column_stack([np.bincount(codes, w * column, levels) for column in outcomes.T])
    overall = w @ outcomes / max(w.sum(), 1e-300)
    means = (sums + _PRIOR * overall) / (weights + _PRIOR)[:, None]
    if classes:
        effects = _log_odds(means) - _log_odds(overall)
    else:
        spread = np.sqrt(w @ (outcomes - overall) ** 2 / max(w.sum(), 1e-300))
        effects = (means - overall) / np.where(spread > 0, spread, 1.0)
    effects[rows < _LEAST] = 0.0
    return np.asarray(effects)


def _log_odds(shares: Array) -> Array:
    inside = np.clip(shares, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside) - np.log1p(-inside))
