"""Engines that train on more columns than the data have: made of the training rows, and kept with the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, Engine, Labelled, Model, Task
from pilothouse.errors import ConfigurationError

if TYPE_CHECKING:
    from pilothouse.data.features import Features


class Widening(Protocol):
    """What was learnt of training rows and makes further columns of any."""

    def apply(self, x: Features) -> Features:
        """`x` with the further columns."""

    def save(self, directory: Path) -> None:
        """Write it into `directory`, beside the model."""

    def is_consistent(self) -> bool:
        """Whether all that its arrays name is there: those of a stored one may be anybody's."""


W = TypeVar("W", bound=Widening)


def restored(kind: Callable[..., W], arrays: dict[str, Array]) -> W:
    """The widening of stored arrays; `ConfigurationError` if they are not consistent."""
    try:
        widening = kind(**arrays)
        consistent = widening.is_consistent()
    except TypeError:
        consistent = False
    if not consistent:
        raise ConfigurationError(
            "The model's further columns are made of ones that are not there: the archive is damaged or was not made "
            "by Pilothouse. Fetch it again."
        )
    return widening


def applied(widening: Widening, x: Features) -> Features:
    """`x` with the further columns; of rows that are still on disk, these are made as they are read."""
    return x.widened(lambda block, _rows: widening.apply(block)) if isinstance(x, Selection) else widening.apply(x)


class WidenedModel:
    """A model on features with further columns."""

    def __init__(self, widening: Widening, model: Model) -> None:
        self.widening = widening
        self.model = model

    @property
    def rounds(self) -> int | None:
        """Those of the model."""
        return self.model.rounds

    @rounds.setter
    def rounds(self, rounds: int | None) -> None:
        self.model.rounds = rounds

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        return self.model.predict(self.widening.apply(x), rounds)

    def save(self, directory: Path) -> None:
        self.model.save(directory)
        self.widening.save(directory)


class WidenedEngine(ABC):
    """An engine that gives another one further columns. Subclasses say which, and what of `params` is theirs."""

    own_params: tuple[str, ...] = ()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.name

    @abstractmethod
    def widening(
        self, x: Features, y: Array, w: Array | None, task: Task, params: dict[str, Any], seed: int, threads: int
    ) -> tuple[Widening, Features] | None:
        """What is learnt of the training rows, and these rows with their columns; None if there is nothing to add."""

    @abstractmethod
    def stored(self, directory: Path) -> Widening | None:
        """What was saved in `directory`; None if nothing was."""

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
        passed = {name: value for name, value in params.items() if name not in self.own_params}
        how: dict[str, Any] = {"rounds": rounds, "seed": seed, "threads": threads, "deadline": deadline}
        fitted = self.widening(x, y, w, task, params, seed, threads)
        if fitted is None:
            return self.engine.fit(x, y, w, task, passed, valid=valid, **how)
        widening, widened = fitted
        watched = None if valid is None else (applied(widening, valid[0]), *valid[1:])
        return WidenedModel(widening, self.engine.fit(widened, y, w, task, passed, valid=watched, **how))

    def load(self, directory: Path) -> Model:
        model = self.engine.load(directory)
        widening = self.stored(directory)
        return model if widening is None else WidenedModel(widening, model)
