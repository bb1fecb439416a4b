"""Rows that are still on disk, as a network is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, Labelled, capped
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.table import Table

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_LEARNT_ROWS, _LEAST_LEARNT_ROWS = 200_000, 20_000
_PIECE = 4096
_CELLS = 16 << 20
"""Values of the rows that are mixed with each other at a time."""


@dataclass(frozen=True)
class StreamedTable:
    """A `Table` of rows that come into memory for their batches only.

    Each pass goes over pieces of neighbouring rows in random order, mixes so many pieces as fit into memory, and draws
    batches from the mixture.
    """

    inputs: Inputs
    outcome: Outcome
    x: Selection
    y: Array
    w: Array | None
    as_one: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def joined(self) -> StreamedTable:
        """The same with the indicators among the numbers."""
        return replace(self, as_one=True)

    def count(self, size: int) -> int:
        """About how many batches `batches` gives."""
        return max(1, round(len(self) / size))

    def batches(self, size: int, random: Any) -> Iterator[list[Any]]:
        """The tensors of `size` rows at a time, as `Table.batches` gives them."""
        import torch

        together = max(1, _CELLS // (_PIECE * max(self.x.columns + self.inputs.extra, 1)))
        pieces = torch.randperm(-(-len(self) // _PIECE), generator=random)
        for chosen in pieces.split(together):
            starts = np.sort(chosen.numpy()) * _PIECE
            rows = np.concatenate([np.arange(start, min(start + _PIECE, len(self))) for start in starts])
            yield from self._table(rows).batches(size, random)

    def _table(self, rows: Array) -> Table:
        x = self.x.take(rows).whole()
        weights = None
        if self.w is not None:
            weights = (self.w[rows] * (len(self) / max(float(np.sum(self.w)), 1e-300))).astype(np.float32)
        inputs = self.inputs
        made = Table(inputs.numbers(x), inputs.extras(x), inputs.codes(x), self.outcome.learnt(self.y[rows]), weights)
        return made.joined() if self.as_one else made


def learnt_rows(columns: int) -> int:
    """Rows that scales are learnt from, and that a training is judged by, where not all are in memory."""
    return min(_LEARNT_ROWS, max(_LEAST_LEARNT_ROWS, _CELLS // max(columns, 1)))


def few(x: Features, y: Array, seed: int) -> Features:
    """So many rows as scales are learnt from: all that are in memory already."""
    if not isinstance(x, Selection):
        return x
    return capped(x, y, None, {"max_rows": learnt_rows(x.columns)}, seed)[0].whole()


def watched(x: Features, y: Array, w: Array | None, seed: int) -> Labelled:
    """The rows that a training is judged by; of rows that are still on disk only so many."""
    if not isinstance(x, Selection):
        return x, y, w
    x, y, w = capped(x, y, w, {"max_rows": learnt_rows(x.columns)}, seed)
    return x.whole(), y, w


def table(inputs: Inputs, outcome: Outcome, x: Features, y: Array, w: Array | None) -> Table | StreamedTable:
    """The rows as a network is trained on them."""
    if isinstance(x, Selection):
        return StreamedTable(inputs, outcome, x, y, w)
    return Table.of(inputs, outcome, x, y, w)
