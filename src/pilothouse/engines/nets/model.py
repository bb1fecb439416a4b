"""A fitted perceptron: what it reads, its weights after each round, and what its outputs mean."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.engines.nets import stored
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.members import unpack
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.perceptron import Perceptron
from pilothouse.engines.nets.snapshots import Snapshots

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_WEIGHTS, _FACTS = "network.safetensors", "model.json"


class PerceptronModel:
    """Fitted weights. Those of every round are in memory after a fit; only the best round's are saved."""

    def __init__(
        self, inputs: Inputs, perceptron: Perceptron, outcome: Outcome, snapshots: Snapshots, rounds: int
    ) -> None:
        self._inputs = inputs
        self._of = perceptron
        self._outcome = outcome
        self._snapshots = snapshots
        self.rounds: int | None = rounds
        self._ready = rounds, self._at(rounds)

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        upto = min(rounds or self.rounds or 1, self._snapshots.last)
        ready, weights = self._ready
        weights = weights if upto == ready else self._at(upto)
        numbers = np.concatenate([self._inputs.numbers(x), self._inputs.extras(x)], axis=1)
        return self._outcome.predict(self._of.predict(weights, numbers, self._inputs.codes(x)))

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        arrays = vars(self._inputs) | {"weights": self._snapshots.at(self.rounds or 1)}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _WEIGHTS)
        facts = {"rounds": self.rounds, "perceptron": asdict(self._of), "outcome": asdict(self._outcome)}
        (directory / _FACTS).write_text(json.dumps(facts))

    @classmethod
    def load(cls, directory: Path) -> PerceptronModel:
        """What `save` wrote in `directory`."""
        from safetensors.numpy import load_file

        arrays, facts = load_file(directory / _WEIGHTS), json.loads((directory / _FACTS).read_text())
        with stored.refusing_damage():
            weights, of = arrays.pop("weights"), facts["perceptron"]
            embeddings = tuple((levels, size) for levels, size in of["embeddings"])
            perceptron = Perceptron(embeddings, of["numbers"], tuple(of["hidden"]), of["outputs"])
            inputs = Inputs(**arrays)
            outcome = Outcome(**facts["outcome"] | {"prior": tuple(facts["outcome"]["prior"])})
            levels = [levels for levels, _ in embeddings]
            stored.check(perceptron.shapes(), weights, facts["rounds"])
            stored.check_columns(inputs, outcome, perceptron.numbers, levels, perceptron.outputs)
        snapshots = Snapshots()
        snapshots.add(facts["rounds"], weights)
        return cls(inputs, perceptron, outcome, snapshots, facts["rounds"])

    def _at(self, rounds: int) -> dict[str, Array]:
        return unpack(self._snapshots.at(rounds).astype(np.float64), self._of.shapes())


def perceptron_of(inputs: Inputs, outcome: Outcome, layers: tuple[int, ...]) -> Perceptron:
    """The perceptron for such inputs, all of whose categories are embedded."""
    embeddings = tuple((int(levels), embedding_size(int(levels))) for levels in inputs.levels)
    return Perceptron(embeddings, len(inputs.kept) + inputs.extra, layers, outcome.outputs)


def embedding_size(levels: int) -> int:
    """fastai's rule of thumb (`emb_sz_rule`), at most 50."""
    return min(50, round(1.6 * math.pow(levels, 0.56)))
