"""All combinations of categorical ranges, the last range's values changing fastest."""

from __future__ import annotations

from dataclasses import dataclass

from pilothouse.tuning.knowledge import Knowledge
from pilothouse.tuning.ranges import Point, Space


@dataclass(frozen=True)
class Grid:
    """The combinations of a finite space, one after another."""

    space: Space

    def propose(self, place: int, known: Knowledge) -> Point | None:  # noqa: ARG002 (the shape of a Proposer)
        """See `Proposer`: the combination whose turn it is, or None after the last."""
        point = []
        for each in reversed(self.space.ranges):
            place, cell = divmod(place, int(each.size))
            point.append((cell + 0.5) / each.size)
        return tuple(reversed(point)) if place == 0 else None
