"""A block of free text: its n-grams in few dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pilothouse.data import sample
from pilothouse.problems.tabular.pipelines.block import Array, State

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_ROWS = 20_000


@dataclass(frozen=True)
class Terms:
    """The n-gram weights of all texts of a row, projected on the leading right singular vectors of training rows
    (latent semantic analysis, Deerwester et al. 1990) and scaled to a standard deviation of 1.

    `axes`: float32 [terms, dimensions].
    """

    kind: ClassVar[str] = "terms"
    names: list[str]
    axes: Array

    @classmethod
    def fit(cls, x: Features, dimensions: int, seed: int) -> Terms:
        from sklearn.utils.extmath import randomized_svd

        rows = x.sparse[sample.spread(len(x), _ROWS)].astype(np.float64)
        count = min(dimensions, *(size - 1 for size in rows.shape))
        _, _, found = randomized_svd(rows, n_components=max(count, 1), random_state=seed)
        spread = np.asarray(rows @ found.T).std(axis=0)
        axes = (found.T / np.where(spread > 1e-9, spread, 1.0)).astype(np.float32)
        return cls([f"text:{i}" for i in range(axes.shape[1])], axes)

    def transform(self, x: Features) -> Array:
        return np.asarray(x.sparse @ self.axes, dtype=np.float32)

    def state(self) -> State:
        return {"names": self.names}, {"axes": self.axes}

    @classmethod
    def restore(cls, facts: dict[str, Any], arrays: dict[str, Array]) -> Terms:
        return cls(facts["names"], arrays["axes"])
