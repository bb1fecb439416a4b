"""A multilayer perceptron, trained with torch, kept as plain arrays and predicted in NumPy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped
from pilothouse.engines.nets.descent import Descent, train
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.model import PerceptronModel, perceptron_of
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.streamed import few, table, watched
from pilothouse.engines.nets.table import Table
from pilothouse.engines.nets.threads import torch_threads

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 100
_LAYERS = (128, 64)


class MLP:
    """The engine. Params: `layers` (units of each), the fields of `Descent`, `patience`, `max_rounds`, `max_rows`."""

    name = "mlp"

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
        x, y, w = capped(x, y, w, params, seed)
        inputs, outcome = Inputs.fit(few(x, y, seed), one_hot=0), Outcome.fit(y, w, task)
        perceptron = perceptron_of(inputs, outcome, tuple(params.get("layers", _LAYERS)))
        stopping = Stopping(deadline, int(params.get("patience", 10)))
        with torch_threads(threads):
            snapshots = train(
                perceptron,
                outcome.prior,
                table(inputs, outcome, x, y, w).joined(),
                None if valid is None else Table.of(inputs, outcome, *watched(*valid, seed)).joined(),
                Descent(**{f.name: params[f.name] for f in fields(Descent) if f.name in params}),
                stopping,
                absolute=task.absolute,
                epochs=rounds or int(params.get("max_rounds", _MAX_ROUNDS)),
                seed=seed,
            )
        return PerceptronModel(inputs, perceptron, outcome, snapshots, stopping.rounds)

    def load(self, directory: Path) -> Model:
        return PerceptronModel.load(directory)
