"""The weights of a fit after each of its rounds."""

from __future__ import annotations

from pilothouse.engines.base import Array

_BYTES = 1 << 26
"""What the weights of one fit may take in memory; if they take more, some rounds are forgotten."""


class Snapshots:
    """The weights, as one vector, after each round: what a model with fewer rounds predicts with."""

    def __init__(self) -> None:
        self._kept: dict[int, Array] = {}

    def add(self, number: int, weights: Array) -> None:
        self._kept[number] = weights
        if len(self._kept) * weights.nbytes > _BYTES and len(self._kept) > 2:
            for forgotten in list(self._kept)[-2::-2]:
                del self._kept[forgotten]

    def at(self, number: int) -> Array:
        """The weights after the round nearest to `number` of those kept."""
        return self._kept[min(self._kept, key=lambda kept: abs(kept - number))]

    @property
    def last(self) -> int:
        """The number of the last round."""
        return max(self._kept)
