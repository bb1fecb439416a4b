"""How much the candidates of a job still gain: a small greedy blend of their out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data import sample
from pilothouse.problems.tabular.dataset import TRAIN, Dataset
from pilothouse.problems.tabular.judge import Judge

Array = npt.NDArray[Any]

_ROWS = 4_000
_STEPS = 20
_LEAST_PROBABILITY = 1e-7


class Progress:
    """The blend of what is finished, by log loss or squared (for the objective MAE absolute) error on some of the
    training rows, each by its weight. Not thread-safe.

    Cheap enough for a coordinator: of a classifier it keeps only the probability of each row's true class, which is
    all that the log loss of a blend needs.
    """

    def __init__(self, dataset: Path) -> None:
        data = Dataset.load(dataset)
        rows = data.rows(TRAIN)
        self._chosen = sample.spread(len(rows), _ROWS)
        seen = rows[self._chosen]
        self._y = np.asarray(data.y[seen])
        w = None if data.w is None else data.w[seen]
        self._shares = Judge(data.problem_type, data.metric, self._y, w).weights()
        self._regression = data.problem_type == REGRESSION
        self._absolute = data.metric == "MAE"
        self._names: list[str] = []
        self._predictions: list[Array] = []
        self._blends: dict[int, tuple[Array, float]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, folder: Path) -> None:
        """Takes in the finished trial in `folder`."""
        familiar = folder / "familiar.npy"
        source = familiar if familiar.exists() else folder / "oof.npy"
        oof = np.load(source, mmap_mode="r", allow_pickle=False)[self._chosen]
        own = oof if self._regression else oof[np.arange(len(self._y)), self._y]
        self._names.append(name)
        self._predictions.append(np.asarray(own, dtype=np.float64))

    def gain(self, last: int) -> float:
        """By what share the `last` candidates lowered the blend's loss; 1 while there are not more than those."""
        before = len(self) - last
        if before < 1:
            return 1.0
        old, new = self._blend(before)[1], self._blend(len(self))[1]
        return (old - new) / old if old > 0 else 0.0

    def weights(self) -> dict[str, float]:
        """The share that each candidate has in the blend."""
        if not self._names:
            return {}
        counts = self._blend(len(self))[0]
        return dict(zip(self._names, (counts / counts.sum()).tolist(), strict=True))

    def _blend(self, count: int) -> tuple[Array, float]:
        """How often each of the first `count` candidates is in the greedy blend, and the blend's loss."""
        if count not in self._blends:
            self._blends[count] = self._blended(count)
        return self._blends[count]

    def _blended(self, count: int) -> tuple[Array, float]:
        predictions = np.stack(self._predictions[:count])
        total, counts = np.zeros(predictions.shape[1]), np.zeros(count)
        best, kept = np.inf, counts
        for size in range(1, _STEPS + 1):
            losses = self._losses((total + predictions) / size)
            chosen = int(np.argmin(losses))
            counts[chosen] += 1
            total = total + predictions[chosen]
            if losses[chosen] < best:
                best, kept = float(losses[chosen]), counts.copy()
        return kept, best

    def _losses(self, blends: Array) -> Array:
        if self._regression:
            errors = blends - self._y
            return np.asarray((np.abs(errors) if self._absolute else errors**2) @ self._shares)
        return np.asarray(-np.log(np.maximum(blends, _LEAST_PROBABILITY)) @ self._shares)
