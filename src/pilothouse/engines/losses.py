"""The losses that linear models minimise: what the scores of rows cost, and how that changes with the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pilothouse.engines.base import Array

SQUARED, HUBER, ABSOLUTE = "squared", "huber", "absolute"
_WIDTHS = {HUBER: 1.0, ABSOLUTE: 0.05}
"""Errors, in standard deviations of the target, around which a loss goes over from squared to absolute."""

_LEAST = 1e-300


class Loss(Protocol):
    """Of rows with targets y [n], whose scores are [n, outputs]."""

    @property
    def start(self) -> Array:
        """[outputs]: scores to start from."""

    def of(self, scores: Array, y: Array) -> tuple[Array, Array]:
        """What each row costs [n], and its derivative by the scores [n, outputs]."""

    def told(self, scores: Array, y: Array) -> float:
        """The mean over the rows in the measure by which engines are compared."""

    def scaled(self, coefficients: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients and intercept of what is predicted, from those of the scores."""


@dataclass(frozen=True)
class Errors:
    """Of a regression, whose scores are in standard deviations (`spread`) from the mean (`level`) of the target.

    `huber` and `absolute` are the pseudo-Huber loss d² (√(1 + (r / d)²) - 1) with d = 1 and 0.05. Told are mean
    squared, or `by_distance` absolute, errors.
    """

    level: float
    spread: float
    kind: str
    by_distance: bool

    @classmethod
    def on(cls, y: Array, w: Array, kind: str, *, by_distance: bool) -> Errors:
        """For targets of which each counts so much."""
        level = float(w @ y) / float(w.sum())
        spread = math.sqrt(float(w @ (y - level) ** 2) / float(w.sum())) or 1.0
        return cls(level, spread, kind, by_distance)

    @property
    def start(self) -> Array:
        return np.zeros(1)

    def of(self, scores: Array, y: Array) -> tuple[Array, Array]:
        errors = self._errors(scores, y)
        if self.kind == SQUARED:
            return 0.5 * errors**2, errors[:, None]
        width = _WIDTHS[self.kind]
        root = np.sqrt(1 + (errors / width) ** 2)
        # Divided by its width, so that a penalty means the same beside either loss.
        return width * (root - 1), (errors / (width * root))[:, None]

    def told(self, scores: Array, y: Array) -> float:
        errors = self._errors(scores, y)
        return float(np.abs(errors).mean() if self.by_distance else (errors**2).mean())

    def scaled(self, coefficients: Array, intercept: Array) -> tuple[Array, Array]:
        return coefficients * self.spread, intercept * self.spread + self.level

    def _errors(self, scores: Array, y: Array) -> Array:
        return np.asarray(scores[:, 0] - (y - self.level) / self.spread)


@dataclass(frozen=True)
class LogLoss:
    """Of a classification. Two classes have one score, the log odds of class 1; more have one each. `prior`: the shares
    of the classes.
    """

    prior: Array

    @classmethod
    def on(cls, y: Array, w: Array, classes: int) -> LogLoss:
        """For targets of which each counts so much."""
        return cls((np.bincount(y.astype(np.int64), w, classes) + 1.0) / (float(w.sum()) + classes))

    @property
    def start(self) -> Array:
        logs = np.log(self.prior)
        return np.asarray(logs[1:] - logs[0] if len(logs) == 2 else logs)

    def of(self, scores: Array, y: Array) -> tuple[Array, Array]:
        p = softmax(scores, len(self.prior))
        places = np.arange(len(y)), y.astype(np.int64)
        losses = -np.log(np.maximum(p[places], _LEAST))
        p[places] -= 1.0
        return losses, p[:, -scores.shape[1] :]

    def told(self, scores: Array, y: Array) -> float:
        return float(self.of(scores, y)[0].mean())

    def scaled(self, coefficients: Array, intercept: Array) -> tuple[Array, Array]:
        return coefficients, intercept


def softmax(scores: Array, classes: int) -> Array:
    """Probabilities [n, classes] from scores; where there are two classes, that of class 0 is always 0."""
    if classes == 2:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
