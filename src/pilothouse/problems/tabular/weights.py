"""The weights of an ensemble: ways to choose them by out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import REGRESSION
from pilothouse.problems.tabular.judge import Judge

Array = npt.NDArray[Any]

_STEPS, _PATIENCE = 30, 6
_SWEEPS, _STILL = 300, 1e-5
_LEAST_WEIGHT = 0.02
_WORTH = 0.01
"""A member stays if without it more than this share of the mixture's gain over the best candidate were lost."""


def best(judge: Judge, predictions: Sequence[Array]) -> Array:
    """All weight to the candidate with the best score."""
    return np.asarray(np.eye(len(predictions))[int(np.argmax([judge.score(p) for p in predictions]))])


def greedy(judge: Judge, predictions: Sequence[Array]) -> Array:
    """Ensemble selection with replacement, started from the best candidate (Caruana et al., ICML 2004).

    Never worse on these rows than that one by the judge's score. To be quick, it takes only candidates that have weight
    in the `convex` mixture.
    """
    counts = best(judge, predictions)
    eligible = [int(i) for i in np.flatnonzero((counts > 0) | (convex(judge, predictions) >= _LEAST_WEIGHT))]
    total = np.asarray(mixture(counts, predictions))
    top, kept = judge.score(total), counts.copy()
    for size in range(2, _STEPS + 1):
        scores = [judge.score((total + predictions[i]) / size) for i in eligible]
        chosen = eligible[int(np.argmax(scores))]
        counts[chosen] += 1
        total = total + predictions[chosen]
        if max(scores) > top:
            top, kept = max(scores), counts.copy()
        elif counts.sum() >= kept.sum() + _PATIENCE:
            break
    return np.asarray(kept / kept.sum())


def convex(judge: Judge, predictions: Sequence[Array]) -> Array:
    """The weights with the least log loss, squared or (for the objective MAE) absolute error of the mixture."""
    if judge.problem_type != REGRESSION:
        return _least_log_loss(judge, predictions)
    errors = np.column_stack([prediction - judge.y for prediction in predictions])
    if judge.metric != "MAE":
        return _least_squares(errors, judge.weights())
    weights, w = np.full(len(predictions), 1 / len(predictions)), judge.weights()
    floor = 1e-3 * float(np.abs(errors).mean()) or 1.0
    for _ in range(20):  # iteratively reweighted least squares
        weights = _least_squares(errors, w / np.maximum(np.abs(errors @ weights), floor))
    return weights


METHODS: dict[str, Callable[[Judge, Sequence[Array]], Array]] = {"best": best, "convex": convex, "greedy": greedy}
"""The quickest first."""


def chosen(method: str, judge: Judge, predictions: Sequence[Array], latencies: Sequence[float]) -> list[float]:
    """The weights by one of `METHODS` without members that hardly count; they sum to 1 and most may be 0."""
    weights = METHODS[method](judge, predictions)
    weights = _normalised(np.where(weights >= _LEAST_WEIGHT, weights, 0.0))
    return [float(weight) for weight in _pruned(judge, predictions, weights, latencies)]


def mixture(weights: Sequence[float] | Array, predictions: Iterable[Array]) -> Array:
    """The weighted float64 sum of the predictions, one of which is looked at at a time."""
    return np.asarray(sum(w * np.asarray(p, np.float64) for w, p in zip(weights, predictions, strict=True) if w > 0))


def _least_log_loss(judge: Judge, predictions: Sequence[Array]) -> Array:
    """By expectation maximisation: candidates share each row as they have predicted its class."""
    rows, y = np.arange(len(judge.y)), judge.y.astype(np.int64)
    likelihood = np.column_stack([np.maximum(prediction[rows, y], 1e-9) for prediction in predictions])
    w = judge.weights()
    weights = np.full(len(predictions), 1 / len(predictions))
    for _ in range(_SWEEPS):
        gain = (w / (likelihood @ weights)) @ likelihood
        weights, before = weights * gain, weights
        if np.abs(weights - before).max() < _STILL:
            break
    return _normalised(weights)


def _least_squares(errors: Array, w: Array) -> Array:
    """Weights that are not negative and sum to 1 with the least weighted sum of squares of the mixed errors."""
    from scipy.optimize import nnls

    gram = (errors * w[:, None]).T @ errors
    scale = float(np.trace(gram)) / len(gram) or 1.0
    # With the sum of weights as one more target, the rest is a plain non-negative problem; scaling then makes it 1.
    gram = gram / scale + 1.0
    factor = np.linalg.cholesky(gram + 1e-9 * np.eye(len(gram))).T
    return _normalised(nnls(factor, np.linalg.solve(factor.T, np.ones(len(gram))))[0])


def _pruned(judge: Judge, predictions: Sequence[Array], weights: Array, latencies: Sequence[float]) -> Array:
    """Leaves out members, the slowest first, as long as that hardly costs anything on the judge's rows."""
    voters = [int(i) for i in np.flatnonzero(weights)]
    score = judge.smooth(mixture(weights, predictions))
    allowed = score - _WORTH * max(0.0, score - max(judge.smooth(predictions[i]) for i in voters))
    for i in sorted(voters, key=lambda i: -latencies[i]):
        tried = [(judge.smooth(mixture(rest, predictions)), rest) for rest in _without(i, weights, predictions)]
        top, rest = max(tried, key=lambda one: one[0], default=(-np.inf, weights))
        weights = rest if top >= allowed else weights
    return weights


def _without(left_out: int, weights: Array, predictions: Sequence[Array]) -> list[Array]:
    """The weights if one goes: what it had given to all the others, or to the one that predicts most like it."""
    rest = weights * (np.arange(len(weights)) != left_out)
    others = [int(i) for i in np.flatnonzero(rest)]
    if not others:
        return []
    apart = [float(np.square(predictions[i] - predictions[left_out]).mean()) for i in others]
    heir = others[int(np.argmin(apart))]
    return [_normalised(rest), rest + weights[left_out] * (np.arange(len(weights)) == heir)]


def _normalised(weights: Array) -> Array:
    total = weights.sum()
    return np.asarray(weights / total if total > 0 else np.full(len(weights), 1 / len(weights)))
