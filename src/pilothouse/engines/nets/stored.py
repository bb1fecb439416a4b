"""Stored networks, looked through before anything is made of them: a few numbers would stand for any memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.members import Shapes
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.errors import ConfigurationError

MOST_MEMBERS = MOST_LAYERS = 64
"""Of a network of members: its first layer is made for each, and its layers are told by a number."""


@contextmanager
def refusing_damage() -> Iterator[None]:
    """`ConfigurationError` for what in the block is not as networks are stored."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ConfigurationError(
            "The network's weights are not those of its layers: the archive is damaged or was not made by Pilothouse. "
            "Fetch it again."
        ) from error


def check(shapes: Shapes, weights: Array, rounds: int) -> None:
    """`ValueError` unless the weights are those of the shapes."""
    sizes = [size for shape in shapes.values() for size in shape]
    if not all(type(size) is int and size >= 0 for size in sizes) or type(rounds) is not int or rounds < 1:
        raise ValueError("sizes or rounds are not whole numbers")
    if weights.dtype.kind != "f" or weights.shape != (sum(map(math.prod, shapes.values())),):
        raise ValueError("there are more or fewer weights than the shapes have")


def check_columns(inputs: Inputs, outcome: Outcome, numbers: int, levels: Sequence[int], outputs: int) -> None:
    """`ValueError` unless a row has as many numbers, indicators among them, and embedded categories of so many levels
    as the network reads, and as many outputs.
    """
    counted = ("kept", "indicated", "hot", "embedded", "levels")
    if any(a.ndim != 1 or a.dtype.kind != ("i" if name in counted else "f") for name, a in vars(inputs).items()):
        raise ValueError("an array is not of the numbers that it should be of")
    categories = np.sort(np.concatenate([inputs.hot, inputs.embedded]))
    if not np.array_equal(categories, np.arange(len(inputs.levels))) or (inputs.levels < 1).any():
        raise ValueError("a category is read twice, or not at all")
    if not len(inputs.kept) == len(inputs.centre) == len(inputs.spread) == len(inputs.fill):
        raise ValueError("a number has no scale")
    if (numbers, [*levels]) != (len(inputs.kept) + inputs.extra, inputs.levels[inputs.embedded].tolist()):
        raise ValueError("the network reads other columns")
    if not outputs == outcome.outputs == (outcome.n_classes if outcome.n_classes > 2 else 1):
        raise ValueError("the outputs are not those of the classes")
