"""Bayesian search: a model of the findings proposes the next point.

The first points are a scrambled Sobol sequence. Then a Gaussian process with expected improvement chooses while
findings are few, the tree-structured Parzen estimator when they are many. Both see the trials that run. Beyond what is
quick to model, points are drawn around the best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.stats import qmc
from threadpoolctl import ThreadpoolController

from pilothouse.catalog.tuning_ranges import CategoricalRange, ContinuousRange, Range, number
from pilothouse.tuning import acquisition, estimator
from pilothouse.tuning.draws import generator, tried_points, unseen
from pilothouse.tuning.knowledge import Knowledge
from pilothouse.tuning.process import Array, Process
from pilothouse.tuning.ranges import Point, Space, coordinate

MOST_FOR_PROCESS = 200
"""Findings and running trials up to which the Gaussian process is asked; its time grows with their square."""

MOST_FOR_ESTIMATOR = 1000
"""Findings up to which the Parzen estimator is asked; its time grows with them."""

FIRST = 6
"""Findings that a model has to have."""

_MOST_CELLS = 256
_BEST, _NEAR = 20, 0.1


@dataclass(frozen=True)
class Bayesian:
    """Proposes points of `space`; see the module, and `Proposer`."""

    space: Space
    seed: tuple[int, ...]

    def propose(self, place: int, known: Knowledge) -> Point:
        """See `Proposer`."""
        source = generator(self.seed, place)
        tried = tried_points(self.space, known)
        with _threads().limit(limits=1):  # matrices are small, and cores belong to the trials
            points = self._proposed(place, known, source)
        for point in points:
            if (snapped := self.space.snapped(point)) not in tried:
                return snapped
        return unseen(self.space, source, known)

    @functools.cached_property
    def _sides(self) -> list[int]:
        """The places of the ranges that have more than one value."""
        return [i for i, each in enumerate(self.space.ranges) if each.size > 1]

    @functools.cached_property
    def _order(self) -> list[Range]:
        return [self.space.ranges[i] for i in self._sides]

    def _proposed(self, place: int, known: Knowledge, source: np.random.Generator) -> Sequence[Point]:
        """Points from the best to the worst; those that have been tried may be among them."""
        if not self._sides:
            return []
        if sum(math.isfinite(finding.loss) for finding in known.findings) < FIRST:
            return [self._spread(place)]
        if len(known.findings) > MOST_FOR_ESTIMATOR:
            return [self._near_the_best(known, source)]
        losses = bounded([finding.loss for finding in known.findings])
        if len(known.findings) + len(known.pending) <= MOST_FOR_PROCESS:
            try:
                return self._improving(known, losses, source)
            except linalg.LinAlgError:
                pass  # the estimator takes any numbers
        return [self._estimated(known, losses, source)]

    def _spread(self, place: int) -> Point:
        """The Sobol sequence's point of this place."""
        sequence = qmc.Sobol(len(self.space.ranges), scramble=True, rng=np.random.default_rng(self.seed))
        if place:
            sequence.fast_forward(place)
        return tuple(sequence.random(1)[0].tolist())

    def _improving(self, known: Knowledge, losses: Sequence[float], source: np.random.Generator) -> list[Point]:
        sides = [_ModelSide.of(each) for each in self._order]
        unordered = np.array([side.is_unordered for side in sides])
        inside = self._modelled(sides, [finding.point for finding in known.findings])
        process = Process.fitted(inside, np.array(losses), unordered)
        pending = self._modelled(sides, known.pending)
        found = acquisition.best_points(process, pending, [side.cells for side in sides], source)
        return [self._whole([side.outside(unit) for side, unit in zip(sides, point, strict=True)]) for point in found]

    def _modelled(self, sides: Sequence[_ModelSide], points: Sequence[Point]) -> Array:
        rows = [[side.inside(point[i]) for side, i in zip(sides, self._sides, strict=True)] for point in points]
        return np.array(rows, np.float64).reshape(len(rows), len(sides))

    def _estimated(self, known: Knowledge, losses: Sequence[float], source: np.random.Generator) -> Point:
        points, pending = (
            [self._part(point) for point in points]
            for points in ([finding.point for finding in known.findings], known.pending)
        )
        return self._whole(estimator.proposed(self._order, points, losses, pending, int(source.integers(2**31))))

    def _near_the_best(self, known: Knowledge, source: np.random.Generator) -> Point:
        """One of the best points, some of its coordinates moved; every fourth time anywhere."""
        anywhere = source.random(len(self.space.ranges))
        if source.random() < 0.25:
            return tuple(anywhere.tolist())
        best = sorted(known.findings, key=lambda finding: finding.loss)[:_BEST]
        point = np.array(best[int(source.integers(len(best)))].point)
        moved = source.random(len(point)) < 0.5
        near = np.clip(point + source.normal(0, _NEAR, len(point)), 0, 1)
        return tuple(np.where(moved, near, point).tolist())

    def _part(self, point: Point) -> Point:
        return tuple(point[i] for i in self._sides)

    def _whole(self, part: Sequence[float]) -> Point:
        """The point with these coordinates, single values filled in."""
        point = [0.5] * len(self.space.ranges)
        for i, unit in zip(self._sides, part, strict=True):
            point[i] = unit
        return tuple(point)


@dataclass(frozen=True)
class _ModelSide:
    """One side of the cube as the Gaussian process sees it.

    Categories that are numbers are put in their order, so that 16 and 64 tell about 32; others are 0 or 1 apart.
    `ranks` are the places of the categories in that order.
    """

    cells: Array | None
    is_unordered: bool = False
    ranks: tuple[int, ...] = ()

    @classmethod
    def of(cls, each: Range) -> _ModelSide:
        if isinstance(each, CategoricalRange):
            middles = (np.arange(len(each.values)) + 0.5) / len(each.values)
            ranks = _ranks(each.values)
            return cls(middles, is_unordered=ranks is None, ranks=ranks or tuple(range(len(each.values))))
        if isinstance(each, ContinuousRange) or each.size > _MOST_CELLS:
            return cls(None)
        return cls(np.array([coordinate(each, value) for value in range(each.low, each.high + 1)]))

    def inside(self, unit: float) -> float:
        return (self.ranks[self._cell(unit)] + 0.5) / len(self.ranks) if self.ranks else unit

    def outside(self, unit: float) -> float:
        return (self.ranks.index(self._cell(unit)) + 0.5) / len(self.ranks) if self.ranks else unit

    def _cell(self, unit: float) -> int:
        return min(int(unit * len(self.ranks)), len(self.ranks) - 1)


@functools.cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def bounded(losses: Sequence[float]) -> list[float]:
    """The losses without their worst tail, which a model of the good ones should not have to follow.

    None is worse than the median by more than three times the distance from the best to the median; what failed is
    as bad as the worst that did not.
    """
    known = np.array([loss for loss in losses if math.isfinite(loss)])
    best, middle = float(known.min()), float(np.median(known))
    bound = middle + 3 * (middle - best) if middle > best else math.inf
    worst = min(bound, float(known.max()))
    return [min(loss, worst) for loss in losses]


def _ranks(values: Sequence[str]) -> tuple[int, ...] | None:
    """The place of each value in numerical order; None unless they are at least three different numbers."""
    try:
        numbers = [number(value) for value in values]
    except ValueError:
        return None
    if len(values) < 3 or len(set(numbers)) < len(values):
        return None
    ordered = sorted(numbers)
    return tuple(ordered.index(each) for each in numbers)
