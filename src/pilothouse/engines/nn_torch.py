"""A tabular network of many members in one, trained with torch, kept as plain arrays and predicted in NumPy."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array, Labelled, Model, Stopping, Task, capped
from pilothouse.engines.nets import stored
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.members import Architecture, Network, unpack
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.streamed import few, table, watched
from pilothouse.engines.nets.table import Table
from pilothouse.engines.nets.training import Settings, train

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MAX_ROUNDS = 100
_WEIGHTS, _FACTS = "network.safetensors", "model.json"


class NNTorchModel:
    """Fitted weights. Those of every round are in memory after a fit; only the best round's are saved."""

    def __init__(
        self, inputs: Inputs, architecture: Architecture, outcome: Outcome, snapshots: Snapshots, rounds: int
    ) -> None:
        self._inputs = inputs
        self._of = architecture
        self._outcome = outcome
        self._snapshots = snapshots
        self.rounds: int | None = rounds
        self._ready = rounds, self._at(rounds)

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        upto = min(rounds or self.rounds or 1, self._snapshots.last)
        ready, network = self._ready
        network = network if upto == ready else self._at(upto)
        outputs = network.outputs(self._inputs.numbers(x), self._inputs.extras(x), self._inputs.codes(x))
        return self._outcome.predict(outputs)

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        arrays = vars(self._inputs) | {"weights": self._snapshots.at(self.rounds or 1)}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _WEIGHTS)
        facts = {"rounds": self.rounds, "architecture": asdict(self._of), "outcome": asdict(self._outcome)}
        (directory / _FACTS).write_text(json.dumps(facts))

    def _at(self, rounds: int) -> Network:
        return Network(self._of, unpack(self._snapshots.at(rounds), self._of.shapes()))


class NNTorch:
    """The engine. Params: the fields of `Architecture` and `Settings` that have defaults, `patience`,
    `max_rounds` and `max_rows`.
    """

    name = "nn-torch"

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
        inputs, outcome = Inputs.fit(few(x, y, seed)), Outcome.fit(y, w, task)
        levels = tuple(int(inputs.levels[j]) for j in inputs.embedded)
        sizes = (len(inputs.kept), inputs.extra, levels, outcome.outputs)
        architecture = Architecture(*sizes, **_known(Architecture, params))
        stopping = Stopping(deadline, int(params.get("patience", 10)))
        snapshots = train(
            architecture,
            outcome.prior,
            table(inputs, outcome, x, y, w),
            None if valid is None else Table.of(inputs, outcome, *watched(*valid, seed)),
            Settings(**_known(Settings, params)),
            stopping,
            absolute=task.absolute,
            epochs=rounds or int(params.get("max_rounds", _MAX_ROUNDS)),
            seed=seed,
            threads=threads,
        )
        return NNTorchModel(inputs, architecture, outcome, snapshots, stopping.rounds)

    def load(self, directory: Path) -> Model:
        from safetensors.numpy import load_file

        arrays, facts = load_file(directory / _WEIGHTS), json.loads((directory / _FACTS).read_text())
        with stored.refusing_damage():
            weights, inputs = arrays.pop("weights"), Inputs(**arrays)
            of = Architecture(**facts["architecture"] | {"levels": tuple(facts["architecture"]["levels"])})
            outcome = Outcome(**facts["outcome"] | {"prior": tuple(facts["outcome"]["prior"])})
            if not (0 < of.members <= stored.MOST_MEMBERS and 0 < of.depth <= stored.MOST_LAYERS and of.width > 0):
                raise ValueError("the network has too many members or layers, or none")
            stored.check(of.shapes(), weights, facts["rounds"])
            stored.check_columns(inputs, outcome, of.numbers + of.extras, of.levels, of.outputs)
        snapshots = Snapshots()
        snapshots.add(facts["rounds"], weights)
        return NNTorchModel(inputs, of, outcome, snapshots, facts["rounds"])


def _known(of: type, params: dict[str, Any]) -> dict[str, Any]:
    return {field.name: params[field.name] for field in fields(of) if field.name in params}
