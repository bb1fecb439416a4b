"""What a search knows of one training job definition when it has to propose a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pilothouse.tuning.ranges import Point


@dataclass(frozen=True)
class Finding:
    """A point that has been tried and its loss: less is better; infinity for one that failed or gave no number.

    `elsewhere`: on other data, so that trying it here is still worth something.
    """

    point: Point
    loss: float
    elsewhere: bool = False


@dataclass(frozen=True)
class Knowledge:
    """The findings, those of this job in the order of their trials' numbers, and the points of the trials that run."""

    findings: Sequence[Finding] = ()
    pending: Sequence[Point] = ()


class Proposer(Protocol):
    """A way to choose points in one space. Its answer depends on its arguments and its seed alone, so that a search
    which is started again from its records goes on as it would have.
    """

    def propose(self, place: int, known: Knowledge) -> Point | None:
        """The point of the trial that has `place` others of its definition before it; None if there is none left."""
