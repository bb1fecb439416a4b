"""Linear models: ridge regression and multinomial logistic regression on one-hot and clipped, standardised columns."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.engines.base import Array, Labelled, Model, Task, probabilities

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_MOST_LEVELS = 100
_MOST_STEPS = 300
_CLIP = 0.005
"""Numbers are clipped to their 0.5 % and 99.5 % quantiles."""

_WIDEST = 1e9


@dataclass(frozen=True)
class Design:
    """Turns features into the columns of a linear model: standardised numbers (missing: 0, the mean), indicators of
    missing numbers, and one column for each of the first levels of each category.
    """

    low: Array
    high: Array
    mean: Array
    scale: Array
    indicated: Array
    levels: Array

    @classmethod
    def fit(cls, x: Features) -> Design:
        numeric = np.asarray(x.numeric, dtype=np.float64)
        missing = np.isnan(numeric)
        low, high = _quantiles(numeric)
        clipped = np.where(missing, np.nan, np.clip(numeric, low, high))
        known = np.maximum((~missing).sum(axis=0), 1)
        mean = np.nansum(clipped, axis=0) / known
        spread = np.sqrt(np.nansum((clipped - mean) ** 2, axis=0) / known)
        levels = np.array([min(levels, _MOST_LEVELS) for levels in x.cardinalities], dtype=np.int64)
        scale = np.where(spread > 0, spread, 1.0)
        return cls(low, high, mean, scale, np.flatnonzero(missing.any(axis=0)), levels)

    def matrix(self, x: Features) -> Array:
        """float64 [n, columns]."""
        numeric = np.asarray(x.numeric, dtype=np.float64)
        missing = np.isnan(numeric)
        standard = (np.clip(np.where(missing, self.mean, numeric), self.low, self.high) - self.mean) / self.scale
        standard[missing] = 0.0
        parts = [standard, missing[:, self.indicated].astype(np.float64)]
        parts += [_one_hot(x.categorical[:, j], int(levels)) for j, levels in enumerate(self.levels)]
        return np.concatenate(parts, axis=1)


class LinearModel:
    """Coefficients [columns, outputs] and intercept [outputs] on a design's columns.

    A binary model has one output, the log odds of class 1; a multiclass one has a score for each class.
    """

    rounds: int | None = None

    def __init__(self, design: Design, coefficients: Array, intercept: Array, n_classes: int) -> None:
        self._design = design
        self._coefficients = coefficients
        self._intercept = intercept
        self._n_classes = n_classes

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        scores = self._design.matrix(x) @ self._coefficients + self._intercept
        if not self._n_classes:
            return np.asarray(scores[:, 0])
        return probabilities(_softmax(_padded(scores, self._n_classes)), self._n_classes)

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {**vars(self._design), "coefficients": self._coefficients, "intercept": self._intercept}
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, directory / "linear.safetensors")
        (directory / "model.json").write_text(json.dumps({"n_classes": self._n_classes}))


class LinearLearner:
    """The engine. Params: `l2`, the strength of the penalty in rows (as if so many rows spoke for zero)."""

    name = "linear-learner"

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
        design = Design.fit(x)
        a = design.matrix(x)
        weights = np.ones(len(x)) if w is None else np.asarray(w, dtype=np.float64) * (len(x) / max(w.sum(), 1e-300))
        l2 = float(params.get("l2", 1.0))
        solve = _ridge(a, y, weights, l2) if task.regression else _logistic(a, y, weights, l2, task.n_classes, deadline)
        return LinearModel(design, *solve, task.n_classes)

    def load(self, directory: Path) -> Model:
        from safetensors.numpy import load_file

        arrays = load_file(directory / "linear.safetensors")
        facts = json.loads((directory / "model.json").read_text())
        coefficients, intercept = arrays.pop("coefficients"), arrays.pop("intercept")
        return LinearModel(Design(**arrays), coefficients, intercept, facts["n_classes"])


def _quantiles(numeric: Array) -> tuple[Array, Array]:
    low, high = np.full(numeric.shape[1], -_WIDEST), np.full(numeric.shape[1], _WIDEST)
    for j in range(numeric.shape[1]):
        known = numeric[~np.isnan(numeric[:, j]), j]
        if len(known):
            low[j], high[j] = np.quantile(known, [_CLIP, 1 - _CLIP])
            if low[j] == high[j]:
                low[j], high[j] = known.min(), known.max()
    return low, high


def _one_hot(codes: Array, levels: int) -> Array:
    """[n, levels]; a code beyond the last level has no column and is all zeros."""
    out = np.zeros((len(codes), levels))
    rows = np.flatnonzero(codes < levels)
    out[rows, codes[rows]] = 1.0
    return out


def _padded(scores: Array, classes: int) -> Array:
    """A score for every class: where there are two, that of class 0 is always 0."""
    return np.column_stack([np.zeros(len(scores)), scores]) if classes == 2 else scores


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _ridge(a: Array, y: Array, w: Array, l2: float) -> tuple[Array, Array]:
    """Weighted least squares with a penalty on all but the intercept, by the normal equations."""
    total = w.sum()
    centre, level = (w @ a) / total, float(w @ y) / total
    centred = a - centre
    gram = centred.T @ (centred * w[:, None])
    gram[np.diag_indices_from(gram)] += max(l2, 1e-6)
    coefficients = np.linalg.solve(gram, centred.T @ (w * (y - level)))
    return coefficients[:, None], np.array([level - float(centre @ coefficients)])


def _logistic(a: Array, y: Array, w: Array, l2: float, classes: int, deadline: float | None) -> tuple[Array, Array]:
    """Multinomial logistic regression by L-BFGS; ends early at the deadline."""
    from scipy.optimize import minimize

    columns, total = a.shape[1], w.sum()
    outputs = 1 if classes == 2 else classes
    hot = np.zeros((len(y), classes))
    hot[np.arange(len(y)), y.astype(np.int64)] = 1.0

    def loss(flat: Array) -> tuple[float, Array]:
        theta = flat.reshape(columns + 1, outputs)
        p = _softmax(_padded(a @ theta[:-1] + theta[-1], classes))
        chosen = np.maximum((p * hot).sum(axis=1), 1e-300)
        value = (-(w * np.log(chosen)).sum() + l2 / 2 * (theta[:-1] ** 2).sum()) / total
        error = (w[:, None] * (p - hot))[:, -outputs:]
        gradient = np.vstack([a.T @ error + l2 * theta[:-1], error.sum(axis=0)]) / total
        return float(value), gradient.ravel()

    def after_step(_theta: Array) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise StopIteration

    start = np.zeros((columns + 1, outputs))
    prior = np.log((w @ hot + 1.0) / (total + classes))
    start[-1] = prior[1:] - prior[0] if outputs == 1 else prior
    options = {"maxiter": _MOST_STEPS, "ftol": 1e-7}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", callback=after_step, options=options)
    theta = found.x.reshape(columns + 1, outputs)
    return theta[:-1], theta[-1]
