"""The weights of a fit after each of its rounds."""

from __future__ import annotations

from pilothouse.engines.base import Array

_BYTES = 1 << 26
"""What the weights of one fit may take in memory; if they take more, some rounds are forgotten."""


class Snapshots:
    """The weights, as one vector, after each round: what a model with fewer rounds predicts with.

    Of a large network's rounds those of every 2nd, 4th, 8th, … stay, the best one and the last.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Array] = {}
        self._every = 1

    def add(self, number: int, weights: Array, best: int = 0) -> None:
        """Keeps the weights after round `number`, of which or an earlier one (`best`) those are the best so far."""
        self._kept[number] = weights
        self._thin(best, number)
        while len(self._kept) > 2 and len(self._kept) * weights.nbytes > _BYTES:
            self._every *= 2
            self._thin(best, number)

    def _thin(self, best: int, last: int) -> None:
        self._kept = {n: own for n, own in self._kept.items() if n % self._every == 0 or n in (best, last)}

    def at(self, number: int) -> Array:
        """The weights after the round nearest to `number` of those kept."""
        return self._kept[min(self._kept, key=lambda kept: abs(kept - number))]

    @property
    def last(self) -> int:
        """The number of the last round."""
        return max(self._kept)
