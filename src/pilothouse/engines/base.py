"""What an engine is: fit a model to features, predict, save, load. The same shape for every library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.selection import Selection

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_LEAST_PROBABILITY = 1e-7

_LEAST_COLUMNS = 4

Array = npt.NDArray[Any]
Labelled = tuple["Features", Array, Array | None]
"""Features, target and weights (None: all rows weigh the same)."""


@dataclass(frozen=True)
class Task:
    """What is learnt. `n_classes` is 0 for regression; `metric` is the job's objective, by its catalog name.

    `rows`: how many there are in all, of which the refit learns; what depends on the number of rows goes by it, so that
    the refit is like the folds' models, which were judged. 0: as many as a model is given.
    """

    problem_type: str
    n_classes: int
    metric: str
    rows: int = 0

    def __post_init__(self) -> None:
        expected = {REGRESSION: self.n_classes == 0, BINARY: self.n_classes == 2, MULTICLASS: self.n_classes >= 2}
        if not expected.get(self.problem_type, False):
            raise ValueError(f"a {self.problem_type} task cannot have {self.n_classes} classes")

    @property
    def regression(self) -> bool:
        return self.problem_type == REGRESSION

    @property
    def binary(self) -> bool:
        return self.problem_type == BINARY

    @property
    def absolute(self) -> bool:
        """Whether regression minimises absolute rather than squared errors."""
        return self.regression and self.metric == "MAE"

    def choose(self, regression: str, absolute: str, binary: str, multiclass: str) -> str:
        """The name that a library has for this task's loss."""
        if self.regression:
            return absolute if self.absolute else regression
        return binary if self.binary else multiclass


class Model(Protocol):
    """A fitted model. `rounds` is how many rounds it predicts with, None if it has no notion of rounds."""

    rounds: int | None

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        """float64 [n] for regression, else probabilities [n, n_classes] in class order, each row summing to 1.

        With `rounds`, predicts as if training had ended after so many (at most those trained).
        """

    def save(self, directory: Path) -> None:
        """Writes the model in native formats into the existing folder `directory`."""


class Engine(Protocol):
    """A model maker. Importing an engine's module does not import its library; fitting or loading does."""

    name: str

    def fit(
        self,
        x: Features,
        y: Array,
        w: Array | None,
        task: Task,
        params: dict[str, Any],
        *,
        valid: Labelled | None = None,
        rounds: int | None = None,
        seed: int = 0,
        threads: int = 1,
        deadline: float | None = None,
    ) -> Model:
        """Fits one model.

        `y`: float64 targets or int64 class indices. With `valid`, boosters stop early on it and `Model.rounds` is the
        best round found; with `rounds`, exactly so many are trained. `deadline` is a `time.monotonic()` value at which
        training ends early with the model it has by then (at least one round, tree or step). The same seed and one
        thread give the same model, unless the deadline cut it short.
        """

    def load(self, directory: Path) -> Model:
        """The model that `Model.save` wrote there."""


_LISTENER: ContextVar[Callable[[int, float], None] | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Callable[[int, float], None]) -> Iterator[None]:
    """Lets `listener(round, loss)` hear the losses on watched rows of the fits in the block that go by rounds."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


def is_heard() -> bool:
    """Whether anybody listens to the fits here."""
    return _LISTENER.get() is not None


def tell(rounds: int, loss: float) -> None:
    """Tells whoever listens the loss on watched rows after so many rounds."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(rounds, loss)


@dataclass
class Stopping:
    """Decides after each round whether to go on: early stopping on a loss, and the deadline.

    A booster may go on for `patience` rounds plus a fifth of the best round so far without an improvement, since slow
    learners plateau for longer.
    """

    deadline: float | None
    patience: int = 30
    best_loss: float = field(default=np.inf, init=False)
    best_rounds: int = field(default=0, init=False)
    trained: int = field(default=0, init=False)

    def stop_after(self, loss: float | None) -> bool:
        """Records a finished round (and its validation loss, where there is one); whether it was the last."""
        self.trained += 1
        if loss is not None:
            tell(self.trained, loss)
        if loss is not None and loss < self.best_loss:
            self.best_loss, self.best_rounds = loss, self.trained
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return True
        return loss is not None and self.trained - self.best_rounds >= self.patience + self.best_rounds // 5

    @property
    def rounds(self) -> int:
        """The best round where a loss was watched, else the last."""
        return self.best_rounds or self.trained


def matrix(x: Features, *, missing: float = 0.0) -> Array:
    """Numeric columns and then category codes as one float32 [n, p + q] array; code 0 (unknown) becomes `missing`."""
    p, q = x.numeric.shape[1], x.categorical.shape[1]
    out = np.empty((len(x), p + q), dtype=np.float32)
    out[:, :p] = x.numeric
    out[:, p:] = x.categorical
    if q and missing != 0.0:
        out[:, p:][x.categorical == 0] = missing
    return out


def capped(x: Features, y: Array, w: Array | None, params: dict[str, Any], seed: int) -> Labelled:
    """What to train on: all rows, or `params["max_rows"]` of them drawn by `seed`, with a row of every class.

    Of rows that are still on disk, few enough come into memory.
    """
    most = int(params.get("max_rows", len(x)))
    if most >= len(x):
        return x, y, w
    order = np.random.default_rng(seed).permutation(len(x))
    if np.issubdtype(y.dtype, np.integer):
        firsts = np.unique(y[order], return_index=True)[1]
        order = np.concatenate([order[firsts], np.delete(order, firsts)])
    rows = np.sort(order[:most])
    taken = x.take(rows)
    taken = taken if isinstance(taken, Selection) and taken.is_large else taken.whole()
    return taken, y[rows], None if w is None else w[rows]


def column_share(share: float, x: Features) -> float:
    """The share of columns that a tree gets: `share`, but at least four columns, so that it can join some."""
    return min(1.0, max(share, _LEAST_COLUMNS / max(x.columns, 1)))


def probabilities(raw: Array, n_classes: int) -> Array:
    """A library's class scores as float64 [n, n_classes] rows that sum to 1; binary ones may come as one column.

    No class is impossible: each has at least about 1e-7, so that a class which a fold never saw has a finite loss.
    """
    scores = np.asarray(raw, dtype=np.float64)
    if scores.ndim == 1 and n_classes == 2:
        positive, scores = scores, np.empty((len(scores), 2))
        scores[:, 0], scores[:, 1] = 1.0 - positive, positive
    scores = np.maximum(scores.reshape(-1, n_classes), _LEAST_PROBABILITY)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
