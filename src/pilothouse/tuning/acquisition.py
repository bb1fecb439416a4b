"""Where a Gaussian process expects the most improvement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilothouse.tuning.process import Array, Process, log_expected_improvement
from pilothouse.tuning.ranges import Point

Cells = Sequence[Array | None]
"""For each side the coordinates, in ascending order, that its points can have; None where there is no such list."""

_ANYWHERE, _STARTS, _AROUND, _ROUNDS = 1024, 5, 64, 6
_WIDEST, _NARROWER = 0.2, 0.45


def best_points(process: Process, pending: Array, cells: Cells, source: np.random.Generator) -> list[Point]:
    """Points in the order of their expected improvement on the best mean of the process, which is fitted to losses.

    The best of many random points and of points around the best findings, then of ever narrower clouds around those.
    """
    believer = process.with_pending(pending) if len(pending) else process
    means, _ = believer.expects(believer.points)
    goal = float(means.min())
    leaders = believer.points[np.argsort(means, kind="stable")[:_STARTS]]
    widths = np.minimum(_WIDEST, 0.5 / np.sqrt(process.weights))
    points = _snapped(np.vstack([source.random((_ANYWHERE, len(cells))), _cloud(leaders, widths, source)]), cells)
    merits = _merits(believer, points, goal)
    for _ in range(_ROUNDS):
        starts = points[np.argsort(-merits, kind="stable")[:_STARTS]]
        found = _snapped(_cloud(starts, widths, source), cells)
        points, merits = np.vstack([points, found]), np.concatenate([merits, _merits(believer, found, goal)])
        widths = widths * _NARROWER
    return [tuple(points[i].tolist()) for i in np.argsort(-merits, kind="stable")]


def _merits(process: Process, points: Array, goal: float) -> Array:
    return log_expected_improvement(*process.expects(points), goal)


def _cloud(starts: Array, widths: Array, source: np.random.Generator) -> Array:
    """Points around the starts, some of whose coordinates are moved, a few of them to anywhere."""
    points = np.repeat(starts, _AROUND, axis=0)
    moved = source.random(points.shape) < np.maximum(0.3, source.random((len(points), 1)))
    near = points + source.normal(0, 1, points.shape) * widths
    anywhere = source.random(points.shape) < 0.05
    near = np.where(anywhere, source.random(points.shape), near)
    return np.asarray(np.clip(np.where(moved, near, points), 0, 1))


def _snapped(points: Array, cells: Cells) -> Array:
    """The points with each coordinate that has cells in the middle of the nearest one."""
    snapped = points.copy()
    for side, middles in enumerate(cells):
        if middles is not None:
            edges = (middles[1:] + middles[:-1]) / 2
            snapped[:, side] = middles[np.searchsorted(edges, points[:, side])]
    return snapped
