"""Rows in the form that a network is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.outcome import Outcome

if TYPE_CHECKING:
    from pilothouse.data.features import Features


@dataclass(frozen=True)
class Table:
    """Rows as a network reads them, what it learns of each, and the rows' weights, whose mean is 1."""

    numbers: Array
    extras: Array
    codes: Array
    y: Array
    w: Array | None

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, inputs: Inputs, outcome: Outcome, x: Features, y: Array, w: Array | None) -> Table:
        weights = None if w is None else (np.asarray(w) * (len(w) / max(float(np.sum(w)), 1e-300))).astype(np.float32)
        return cls(inputs.numbers(x), inputs.extras(x), inputs.codes(x), outcome.learnt(y), weights)

    def joined(self) -> Table:
        """The same with the indicators among the numbers, for networks that make no difference between them."""
        return replace(self, numbers=np.concatenate([self.numbers, self.extras], axis=1))

    def count(self, size: int) -> int:
        """How many batches `batches` gives."""
        whole, rest = divmod(len(self), size)
        return whole + (2 * rest >= min(size, len(self)) and rest > 0)

    def batches(self, size: int, random: Any) -> Iterator[list[Any]]:
        """The tensors of `size` rows at a time, in an order drawn from the torch generator `random`; a rest of less
        than half a batch is left out."""
        import torch

        tensors = self.tensors()
        for rows in torch.randperm(len(self), generator=random).split(size)[: self.count(size)]:
            yield [None if tensor is None else tensor[rows] for tensor in tensors]

    def tensors(self) -> list[Any]:
        """The five arrays as torch tensors; None for no weights."""
        import torch

        arrays = (self.numbers, self.extras, self.codes, self.y, self.w)
        return [None if array is None else torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
