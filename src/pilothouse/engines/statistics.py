"""Target statistics: what the target was like at each level of a category, as numbers for engines that can't see it.

A level's statistic is its mean target (of a class: its share), drawn towards the mean of all rows by a prior that
counts for m rows: (sum of w y + m mean) / (sum of w + m), the m-estimate of Micci-Barreca, "A preprocessing scheme for
high-cardinality categorical attributes", SIGKDD Explorations 3(1), 2001; m is estimated from all training rows.

But for m, a training row's own target never enters its own statistic, which comes from the other `PARTS` - 1 parts of
the training rows. Rows that are predicted, or watched for early stopping, get the statistic of all training rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, Task
from pilothouse.engines.widened import WidenedEngine, restored

if TYPE_CHECKING:
    from pilothouse.data.features import Features

LEVELS = 30
"""Categories with more levels get statistics."""

RELIABLE = 0.5
"""The share of a statistic's variance that must be the levels' own, not chance; noisier ones only lead trees astray."""

LEAST_PRIOR, MOST_PRIOR = 1.0, 1e6
PARTS = 5
MOST_CLASSES = 10
"""With more classes there are no statistics: a number for each class and column would drown the others."""

_FILE = "statistics.safetensors"


@dataclass(frozen=True)
class TargetStatistics:
    """`columns` [c] are the positions of the categories; the statistics of column i's level v are
    `values[starts[i] + v]`, float32 [outputs]."""

    columns: Array
    starts: Array
    values: Array

    @classmethod
    def fit(
        cls, x: Features, y: Array, w: Array | None, task: Task, seed: int
    ) -> tuple[TargetStatistics, Features] | None:
        """Statistics of the training rows, and these rows with theirs; None if no category has reliable ones."""
        if not candidates(x, task):
            return None
        targets, weights = _targets(y, task), _weights(w, len(y))
        part = (np.random.default_rng(seed).permutation(len(y)) % PARTS).astype(np.int8)
        columns, tables, others = [], [], []
        for column in candidates(x, task):
            codes, levels = x.codes(column), x.cardinalities[column]
            sums = _sums(codes * PARTS + part, targets, weights, levels * PARTS).reshape(levels, PARTS, -1)
            total = sums.sum(axis=1)
            prior = _prior_rows(total, targets, weights)
            if _reliability(total[:, -1:], prior) >= RELIABLE:
                columns.append(column)
                tables.append(_smoothed(total, prior))
                others.append(_smoothed(total[:, None, :] - sums, prior))
        if not columns:
            return None
        starts = np.cumsum([0, *map(len, tables[:-1])])
        statistics = cls(np.array(columns, np.int64), starts, np.concatenate(tables))
        return statistics, _with_own(x, statistics.columns, others, part)

    def apply(self, x: Features) -> Features:
        """`x` with the statistics as further numeric columns."""
        values = self.values[self.starts + x.categorical[:, self.columns]]
        return _widened(x, self.columns, values.reshape(len(x), len(self.columns) * self.values.shape[1]))

    def save(self, directory: Path) -> None:
        """Write them into `directory`, beside the model."""
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in vars(self).items()}, directory / _FILE)

    @classmethod
    def load(cls, directory: Path) -> TargetStatistics | None:
        """What `save` wrote in `directory`; None if nothing is there."""
        from safetensors.numpy import load_file

        return restored(cls, load_file(directory / _FILE)) if (directory / _FILE).exists() else None

    def is_consistent(self) -> bool:
        """Whether each column is there once, and its statistics are."""
        columns, starts = self.columns, self.starts
        return bool(
            columns.ndim == starts.ndim == self.values.ndim - 1 == 1
            and (columns.dtype.kind, starts.dtype.kind, self.values.dtype.kind) == ("i", "i", "f")
            and 0 < len(columns) == len(starts)
            and columns[0] >= 0
            and (np.diff(columns) > 0).all()
            and ((starts >= 0) & (starts < len(self.values))).all()
            and 0 < self.values.shape[1] <= MOST_CLASSES
        )


class WithStatistics(WidenedEngine):
    """An engine that gives another one target statistics where there are categories of many levels."""

    def widening(
        self, x: Features, y: Array, w: Array | None, task: Task, params: dict[str, Any], seed: int, threads: int
    ) -> tuple[TargetStatistics, Features] | None:
        return TargetStatistics.fit(x, y, w, task, seed)

    def stored(self, directory: Path) -> TargetStatistics | None:
        return TargetStatistics.load(directory)


def candidates(x: Features, task: Task) -> list[int]:
    """The positions of the categories that may get statistics."""
    if task.n_classes > MOST_CLASSES:
        return []
    return [column for column, levels in enumerate(x.cardinalities) if levels > LEVELS]


def _targets(y: Array, task: Task) -> Array:
    """float64 [n, outputs]: the values, whether it is class 1, or whether it is each class."""
    if task.regression:
        return np.asarray(y, np.float64)[:, None]
    classes = np.arange(1, 2) if task.binary else np.arange(task.n_classes)
    return np.asarray(y[:, None] == classes, np.float64)


def _weights(w: Array | None, rows: int) -> Array:
    """Weights of mean 1, so that the prior counts in rows."""
    return np.ones(rows) if w is None else np.asarray(w, np.float64) * (rows / max(float(w.sum()), 1e-300))


def _sums(codes: Array, targets: Array, weights: Array, size: int) -> Array:
    """[size, outputs + 1]: weighted sums of the targets, and last of the weights, by code."""
    columns = [*(targets * weights[:, None]).T, weights]
    return np.stack([np.bincount(codes, weights=column, minlength=size) for column in columns], axis=1)


def _prior_rows(total: Array, targets: Array, weights: Array) -> Array:
    """[outputs]: the rows that the prior counts for, the variance within levels over that between them.

    The variances are those of the one-way random effects model, estimated by its moments (analysis of variance).
    """
    sums, rows = total[:, :-1], total[:, -1:]
    known, n = (rows > 0).sum(), max(float(rows.sum()), 1e-300)
    explained = (sums**2 / np.maximum(rows, 1e-300)).sum(axis=0)
    grand = sums.sum(axis=0) ** 2 / n
    within = np.maximum((weights @ targets**2 - explained) / max(n - known, 1.0), 0.0)
    spread = max(n - float((rows**2).sum()) / n, 1e-300)
    between = np.maximum((explained - grand - (known - 1) * within) / spread, within / MOST_PRIOR)
    return np.asarray(np.maximum(within / np.maximum(between, 1e-300), LEAST_PRIOR))


def _reliability(rows: Array, prior: Array) -> float:
    """The mean over rows and outputs of n / (n + m), n being the rows of a row's level."""
    return float((rows**2 / (rows + prior)).sum() / max(float(rows.sum()) * len(prior), 1e-300))


def _smoothed(sums: Array, prior: Array) -> Array:
    """float32 statistics from sums by level (first axis) and part; the mean is of the same rows as the sums."""
    whole = sums.sum(axis=0)
    mean = whole[..., :-1] / np.maximum(whole[..., -1:], 1e-300)
    return np.asarray((sums[..., :-1] + prior * mean) / (sums[..., -1:] + prior), np.float32)


def _with_own(x: Features, columns: Array, others: list[Array], part: Array) -> Features:
    """Training rows with their own statistics: `others` has those of each column's levels from all parts but one."""

    def widened(block: Features, part: Array) -> Features:
        own = [table[block.codes(column), part] for column, table in zip(columns, others, strict=True)]
        return _widened(block, columns, np.concatenate(own, axis=1))

    if not isinstance(x, Selection):
        return widened(x, part)
    of_source = part
    if x.rows is not None:
        of_source = np.zeros(len(x.source), np.int8)
        of_source[x.rows] = part
    return x.widened(lambda block, rows: widened(block, of_source[rows]))


def _widened(x: Features, columns: Array, values: Array) -> Features:
    outputs = values.shape[1] // len(columns)
    names = [f"{x.categorical_names[column]}:target{i}" for column in columns for i in range(outputs)]
    numeric = np.concatenate([x.numeric, values], axis=1)
    return replace(x, numeric=numeric, numeric_names=[*x.numeric_names, *names])
