"""What a network's outputs mean: values on the target's own scale, or probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilothouse.engines.base import Array, Task, probabilities


@dataclass(frozen=True)
class Outcome:
    """The way from a target to what a network learns, and back from its outputs.

    A regression learns the standardised target (`centre`, `spread`) and never predicts beyond `low` and `high`, the
    extremes in training. `prior` holds the outputs that say no more than the share of each class; `n_classes` is 0 for
    regression.
    """

    n_classes: int
    centre: float
    spread: float
    low: float
    high: float
    prior: tuple[float, ...]

    @classmethod
    def fit(cls, y: Array, w: Array | None, task: Task) -> Outcome:
        weights = np.ones(len(y)) if w is None else np.asarray(w, dtype=np.float64)
        if not task.regression:
            return cls(task.n_classes, 0.0, 1.0, 0.0, 0.0, _prior(y, weights, task.n_classes))
        centre = float(np.average(y, weights=weights))
        spread = float(np.sqrt(np.average((y - centre) ** 2, weights=weights)))
        return cls(0, centre, spread or 1.0, float(y.min()), float(y.max()), (0.0,))

    @property
    def outputs(self) -> int:
        """1 for regression and for two classes, else a score for each class."""
        return len(self.prior)

    def learnt(self, y: Array) -> Array:
        """What the network learns: float32 values, or int64 classes."""
        return y.astype(np.int64) if self.n_classes else ((y - self.centre) / self.spread).astype(np.float32)

    def predict(self, outputs: Array) -> Array:
        """The members' mean prediction, as `Model.predict` gives it, from [n, members, outputs]."""
        outputs = outputs.astype(np.float64)
        if not self.n_classes:
            values = outputs[:, :, 0].mean(axis=1) * self.spread + self.centre
            return np.asarray(np.clip(values, self.low, self.high))
        if self.n_classes == 2:
            return probabilities((0.5 + 0.5 * np.tanh(outputs[:, :, 0] / 2.0)).mean(axis=1), 2)
        powers = np.exp(outputs - outputs.max(axis=2, keepdims=True))
        return probabilities((powers / powers.sum(axis=2, keepdims=True)).mean(axis=1), self.n_classes)


def _prior(y: Array, weights: Array, n_classes: int) -> tuple[float, ...]:
    """Logarithms of the classes' shares, or the log odds of class 1; a class without rows counts as half a row."""
    shares = np.bincount(y.astype(np.int64), weights / weights.mean(), n_classes)
    scores = np.log(np.maximum(shares, 0.5)) - np.log(len(y))
    return (float(scores[1] - scores[0]),) if n_classes == 2 else tuple(map(float, scores))
