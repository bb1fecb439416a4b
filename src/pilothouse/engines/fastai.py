"""fastai's tabular model, trained by fastai's learner, kept as plain arrays and predicted in NumPy."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped
from pilothouse.engines.nets.cycle import Policy, train
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.members import unpack
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.perceptron import Perceptron
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.table import Table
from pilothouse.engines.nets.threads import torch_threads

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 30
_LAYERS = (200, 100)
_WEIGHTS, _FACTS = "network.safetensors", "model.json"


class FastAIModel:
    """Fitted weights. Those of every round are in memory after a fit; only the best round's are saved."""

    def __init__(
        self, inputs: Inputs, perceptron: Perceptron, outcome: Outcome, snapshots: Snapshots, rounds: int
    ) -> None:
        self._inputs = inputs
        self._of = perceptron
        self._outcome = outcome
        self._snapshots = snapshots
        self.rounds: int | None = rounds
        self._weights = self._at(rounds)

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        upto = min(rounds or self.rounds or 1, self._snapshots.last)
        weights = self._weights if upto == self.rounds else self._at(upto)
        numbers = np.concatenate([self._inputs.numbers(x), self._inputs.extras(x)], axis=1)
        return self._outcome.predict(self._of.predict(weights, numbers, self._inputs.codes(x)))

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        arrays = vars(self._inputs) | {"weights": self._snapshots.at(self.rounds or 1)}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _WEIGHTS)
        facts = {"rounds": self.rounds, "perceptron": asdict(self._of), "outcome": asdict(self._outcome)}
        (directory / _FACTS).write_text(json.dumps(facts))

    def _at(self, rounds: int) -> dict[str, Array]:
        return unpack(self._snapshots.at(rounds).astype(np.float64), self._of.shapes())


class FastAI:
    """The engine. Params: `layers` (units of each), the fields of `Policy`, `patience`, `max_rounds` and `max_rows`."""

    name = "fastai"

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
        inputs, outcome = Inputs.fit(x, one_hot=0), Outcome.fit(y, w, task)
        perceptron = Perceptron(
            tuple((int(levels), embedding_size(int(levels))) for levels in inputs.levels),
            len(inputs.kept) + inputs.extra,
            tuple(params.get("layers", _LAYERS)),
            outcome.outputs,
        )
        stopping = Stopping(deadline, int(params.get("patience", 15)))
        with torch_threads(threads):
            snapshots = train(
                perceptron,
                outcome.prior,
                _joined(Table.of(inputs, outcome, x, y, w)),
                None if valid is None else _joined(Table.of(inputs, outcome, *valid)),
                Policy(**{f.name: params[f.name] for f in fields(Policy) if f.name in params}),
                stopping,
                absolute=task.absolute,
                rounds=rounds or int(params.get("max_rounds", _MAX_ROUNDS)),
                seed=seed,
            )
        return FastAIModel(inputs, perceptron, outcome, snapshots, stopping.rounds)

    def load(self, directory: Path) -> Model:
        from safetensors.numpy import load_file

        arrays, facts = load_file(directory / _WEIGHTS), json.loads((directory / _FACTS).read_text())
        snapshots = Snapshots()
        snapshots.add(facts["rounds"], arrays.pop("weights"))
        of = facts["perceptron"]
        embeddings = tuple((levels, size) for levels, size in of["embeddings"])
        perceptron = Perceptron(embeddings, of["numbers"], tuple(of["hidden"]), of["outputs"])
        outcome = Outcome(**facts["outcome"] | {"prior": tuple(facts["outcome"]["prior"])})
        return FastAIModel(Inputs(**arrays), perceptron, outcome, snapshots, facts["rounds"])


def embedding_size(levels: int) -> int:
    """fastai's rule of thumb (`emb_sz_rule`), at most 50."""
    return min(50, round(1.6 * math.pow(levels, 0.56)))


def _joined(table: Table) -> Table:
    """Indicators are numbers to fastai's model."""
    return replace(table, numbers=np.concatenate([table.numbers, table.extras], axis=1))
