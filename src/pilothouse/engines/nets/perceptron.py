"""A multilayer perceptron on numbers and embedded categories: its shapes, and how it predicts in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.engines.nets.members import Shapes, rectified

_ROWS_AT_ONCE = 512
"""Few enough that a layer's units stay in the cache until the next has read them."""


@dataclass(frozen=True)
class Perceptron:
    """`embeddings` are (levels, size) of each category; rectified units lie between the layers."""

    embeddings: tuple[tuple[int, int], ...]
    numbers: int
    hidden: tuple[int, ...]
    outputs: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values reach each layer, and leave the last."""
        return sum(size for _, size in self.embeddings) + self.numbers, *self.hidden, self.outputs

    def shapes(self) -> Shapes:
        """The name and shape of every array of weights, in a fixed order."""
        shapes: Shapes = {f"embedding.{i}": shape for i, shape in enumerate(self.embeddings)}
        for layer, (before, after) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            shapes |= {f"weight.{layer}": (before, after), f"bias.{layer}": (after,)}
        return shapes

    def predict(self, weights: Mapping[str, Array], numbers: Array, codes: Array) -> Array:
        """float64 [n, 1, outputs]: log odds, class scores, or values on the target's standard scale."""
        starts = range(0, max(len(numbers), 1), _ROWS_AT_ONCE)
        parts = [slice(start, start + _ROWS_AT_ONCE) for start in starts]
        return np.concatenate([self._block(weights, numbers[part], codes[part]) for part in parts])[:, None, :]

    def _block(self, weights: Mapping[str, Array], numbers: Array, codes: Array) -> Array:
        embedded = [weights[f"embedding.{i}"][codes[:, i]] for i in range(len(self.embeddings))]
        # In float64 a row alone is predicted as among others, whatever blocks the BLAS cuts its products into.
        values = np.concatenate([*embedded, numbers], axis=1).astype(np.float64)
        for layer in range(len(self.hidden)):
            values = rectified(values @ weights[f"weight.{layer}"], weights[f"bias.{layer}"])
        return np.asarray(values @ weights[f"weight.{len(self.hidden)}"] + weights[f"bias.{len(self.hidden)}"])
