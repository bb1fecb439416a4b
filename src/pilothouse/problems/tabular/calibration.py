"""Probability calibration: a map of a model's probabilities, fitted on predictions of rows that it has not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data import sample

Array = npt.NDArray[Any]

_LEAST_PROBABILITY = 1e-9
_MOST_ROWS = 50_000
_LEAST_ROWS, _CELLS = 2_000, 60_000
"""A map is fitted to so many rows times classes, or more if those rows are few: it has few numbers."""

_CLEARLY = 1.0
"""Standard errors by which the log loss of rows that have not fitted the map must improve."""
_LEAST_GAIN = 0.001
_PRIOR_ROWS = 10.0
"""The pull towards no map at all, in rows."""


@dataclass(frozen=True)
class Calibration:
    """New log probabilities are `scale` times the old ones plus the class's `bias` (none: 0), then normalised.

    A scale alone is temperature scaling (Guo et al., ICML 2017); with biases and two classes it is Platt's, with more
    classes bias-corrected temperature scaling (Alexandari et al., ICML 2020).
    """

    scale: float
    bias: list[float] = field(default_factory=list)

    @classmethod
    def load(cls, document: dict[str, Any] | None, classes: int) -> Calibration | None:
        """What `document` made; None of None. `ValueError` or the like if it is no map of so many classes."""
        if document is None:
            return None
        scale, bias = float(document["scale"]), [float(value) for value in document["bias"]]
        if not (classes and len(bias) in (0, classes) and scale > 0 and all(map(math.isfinite, [scale, *bias]))):
            raise ValueError(f"the calibration {document} is not made for {classes} classes")
        return cls(scale, bias)

    def document(self) -> dict[str, Any]:
        """The map as JSON."""
        return {"scale": self.scale, "bias": self.bias}

    def __call__(self, probabilities: Array) -> Array:
        """The calibrated float64 [n, classes] of `probabilities` [n, classes]."""
        return _mapped(np.log(np.clip(probabilities, _LEAST_PROBABILITY, 1.0)), self.scale, np.asarray(self.bias))


def choose(y: Array, probabilities: Array, folds: Array, weights: Array | None = None) -> Calibration | None:
    """The map that makes the log loss clearly smaller on rows that did not fit it, or None.

    `y`: class indices. `probabilities`: [n, classes] out-of-fold predictions. `folds`: a number for each row; each fold
    is judged by a map fitted on the others.
    """
    rows = sample.spread(len(y), _MOST_ROWS)
    w = np.ones(len(rows)) if weights is None else np.asarray(weights[rows], dtype=np.float64)
    y, probabilities, folds = y[rows], probabilities[rows], folds[rows]
    if len(np.unique(folds)) < 2 or not w.any():
        return None
    now = _losses(y, probabilities)
    best, least = None, float((w * now).sum())
    for biased in (False, True):
        then = _losses(y, _by_fold(y, probabilities, folds, w, biased))
        loss = float((w * then).sum())
        if loss < least and _clear(now - then, w, least):
            best, least = fit(y, probabilities, w, biased=biased), loss
            now = then
    return best


def honest(
    calibration: Calibration | None,
    y: Array,
    probabilities: Array,
    folds: Array,
    weights: Array | None = None,
    *,
    fitted: Array,
) -> Array:
    """The rows' own probabilities under maps of that kind which the other folds' rows have fitted, as in `fitted`."""
    if calibration is None:
        return probabilities
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    return _by_fold(y, fitted, folds, w, bool(calibration.bias), probabilities)


def fit(y: Array, probabilities: Array, w: Array, *, biased: bool) -> Calibration:
    """The map with the least weighted log loss on these rows, drawn a little towards none."""
    from scipy.optimize import minimize

    classes = probabilities.shape[1]
    rows = sample.spread(len(y), max(_LEAST_ROWS, _CELLS // classes))
    y, w, logs = y[rows], w[rows], np.log(np.clip(probabilities[rows], _LEAST_PROBABILITY, 1.0))
    hot = np.eye(classes)[y.astype(np.int64)]
    total = float(w.sum()) or 1.0
    pull = _PRIOR_ROWS / len(y)

    def loss(theta: Array) -> tuple[float, Array]:
        scale, bias = math.exp(theta[0]), theta[1:]
        p = _mapped(logs, scale, bias)
        error = w[:, None] * (p - hot) / total
        value = -float((w * np.log(np.maximum(p[hot > 0], _LEAST_PROBABILITY))).sum()) / total
        own = float((error * logs).sum()) * scale
        gradient = np.concatenate([[own], error.sum(axis=0) if biased else []])
        return value + 0.5 * pull * float(theta @ theta), gradient + pull * theta

    bounds = [(-2.0, 2.0), *([(-5.0, 5.0)] * classes if biased else [])]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds)
    return Calibration(math.exp(found.x[0]), [float(value) for value in found.x[1:]])


def _by_fold(y: Array, probabilities: Array, folds: Array, w: Array, biased: bool, own: Array | None = None) -> Array:
    """The probabilities (or `own`) of each fold, mapped as the other folds' probabilities fit it."""
    own = probabilities if own is None else own
    mapped = np.empty(own.shape)
    for fold in np.unique(folds):
        mine, others = folds == fold, folds != fold
        mapped[mine] = fit(y[others], probabilities[others], w[others], biased=biased)(own[mine])
    return mapped


def _mapped(logs: Array, scale: float, bias: Array) -> Array:
    scores = scale * logs + bias if len(bias) else scale * logs
    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _losses(y: Array, probabilities: Array) -> Array:
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(y)), y.astype(np.int64)], _LEAST_PROBABILITY)))


def _clear(gains: Array, w: Array, loss: float) -> bool:
    """Whether the weighted gains of the rows are more than noise, and than next to nothing."""
    mean = float((w * gains).sum() / w.sum())
    error = math.sqrt(float((w**2 * (gains - mean) ** 2).sum())) / float(w.sum())
    return mean > _CLEARLY * error and mean > _LEAST_GAIN * loss / float(w.sum())
