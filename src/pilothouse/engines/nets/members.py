"""A network of many members that share most weights, as TabM does: its shapes, and how it predicts in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pilothouse.engines.base import Array

Shapes = dict[str, tuple[int, ...]]

_CELLS_AT_ONCE = 1 << 17
"""Hidden units of some rows, all members': 1 MB, which stays in the cache from one layer to the next."""


@dataclass(frozen=True)
class Architecture:
    """A multilayer perceptron after Gorishniy et al., "TabM" (2025), and Holzmueller et al., "RealMLP" (2024).

    Each of the `numbers` becomes itself and `number_size` - 1 learnt mixtures of `frequencies` cosines of it; each
    embedded category (`levels`: their cardinalities) becomes `level_size` numbers; `extras` go in as they are. Every
    member scales these inputs its own way (`adapt`), and has its own biases and its own head; `depth` hidden layers of
    `width` rectified units are shared by all `members`.
    """

    numbers: int
    extras: int
    levels: tuple[int, ...]
    outputs: int
    members: int = 8
    width: int = 128
    depth: int = 2
    frequencies: int = 16
    number_size: int = 4
    level_size: int = 8

    @property
    def inputs(self) -> int:
        """How many values of a row reach the first layer."""
        return self.numbers * self.number_size + self.extras + len(self.levels) * self.level_size

    def shapes(self) -> Shapes:
        """The name and shape of every array of weights, in a fixed order."""
        waves, mixtures = (self.numbers, self.frequencies), self.number_size - 1
        shapes: Shapes = {"frequency": waves, "phase": waves, "mix": (*waves, mixtures)}
        shapes["offset"] = (self.numbers, mixtures)
        shapes |= {f"embedding.{i}": (levels, self.level_size) for i, levels in enumerate(self.levels)}
        shapes["adapt"] = (self.members, self.inputs)
        for layer in range(self.depth):
            shapes[f"weight.{layer}"] = (self.width if layer else self.inputs, self.width)
            shapes[f"bias.{layer}"] = (self.members, self.width)
        shapes["head"] = (self.members, self.width, self.outputs)
        shapes["level"] = (self.members, self.outputs)
        return shapes


def unpack(flat: Array, shapes: Shapes) -> dict[str, Array]:
    """The named arrays in a flat vector of all weights; views, not copies."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(flat, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class Network:
    """The network in NumPy, ready to predict: each member's input scales are multiplied into the first layer."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, Array]) -> None:
        self._of = architecture
        members, inputs = weights["adapt"].shape
        # In float64 a row alone is predicted as among others, whatever blocks the BLAS cuts its products into.
        self._weights = weights = {name: array.astype(np.float64) for name, array in weights.items()}
        first = np.einsum("ki,ih->ikh", weights["adapt"], weights["weight.0"])
        self._first = np.ascontiguousarray(first.reshape(inputs, -1))
        self._members = members

    def outputs(self, numbers: Array, extras: Array, codes: Array) -> Array:
        """float64 [n, members, outputs]: log odds, class scores, or values on the target's standard scale."""
        rows = max(1, _CELLS_AT_ONCE // (self._members * self._of.width))
        parts = [slice(start, start + rows) for start in range(0, max(len(numbers), 1), rows)]
        return np.concatenate([self._block(numbers[part], extras[part], codes[part]) for part in parts])

    def _block(self, numbers: Array, extras: Array, codes: Array) -> Array:
        weights, rows = self._weights, len(numbers)
        first = self._embed(numbers, extras, codes) @ self._first
        hidden = rectified(first.reshape(rows, self._members, -1), weights["bias.0"])
        for layer in range(1, self._of.depth):
            # One product of all members' rows: of three dimensions NumPy makes one for each row.
            flat = hidden.reshape(rows * self._members, -1) @ weights[f"weight.{layer}"]
            hidden = rectified(flat.reshape(rows, self._members, -1), weights[f"bias.{layer}"])
        scores = np.matmul(hidden.transpose(1, 0, 2), weights["head"]).transpose(1, 0, 2)
        return np.asarray(scores + weights["level"])

    def _embed(self, numbers: Array, extras: Array, codes: Array) -> Array:
        weights = self._weights
        waves = numbers.T[:, :, None] * weights["frequency"][:, None, :]
        waves += weights["phase"][:, None, :]
        mixed = np.matmul(np.cos(waves, out=waves), weights["mix"]).transpose(1, 0, 2) + weights["offset"]
        both = np.concatenate([numbers[:, :, None], mixed], axis=2)
        levels = [weights[f"embedding.{i}"][codes[:, i]] for i in range(codes.shape[1])]
        return np.concatenate([both.reshape(len(numbers), -1), extras, *levels], axis=1)


def rectified(sums: Array, bias: Array) -> Array:
    """`sums` itself, with the bias added and nothing below 0."""
    sums += bias
    return np.maximum(sums, 0.0, out=sums)
