"""How a perceptron is trained: AdamW in batches, on the running mean of whose weights it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.engines.base import Array, Stopping
from pilothouse.engines.nets import rounds
from pilothouse.engines.nets.losses import mean_loss, member_losses
from pilothouse.engines.nets.perceptron import Perceptron
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.streamed import StreamedTable
from pilothouse.engines.nets.table import Table

_WARMUP_STEPS = 100
_LEAST_BATCHES = 8
_PREDICTED_AT_ONCE = 4096


@dataclass(frozen=True)
class Descent:
    """`dropout` is the share of each hidden layer's units that a batch goes without."""

    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    dropout: float = 0.1
    batch: int = 256


def train(
    perceptron: Perceptron,
    prior: tuple[float, ...],
    rows: Table | StreamedTable,
    valid: Table | None,
    descent: Descent,
    stopping: Stopping,
    *,
    absolute: bool,
    epochs: int,
    seed: int,
) -> Snapshots:
    """Trains until `stopping` or after so many `epochs`, and gives the weights after each; see `rounds.train`."""
    learner = _Learner(perceptron, prior, descent, rows, absolute, seed)
    return rounds.train(learner, valid, stopping, epochs)


class _Learner:
    def __init__(
        self,
        perceptron: Perceptron,
        prior: tuple[float, ...],
        descent: Descent,
        rows: Table | StreamedTable,
        absolute: bool,
        seed: int,
    ) -> None:
        import torch

        self._of, self._descent, self._absolute = perceptron, descent, absolute
        self._random = torch.Generator().manual_seed(seed)
        self._rows = rows
        self._batch = max(1, min(descent.batch, len(rows) // _LEAST_BATCHES))
        self._parts = {name: self._start(name, shape, prior) for name, shape in perceptron.shapes().items()}
        self._means = {name: part.detach().clone() for name, part in self._parts.items()}
        decayed = [part for name, part in self._parts.items() if name.startswith("weight")]
        free = [part for name, part in self._parts.items() if not name.startswith("weight")]
        groups = [{"params": decayed, "weight_decay": descent.weight_decay}, {"params": free, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=descent.learning_rate)
        self._steps = 0

    def epoch(self, deadline: float | None) -> bool:
        """See `rounds.Learner`."""
        return rounds.epoch(self._rows, self._batch, self._random, self._step, deadline)

    def weights(self) -> Array:
        """See `rounds.Learner`."""
        return np.concatenate([mean.numpy().ravel() for mean in self._means.values()])

    def loss(self, table: Table) -> float:
        """See `rounds.Learner`."""
        import torch

        numbers, _, codes, y, w = table.tensors()
        starts = range(0, len(numbers), _PREDICTED_AT_ONCE)
        with torch.no_grad():
            parts = [slice(start, start + _PREDICTED_AT_ONCE) for start in starts]
            outputs = torch.cat([self._forward(self._means, numbers[part], codes[part], 0.0) for part in parts])
            return mean_loss(outputs, y, w, absolute=self._absolute)

    def _step(self, batch: list[Any], batches: int) -> None:
        import torch

        numbers, _, codes, y, w = batch
        losses = member_losses(
            self._forward(self._parts, numbers, codes, self._descent.dropout), y, absolute=self._absolute
        )
        loss = (losses if w is None else losses * w[:, None]).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._steps += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self._descent.learning_rate * min(1.0, self._steps / min(batches, _WARMUP_STEPS))
        self._optimizer.step()
        # The mean forgets half of what it knew in a round; at first it is that of all steps but the very first.
        share = max(1 - 0.5 ** (1 / batches), 9.0 / (9.0 + self._steps))
        with torch.no_grad():
            for name, part in self._parts.items():
                self._means[name].lerp_(part, share)

    def _forward(self, parts: dict[str, Any], numbers: Any, codes: Any, dropout: float) -> Any:
        """[n, 1, outputs], the same as `Perceptron.predict`."""
        import torch

        embedded = [parts[f"embedding.{i}"][codes[:, i]] for i in range(len(self._of.embeddings))]
        values = torch.cat([*embedded, numbers], 1)
        last = len(self._of.hidden)
        for layer in range(last):
            values = torch.relu(values @ parts[f"weight.{layer}"] + parts[f"bias.{layer}"])
            if dropout > 0:
                kept = torch.rand(values.shape, generator=self._random) >= dropout
                values = values * (kept / (1 - dropout))
        return (values @ parts[f"weight.{last}"] + parts[f"bias.{last}"])[:, None, :]

    def _start(self, name: str, shape: tuple[int, ...], prior: tuple[float, ...]) -> Any:
        """He's uniform start for weights, small embeddings (none for an unknown level), and the prior to begin from."""
        import torch

        kind, _, number = name.partition(".")
        if kind == "bias":
            last = int(number) == len(self._of.hidden)
            start = torch.tensor(prior, dtype=torch.float32) if last else torch.zeros(shape)
        else:
            reach = 0.5 if kind == "embedding" else math.sqrt(6.0 / max(shape[0], 1))
            reach = reach / 4 if kind == "weight" and int(number) == len(self._of.hidden) else reach
            start = (2 * torch.rand(shape, generator=self._random) - 1) * reach
            if kind == "embedding":
                start[0] = 0.0
        return start.requires_grad_()
