"""The rounds of a network's training: passes over the rows until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from pilothouse.engines.base import Array, Stopping
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.streamed import StreamedTable
from pilothouse.engines.nets.table import Table


class Learner(Protocol):
    """A network in training, and the running mean of its weights, on which it is judged."""

    def epoch(self, deadline: float | None) -> bool:
        """One pass over the rows in random order; whether it came to its end before the deadline."""

    def weights(self) -> Array:
        """float32, all weights as one vector: the running mean."""

    def loss(self, table: Table) -> float:
        """The loss of the running mean on other rows."""


def train(learner: Learner, valid: Table | None, stopping: Stopping, rounds: int) -> Snapshots:
    """Trains until `stopping` or after `rounds` epochs, and gives the weights after each.

    The deadline is looked at after every batch: an epoch that it cuts short counts only if it is the first.
    """
    snapshots = Snapshots()
    while stopping.trained < rounds:
        whole = learner.epoch(stopping.deadline)
        if not whole and stopping.trained:
            break
        ends = stopping.stop_after(None if valid is None or not whole else learner.loss(valid))
        snapshots.add(stopping.trained, learner.weights(), stopping.rounds)
        if ends:
            break
    return snapshots


def epoch(
    rows: Table | StreamedTable,
    batch: int,
    random: Any,
    step: Callable[[list[Any], int], None],
    deadline: float | None,
) -> bool:
    """Calls `step` with each batch of a pass and their number; see `Learner.epoch`."""
    count = rows.count(batch)
    for number, tensors in enumerate(rows.batches(batch, random), 1):
        step(tensors, count)
        if deadline is not None and time.monotonic() >= deadline:
            return number >= count
    return True
