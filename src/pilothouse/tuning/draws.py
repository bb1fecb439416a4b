"""Random points, each drawn by its trial's place alone, so that a search that is started again draws the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilothouse.tuning.knowledge import Knowledge
from pilothouse.tuning.ranges import Point, Space

_MOST_DRAWS = 64


@dataclass(frozen=True)
class RandomPoints:
    """Uniform over the unit cube. A point that has been tried is drawn again, as long as another is easily found."""

    space: Space
    seed: tuple[int, ...]

    def propose(self, place: int, known: Knowledge) -> Point:
        """See `Proposer`. Losses play no part."""
        return unseen(self.space, generator(self.seed, place), known)


def generator(seed: tuple[int, ...], place: int) -> np.random.Generator:
    """The source of random numbers for one trial."""
    return np.random.default_rng([*seed, place])


def unseen(space: Space, source: np.random.Generator, known: Knowledge) -> Point:
    """A random point that has not been tried, or one that has if none was found."""
    tried = tried_points(space, known)
    for _ in range(_MOST_DRAWS):
        point = space.snapped(source.random(len(space.ranges)).tolist())
        if point not in tried:
            break
    return point


def tried_points(space: Space, known: Knowledge) -> set[Point]:
    """The points that have been given out; none where a range is continuous and no two draws are alike."""
    if not space.is_finite:
        return set()
    return {*(finding.point for finding in known.findings if not finding.elsewhere), *known.pending}
