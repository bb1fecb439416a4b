"""Early stopping: whether a trial that reports its objective epoch by epoch goes on."""

from __future__ import annotations

import bisect
from typing import Literal, Protocol

Advice = Literal["go", "stop"]

_LEAST_EARLIER = 3
"""Earlier trials that a median needs."""


class Stopper(Protocol):
    """Decides on reports. What it holds afterwards does not depend on the order in which trials reported."""

    def report(self, number: int, step: int, loss: float) -> Advice:
        """Trial `number` has emitted its value number `step`, counted from 1, whose loss this is: less is better."""

    def end(self, number: int) -> None:
        """The trial reports no more."""


class NeverStopping:
    """Lets every trial go on."""

    def report(self, number: int, step: int, loss: float) -> Advice:  # noqa: ARG002 (the shape of a Stopper)
        """See `Stopper`."""
        return "go"

    def end(self, number: int) -> None:
        """See `Stopper`."""


class MedianRule:
    """TrainingJobEarlyStoppingType Auto, as AWS describes it ("How Early Stopping Works").

    For each earlier trial the running average of its values up to the same step is taken. A trial whose value is worse
    than the median of those is stopped. Earlier trials are those that have ended, however they did; until three of them
    reached the step there is no median. A trial whose steps begin again has been started again.
    """

    def __init__(self) -> None:
        self._running: dict[int, list[tuple[int, float, float]]] = {}
        self._earlier: dict[int, list[float]] = {}

    def report(self, number: int, step: int, loss: float) -> Advice:
        """See `Stopper`."""
        so_far = self._running.setdefault(number, [])
        if so_far and step <= so_far[-1][0]:
            so_far.clear()
        total = (so_far[-1][1] if so_far else 0.0) + loss
        so_far.append((step, total, total / (len(so_far) + 1)))
        earlier = self._earlier.get(step, [])
        return "stop" if len(earlier) >= _LEAST_EARLIER and loss > _middle(earlier) else "go"

    def end(self, number: int) -> None:
        """See `Stopper`."""
        for step, _, average in self._running.pop(number, []):
            bisect.insort(self._earlier.setdefault(step, []), average)


def _middle(ordered: list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
