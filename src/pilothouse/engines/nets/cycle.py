"""How fastai trains a `TabularModel`: its learner, the 1cycle policy, and what of it is kept after each epoch."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.engines.base import Array, Stopping
from pilothouse.engines.nets.losses import mean_loss, member_losses
from pilothouse.engines.nets.perceptron import Perceptron
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.table import Table


@dataclass(frozen=True)
class Policy:
    """`learning_rate` is the highest of the cycle; `ps` and `embed_p` are fastai's names for shares dropped."""

    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    ps: float = 0.1
    embed_p: float = 0.1
    batch: int = 256


def train(
    perceptron: Perceptron,
    prior: tuple[float, ...],
    rows: Table,
    valid: Table | None,
    policy: Policy,
    stopping: Stopping,
    *,
    absolute: bool,
    rounds: int,
    seed: int,
) -> Snapshots:
    """One cycle of `rounds` epochs, and the weights after each.

    The cycle goes by the epochs or by the time until the deadline, whichever is further on, so that the learning rate
    has come down when the deadline ends it. An epoch that it cuts short counts only if it is the first.
    """
    from fastai.callback import schedule  # noqa: F401  gives learners fit_one_cycle
    from fastai.callback.core import TrainEvalCallback
    from fastai.data.core import DataLoaders
    from fastai.tabular.learner import TabularLearner

    with _seeded(seed):
        model = _model(perceptron, prior, policy)
        watcher = _watcher(perceptron, valid, stopping, absolute)
        # fastai's own loaders convert row by row, and its other callbacks print.
        batches = _Batches(rows, min(policy.batch, max(len(rows) // 8, 16)))
        learner = TabularLearner(
            DataLoaders(batches, []),
            model,
            loss_func=lambda outputs, y, w: _loss(outputs, y, w, absolute),
            wd=policy.weight_decay,
            cbs=[TrainEvalCallback(), watcher],
            default_cbs=False,
        )
        learner.fit_one_cycle(rounds, policy.learning_rate)
    snapshots: Snapshots = watcher.snapshots
    return snapshots


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds what fastai draws from, for a while."""
    import torch

    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


class _Batches:
    """What fastai's learner iterates over: (codes, numbers, y, w) of the rows in random order.

    Batches have `size` rows; a rest is left out, since batch normalisation needs more than one row.
    """

    n_inp = 2

    def __init__(self, table: Table, size: int) -> None:
        import torch

        numbers, _, codes, y, w = table.tensors()
        self._tensors = (codes, numbers, y, torch.ones(len(table)) if w is None else w)
        self._size = min(size, len(table))

    def __len__(self) -> int:
        return len(self._tensors[0]) // self._size

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        import torch

        order = torch.randperm(len(self._tensors[0]))
        for number in range(len(self)):
            rows = order[number * self._size : (number + 1) * self._size]
            yield tuple(tensor[rows] for tensor in self._tensors)


def _loss(outputs: Any, y: Any, w: Any, absolute: bool) -> Any:
    return (member_losses(outputs[:, None, :], y, absolute=absolute)[:, 0] * w).mean()


def _model(perceptron: Perceptron, prior: tuple[float, ...], policy: Policy) -> Any:
    """fastai's model, whose last layer starts from the prior."""
    import torch
    from fastai.tabular.model import TabularModel

    model = TabularModel(
        list(perceptron.embeddings),
        perceptron.numbers,
        perceptron.outputs,
        list(perceptron.hidden),
        ps=policy.ps,
        embed_p=policy.embed_p,
        bn_cont=perceptron.numbers > 0,
    )
    with torch.no_grad():
        model.layers[-1][0].bias.copy_(torch.tensor(prior))
    return model


def _watcher(perceptron: Perceptron, valid: Table | None, stopping: Stopping, absolute: bool) -> Any:
    """A callback that keeps the weights of each epoch, judges them on `valid`, and ends the fit when it is time."""
    from fastai.callback.core import Callback, CancelFitException, CancelTrainException, CancelValidException

    tensors = None if valid is None else valid.tensors()

    class Watcher(Callback):  # type: ignore[misc]
        order = 50  # before the scheduler, after what counts the batches

        def before_fit(self) -> None:
            self.snapshots, self.begun, self.late = Snapshots(), time.monotonic(), False

        def before_batch(self) -> None:
            if self.training and stopping.deadline is not None:
                span = max(stopping.deadline - self.begun, 1e-9)
                passed = (time.monotonic() - self.begun) / span
                self.learn.pct_train = min(1.0, max(self.pct_train, passed))

        def after_batch(self) -> None:
            if self.training and stopping.deadline is not None and time.monotonic() >= stopping.deadline:
                self.late = True
                raise CancelTrainException

        def before_validate(self) -> None:
            raise CancelValidException

        def after_epoch(self) -> None:
            cut_short = self.late and self.iter + 1 < self.n_iter
            if cut_short and stopping.trained:
                raise CancelFitException
            ends = stopping.stop_after(None if tensors is None or cut_short else self._judge(*tensors))
            self.snapshots.add(stopping.trained, folded(self.model, perceptron), stopping.rounds)
            if ends:
                raise CancelFitException

        def _judge(self, numbers: Any, _extras: Any, codes: Any, y: Any, w: Any) -> float:
            import torch

            self.model.eval()
            with torch.no_grad():
                outputs = self.model(codes, numbers)[:, None, :]
            return mean_loss(outputs, y, w, absolute=absolute)

    return Watcher()


def folded(model: Any, perceptron: Perceptron) -> Array:
    """The weights of a `TabularModel` as those of `perceptron`, in one float32 vector.

    Batch normalisation is a scale and a shift once training is over; each is folded into the layer that follows it.
    """
    parts = {f"embedding.{i}": _array(table.weight) for i, table in enumerate(model.embeds)}
    scale, shift = np.ones(perceptron.sizes[0]), np.zeros(perceptron.sizes[0])
    if model.bn_cont is not None:
        first = perceptron.sizes[0] - perceptron.numbers
        scale[first:], shift[first:] = _normalisation(model.bn_cont)
    for number, layer in enumerate(model.layers):
        weight, bias = _array(layer[0].weight).T, layer[0].bias
        parts[f"weight.{number}"] = scale[:, None] * weight
        parts[f"bias.{number}"] = shift @ weight + (0.0 if bias is None else _array(bias))
        if number < len(perceptron.hidden):
            scale, shift = _normalisation(layer[2])
    return np.concatenate([parts[name].ravel() for name in perceptron.shapes()]).astype(np.float32)


def _normalisation(norm: Any) -> tuple[Array, Array]:
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - scale * _array(norm.running_mean)


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy(), dtype=np.float64)
