"""A channel's rows as the linear learner reads them: standardised, so many at a time as memory has room for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pilothouse.data.features import Features
from pilothouse.errors import DataError
from pilothouse.training.algorithms.labelled import Labelled
from pilothouse.training.algorithms.linear_parameters import Parameters

CELLS = 8 << 20
"""Values of the rows that are in memory, and are mixed with each other, at a time: 64 MB."""

_PIECE = 4096
"""Most neighbouring rows that are read together when rows are mixed."""

_PIECES = 32
"""Least pieces that are mixed with each other, where so many rows have room."""

Array = Any


@dataclass(frozen=True)
class Data:
    """Rows, ready: standardised features, and labels as numbers, or as the number of their class."""

    x: Array
    y: Array
    weights: Array


@dataclass(frozen=True)
class Scaling:
    """How features and labels are standardised, and the sorted labels of classes."""

    mean: Array
    scale: Array
    classes: Array
    center: float
    spread: float

    @classmethod
    def of(cls, parameters: Parameters, train: Labelled) -> Scaling:
        """Learnt from all rows of the channel train. `DataError` if values are missing, or labels do not fit."""
        mean, deviation = _moments(train, "train")
        if not parameters.normalize:
            mean, deviation = np.zeros(train.width), np.ones(train.width)
        labels = np.asarray(train.labels, dtype=np.float64)
        classes = parameters.classes(labels)
        center, spread = 0.0, 1.0
        if parameters.predictor == "regressor" and parameters.normalize_label:
            center, spread = float(labels.mean()), float(labels.std()) or 1.0
        return cls(mean, np.where(deviation > 0, deviation, 1.0), classes, center, spread)


class Rows:
    """A channel, whose rows come into memory for their turn only; of few rows all are kept there."""

    def __init__(self, name: str, part: Labelled, scaling: Scaling, parameters: Parameters) -> None:
        """`DataError` if values are missing, or labels are none of the classes."""
        if name != "train":
            _moments(part, name)
        self._part, self._scaling = part, scaling
        self._of_classes: Array | None = None
        if parameters.predictor != "regressor":
            found, counts = np.unique(part.labels, return_counts=True)
            places = self._classes_of(found)
            if (scaling.classes[places] != found).any():
                raise DataError(f"The channel {name} has labels that are none of the classes of the training data.")
            self._of_classes = parameters.class_weights(np.bincount(places, counts, len(scaling.classes)))

    def pieces(self) -> Iterator[Data]:
        """All rows in their order."""
        if self._fits:
            yield self._all
            return
        start = 0
        for block in self._part.rows.blocks(self._together):
            yield self._ready(slice(start, start := start + len(block)), block)

    def mixed(self, random: np.random.Generator) -> Iterator[Data]:
        """All rows, of which those that come together are from all over the channel."""
        if self._fits:
            yield self._all
            return
        count = len(self._part.labels)
        size = max(1, min(_PIECE, self._together // _PIECES))
        pieces = random.permutation(-(-count // size))
        together = self._together // size
        for start in range(0, len(pieces), together):
            chosen = np.sort(pieces[start : start + together]) * size
            rows = np.concatenate([np.arange(first, min(first + size, count)) for first in chosen])
            yield self._ready(rows, self._part.rows.take(rows).whole())

    @property
    def _together(self) -> int:
        return max(1, CELLS // self._part.width)

    @property
    def _fits(self) -> bool:
        return len(self._part.labels) <= self._together

    @cached_property
    def _all(self) -> Data:
        return self._ready(slice(None), self._part.rows.whole())

    def _ready(self, rows: Array | slice, block: Features) -> Data:
        x = block.numeric.astype(np.float64)
        x -= self._scaling.mean
        x /= self._scaling.scale
        labels = np.asarray(self._part.labels[rows], dtype=np.float64)
        if self._of_classes is None:
            return Data(x, (labels - self._scaling.center) / self._scaling.spread, np.ones(len(labels)))
        y = self._classes_of(labels)
        return Data(x, y, self._of_classes[y])

    def _classes_of(self, labels: Array) -> Array:
        return np.searchsorted(self._scaling.classes, labels).clip(max=len(self._scaling.classes) - 1)


def _moments(part: Labelled, name: str) -> tuple[Array, Array]:
    """Means and standard deviations of the features, put together from those of blocks (Chan, Golub and LeVeque,
    "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979)."""
    count, mean, squares = 0, np.zeros(part.width), np.zeros(part.width)
    for block in part.rows.blocks(max(1, CELLS // part.width)):
        x = block.numeric.astype(np.float64)
        if not np.isfinite(x).all():
            raise DataError(
                f"The channel {name} has missing values, which a linear model cannot use. Fill them before."
            )
        own, apart = len(x), x.mean(axis=0) - mean
        squares += own * x.var(axis=0) + apart**2 * (count * own / (count + own))
        mean += apart * (own / (count + own))
        count += own
    return mean, np.sqrt(squares / count)
