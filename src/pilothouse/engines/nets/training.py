"""How a network of members is trained: AdamW in batches, on the running mean of whose weights it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.engines.base import Array, Stopping
from pilothouse.engines.nets import rounds
from pilothouse.engines.nets.losses import mean_loss, member_losses
from pilothouse.engines.nets.members import Architecture
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.streamed import StreamedTable
from pilothouse.engines.nets.table import Table
from pilothouse.engines.nets.threads import torch_threads

_BETAS = (0.9, 0.99)
_WARMUP_STEPS = 100
_PREDICTED_AT_ONCE = 2048


@dataclass(frozen=True)
class Settings:
    """`halves` is how often the running mean of the weights forgets half of what it knew in a round."""

    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    dropout: float = 0.1
    batch: int | None = None
    sigma: float = 0.1
    halves: float = 1.0

    def batch_size(self, rows: int) -> int:
        """About twenty batches a round, of 32 to 512 rows."""
        return self.batch or int(min(512, max(32, 2 ** round(math.log2(max(rows, 1) / 20 + 1)))))


def train(
    architecture: Architecture,
    prior: tuple[float, ...],
    rows: Table | StreamedTable,
    valid: Table | None,
    settings: Settings,
    stopping: Stopping,
    *,
    absolute: bool,
    epochs: int,
    seed: int,
    threads: int,
) -> Snapshots:
    """Trains until `stopping` or after so many `epochs`, and gives the weights after each; see `rounds.train`."""
    with torch_threads(threads):
        learner = Learner(architecture, prior, settings, rows, absolute, seed)
        return rounds.train(learner, valid, stopping, epochs)


class Learner:
    """All weights are one vector, so that a step of the optimiser is a few operations on it."""

    def __init__(
        self,
        architecture: Architecture,
        prior: tuple[float, ...],
        settings: Settings,
        rows: Table | StreamedTable,
        absolute: bool,
        seed: int,
    ) -> None:
        import torch

        self._of, self._settings, self._absolute = architecture, settings, absolute
        self._shapes = architecture.shapes()
        self._random = torch.Generator().manual_seed(seed)
        self._rows = rows
        self._batch = settings.batch_size(len(rows))
        start = self._start(prior)
        self._theta = torch.cat([start[name].reshape(-1) for name in self._shapes]).requires_grad_()
        decays = [float(name.startswith(("weight", "head"))) for name in self._shapes]
        self._decay = torch.cat([torch.full((start[n].numel(),), d) for n, d in zip(start, decays, strict=True)])
        self._first = torch.zeros_like(self._theta)
        self._second = torch.zeros_like(self._theta)
        self._mean = self._theta.detach().clone()
        self._steps = 0

    def epoch(self, deadline: float | None) -> bool:
        """See `rounds.Learner`."""
        return rounds.epoch(self._rows, self._batch, self._random, self._step, deadline)

    def weights(self) -> Array:
        """See `rounds.Learner`."""
        return np.array(self._mean.numpy())

    def loss(self, table: Table) -> float:
        """The loss of the members' mean prediction."""
        import torch

        tensors = table.tensors()
        with torch.no_grad():
            starts = range(0, len(table), _PREDICTED_AT_ONCE)
            parts = [[p if p is None else p[s : s + _PREDICTED_AT_ONCE] for p in tensors] for s in starts]
            outputs = torch.cat([self.forward(self._mean, part[0], part[1], part[2]) for part in parts])
            return mean_loss(outputs, tensors[3], tensors[4], absolute=self._absolute)

    def _step(self, batch: list[Any], batches: int) -> None:
        import torch

        numbers, extras, codes, y, w = batch
        outputs = self.forward(self._theta, numbers, extras, codes, self._settings.dropout)
        losses = member_losses(outputs, y, absolute=self._absolute)
        loss = (losses if w is None else losses * w[:, None]).mean()
        (gradient,) = torch.autograd.grad(loss, self._theta)
        self._steps += 1
        with torch.no_grad():
            self._move(gradient, batches)

    def _move(self, gradient: Any, batches: int) -> None:
        """AdamW (Loshchilov & Hutter 2019) after a short warm-up, and the running mean of the weights."""
        step, (beta, gamma) = self._steps, _BETAS
        rate = self._settings.learning_rate * min(1.0, step / min(batches, _WARMUP_STEPS))
        self._first.lerp_(gradient, 1 - beta)
        self._second.mul_(gamma).addcmul_(gradient, gradient, value=1 - gamma)
        size = (self._second / (1 - gamma**step)).sqrt_().add_(1e-8)
        self._theta.mul_(1 - rate * self._settings.weight_decay * self._decay)
        self._theta.addcdiv_(self._first, size, value=-rate / (1 - beta**step))
        share = max(1 - 0.5 ** (self._settings.halves / batches), 9.0 / (9.0 + step))
        self._mean.lerp_(self._theta, share)

    def forward(self, theta: Any, numbers: Any, extras: Any, codes: Any, dropout: float = 0.0) -> Any:
        """[n, members, outputs], the same as `Network.outputs`."""
        import torch

        of = self._of
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        parts = zip(self._shapes.items(), theta.split(sizes), strict=True)
        weights = {name: part.view(shape) for (name, shape), part in parts}
        first = (weights["adapt"][:, :, None] * weights["weight.0"]).permute(1, 0, 2)
        embedded = self._embed(weights, numbers, extras, codes) @ first.reshape(of.inputs, -1)
        hidden = torch.relu(embedded.view(len(numbers), of.members, of.width) + weights["bias.0"])
        for layer in range(1, of.depth):
            hidden = self._dropped(hidden, dropout) @ weights[f"weight.{layer}"]
            hidden = torch.relu(hidden + weights[f"bias.{layer}"])
        scores = torch.bmm(self._dropped(hidden, dropout).transpose(0, 1), weights["head"])
        return scores.transpose(0, 1) + weights["level"]

    def _embed(self, weights: dict[str, Any], numbers: Any, extras: Any, codes: Any) -> Any:
        import torch

        waves = torch.cos(numbers[:, :, None] * weights["frequency"] + weights["phase"])
        mixed = torch.bmm(waves.transpose(0, 1), weights["mix"]).transpose(0, 1) + weights["offset"]
        both = torch.cat([numbers[:, :, None], mixed], 2).reshape(len(numbers), -1)
        embed = torch.nn.functional.embedding
        levels = [embed(codes[:, i], weights[f"embedding.{i}"]) for i in range(len(self._of.levels))]
        return torch.cat([both, extras, *levels], 1)

    def _dropped(self, hidden: Any, share: float) -> Any:
        """The same units are dropped for all members of a row: a sixteenth of the random numbers."""
        import torch

        if share <= 0:
            return hidden
        kept = torch.rand((len(hidden), 1, hidden.shape[2]), generator=self._random) >= share
        return hidden * (kept / (1 - share))

    def _start(self, prior: tuple[float, ...]) -> dict[str, Any]:
        """Uniform within 1 / sqrt(fan-in) as torch's own layers; members differ by random signs of their inputs."""
        import torch

        of = self._of
        fan = {"mix": of.frequencies, "offset": of.frequencies, "weight.0": of.inputs, "bias.0": of.inputs}
        fan |= {f"embedding.{i}": 4 for i in range(len(of.levels))}
        start = {}
        for name, shape in self._shapes.items():
            reach = 1 / math.sqrt(max(fan.get(name, of.width), 1))
            start[name] = (2 * torch.rand(shape, generator=self._random) - 1) * reach
        normal = torch.randn(self._shapes["frequency"], generator=self._random)
        start["frequency"] = 2 * math.pi * self._settings.sigma * normal
        start["phase"] = math.pi * start["phase"] * math.sqrt(of.width)
        start["adapt"] = torch.where(start["adapt"] < 0, -1.0, 1.0)
        for i in range(len(of.levels)):
            start[f"embedding.{i}"][0] = 0.0
        start["level"] = torch.tensor(prior, dtype=torch.float32).expand(of.members, -1)
        return start
