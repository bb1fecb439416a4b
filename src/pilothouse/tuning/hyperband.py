"""Hyperband: most trials are stopped after a few epochs, and what those save goes to the best.

The asynchronous kind with one bracket (ASHA: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"),
in its stopping variant, as in Syne Tune, since a process that has been stopped can't be taken up again.
"""

from __future__ import annotations

import bisect

from pilothouse.catalog.tuning_jobs import Resources
from pilothouse.tuning.stopping import Advice

FACTOR = 3
"""Between the resources of two rungs; one trial of so many goes on from each."""


class Hyperband:
    """A `Stopper` with rungs at MinResource, three times that, and so on below MaxResource.

    A resource is a value of the objective emitted. A trial goes on from a rung if it is in the best third of those that
    have been there, itself included; the first two always do. At MaxResource every trial is stopped, but where it ends
    itself then: it has yet to save what it has learnt, and is stopped only if it goes on.
    """

    def __init__(self, resources: Resources) -> None:
        self._least, self._most = resources.least, resources.most or resources.least
        self._last = self._most + 1 if resources.suffices else self._most
        self._rungs: dict[int, list[float]] = {level: [] for level in levels(self._least, self._most)}
        self._reached: dict[int, int] = {}

    def report(self, number: int, step: int, loss: float) -> Advice:
        """See `Stopper`."""
        advice: Advice = "go"
        for level, rung in self._rungs.items():
            if self._reached.get(number, 0) < level <= step:
                self._reached[number] = level
                bisect.insort(rung, loss)
                advice = "go" if _goes_on(rung, loss) else "stop"
        return "stop" if step >= self._last else advice

    def end(self, number: int) -> None:
        """See `Stopper`. The rungs keep what the trial reached."""
        self._reached.pop(number, None)


def levels(least: int, most: int) -> list[int]:
    """The resources of the rungs: from `least` by factors of three, below `most`."""
    found = []
    while least < most:
        found.append(least)
        least *= FACTOR
    return found


def _goes_on(rung: list[float], loss: float) -> bool:
    better = bisect.bisect_left(rung, loss)
    return len(rung) < FACTOR or better < len(rung) // FACTOR
