"""Blocks of categories: a column for each level, how common a level is, or its rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pilothouse.problems.tabular.pipelines.block import Array, State

if TYPE_CHECKING:
    from pilothouse.data.features import Features


@dataclass(frozen=True)
class OneHot:
    """A column for each level of each category, but for the `most` commonest only; whatever else is all zeros.

    `widths` [q]: how many columns each category has. Codes begin at 1 and go from the commonest level down.
    """

    kind: ClassVar[str] = "one-hot"
    names: list[str]
    widths: Array

    @classmethod
    def fit(cls, x: Features, most: int) -> OneHot:
        widths = np.array([min(levels - 1, most) for levels in x.cardinalities], np.int64)
        pairs = zip(x.categorical_names, widths.tolist(), strict=True)
        return cls([f"{name}:{code}" for name, width in pairs for code in range(1, width + 1)], widths)

    def transform(self, x: Features) -> Array:
        out = np.zeros((len(x), len(self.names)), np.float32)
        start = 0
        for j, width in enumerate(self.widths.tolist()):
            codes = x.categorical[:, j]
            rows = np.flatnonzero((codes > 0) & (codes <= width))
            out[rows, start + codes[rows] - 1] = 1.0
            start += width
        return out

    def state(self) -> State:
        return {"names": self.names}, {"widths": self.widths}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> OneHot:
        return cls(facts["names"], arrays["widths"])


@dataclass(frozen=True)
class Frequencies:
    """How common a row's level is: the logarithm of its share of the training rows, half a row at least, of each
    category with more than `above` levels. `logs` are float64, those of column i's code v at `starts[i] + v`.
    """

    kind: ClassVar[str] = "frequencies"
    names: list[str]
    columns: Array
    starts: Array
    logs: Array

    @classmethod
    def fit(cls, x: Features, above: int) -> Frequencies:
        columns = [j for j, levels in enumerate(x.cardinalities) if levels - 1 > above]
        counts = [np.bincount(x.categorical[:, j], minlength=x.cardinalities[j]) for j in columns]
        logs = [np.log(np.maximum(count, 0.5) / max(len(x), 1)) for count in counts]
        starts = np.cumsum([0, *map(len, logs)])[:-1]
        names = [f"{x.categorical_names[j]}:share" for j in columns]
        return cls(names, np.array(columns, np.int64), starts, np.concatenate([*logs, np.zeros(0)]))

    def transform(self, x: Features) -> Array:
        return self.logs[x.categorical[:, self.columns] + self.starts].astype(np.float32)

    def state(self) -> State:
        return {"names": self.names}, {"columns": self.columns, "starts": self.starts, "logs": self.logs}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Frequencies:
        return cls(facts["names"], arrays["columns"], arrays["starts"], arrays["logs"])


@dataclass(frozen=True)
class Ranks:
    """The code of each category as a number, 1 for the commonest level; NaN where it is unknown, rare or missing."""

    kind: ClassVar[str] = "ranks"
    names: list[str]

    @classmethod
    def fit(cls, x: Features) -> Ranks:
        return cls([f"{name}:rank" for name in x.categorical_names])

    def transform(self, x: Features) -> Array:
        return np.where(x.categorical > 0, x.categorical, np.nan).astype(np.float32)

    def state(self) -> State:
        return {"names": self.names}, {}

    @classmethod
    def restore(cls, facts: dict[str, Any], _arrays: dict[str, Array]) -> Ranks:
        return cls(facts["names"])
