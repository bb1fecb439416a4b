"""A Gaussian process over points of the unit cube, in NumPy: what it expects of a point, and how sure it is.

Matérn 5/2 kernel with a length for each side (Rasmussen and Williams 2006, eqs. 4.17 and 5.9). Lengths, scale and noise
maximise the likelihood times priors: lengths are log-normal with the parameters √2 + ½ log(sides) and √3 (Hvarfner et
al. 2024, "Vanilla Bayesian optimization performs great in high dimensions"), which makes lengths of exp(√2 - 3)·√sides
the likeliest; noise is log-normal with -4 and 1, as in BoTorch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, special

Array = npt.NDArray[np.float64]

_LENGTH_SPREAD, _SCALE_SPREAD = math.sqrt(3), 0.5
_NOISE_MIDDLE, _NOISE_SPREAD = -5.0, 1.0
"""Of the logarithms. A log-normal density is highest at its first parameter less its second, squared."""

_JITTER = 1e-8
_BOUNDS = {"weight": (-14.0, 9.0), "scale": (-3.0, 3.0), "noise": (-14.0, 1.0)}
_MOST_STEPS, _MOST_FITTED = 40, 64


@dataclass(frozen=True)
class Process:
    """A fitted process. `points` float64 [n, sides]; `weights` [sides] are inverse squared lengths; `unordered` [sides]
    says of which sides two coordinates are either the same or not. Values are those given to `fitted`, standardised.
    """

    points: Array
    values: Array
    unordered: npt.NDArray[np.bool_]
    weights: Array
    scale: float
    noise: float
    factor: Array
    solved: Array

    @classmethod
    def fitted(cls, points: Array, values: Array, unordered: npt.NDArray[np.bool_]) -> Process:
        """The process for these values, float64 [n], n at least 2. `LinAlgError` if the numbers allow none."""
        values = values / (float(np.abs(values).max()) or 1.0)  # so that no square is too large for a float
        spread = float(values.std())
        values = (values - values.mean()) / (spread if spread > 0 else 1.0)
        sides, chosen = points.shape[1], _telling(values)
        some = points[chosen]
        squares = np.stack([_squares(some[:, [i]], some[:, [i]], unordered[[i]]) for i in range(sides)])
        start = np.array([*([_weight_middle(sides)] * sides), 0.0, _NOISE_MIDDLE])
        bounds = [_BOUNDS["weight"]] * sides + [_BOUNDS["scale"], _BOUNDS["noise"]]
        found = optimize.minimize(
            _unlikelihood,
            start,
            args=(squares, values[chosen]),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _MOST_STEPS},
        )
        theta = found.x if np.isfinite(found.x).all() else start
        return cls._made(points, values, unordered, np.exp(theta[:-2]), math.exp(theta[-2]), math.exp(theta[-1]))

    def with_pending(self, pending: Array) -> Process:
        """The process, had the points [m, sides] turned out as expected (Ginsbourger et al. 2010: kriging believer)."""
        expected, _ = self.expects(pending)
        return self._made(
            np.vstack([self.points, pending]),
            np.concatenate([self.values, expected]),
            self.unordered,
            self.weights,
            self.scale,
            self.noise,
        )

    def expects(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, without noise, at the points [m, sides]: each float64 [m]."""
        covariance = self._covariance(points)
        half = linalg.solve_triangular(self.factor, covariance.T, lower=True, check_finite=False)
        variance = self.scale - np.einsum("ij,ij->j", half, half)
        return covariance @ self.solved, np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, points: Array) -> Array:
        return self.scale * _matern(_squares(points, self.points, self.unordered, self.weights))[0]

    @classmethod
    def _made(
        cls,
        points: Array,
        values: Array,
        unordered: npt.NDArray[np.bool_],
        weights: Array,
        scale: float,
        noise: float,
    ) -> Process:
        kernel = scale * _matern(_squares(points, points, unordered, weights))[0]
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        factor = linalg.cholesky(kernel, lower=True, check_finite=False)
        solved = linalg.cho_solve((factor, True), values, check_finite=False)
        return cls(points, values, unordered, weights, scale, noise, factor, solved)


def _telling(values: Array) -> npt.NDArray[np.intp]:
    """The places of the findings that the kernel is fitted to: all, or the best and, evenly, some of the others."""
    order = np.argsort(values, kind="stable")
    if len(order) <= _MOST_FITTED:
        return order
    half = _MOST_FITTED // 2
    return np.concatenate([order[:half], order[half:][:: -(-(len(order) - half) // half)]])


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """The logarithm of how far below `best` a value is expected to be, where it is: float64 [m].

    Ament et al. 2023 (LogEI); far from `best` its leading term.
    """
    z = (best - mean) / deviation
    density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    near = np.maximum(z, -25.0)
    ratio = 1 + near * math.sqrt(math.pi / 2) * special.erfcx(np.maximum(-near / math.sqrt(2), -5.0))
    above = np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi) + near * special.ndtr(near)
    close = np.where(near > -1, np.log(np.maximum(above, 1e-300)), density + np.log(np.maximum(ratio, 1e-300)))
    return np.asarray(np.log(deviation) + np.where(z > -25, close, density - 2 * np.log(np.maximum(-z, 1.0))))


def _unlikelihood(theta: Array, squares: Array, values: Array) -> tuple[float, Array]:
    """The negative logarithm of likelihood times priors, and its gradient, by the logarithms of all parameters."""
    weights, scale, noise = np.exp(theta[:-2]), math.exp(theta[-2]), math.exp(theta[-1])
    shape, slope = _matern(np.tensordot(weights, squares, 1))
    kernel = scale * shape
    kernel[np.diag_indices_from(kernel)] += noise + _JITTER
    try:
        factor = linalg.cholesky(kernel, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return 1e25, np.zeros_like(theta)
    inverse = linalg.cho_solve((factor, True), np.eye(len(values)), check_finite=False)
    solved = inverse @ values
    prior, prior_slope = _priors(theta)
    loss = 0.5 * values @ solved + np.log(np.diag(factor)).sum() + prior
    pull = 0.5 * (inverse - np.outer(solved, solved))
    by_weight = np.tensordot(squares, pull * scale * slope, ((1, 2), (0, 1))) * weights
    gradient = np.array([*by_weight, scale * float((pull * shape).sum()), noise * float(np.trace(pull))])
    return float(loss), gradient + prior_slope


def _priors(theta: Array) -> tuple[float, Array]:
    sides = len(theta) - 2
    middles = np.array([*([_weight_middle(sides)] * sides), 0.0, _NOISE_MIDDLE])
    spreads = np.array([*([2 * _LENGTH_SPREAD] * sides), _SCALE_SPREAD, _NOISE_SPREAD])
    away = (theta - middles) / spreads
    return float(0.5 * away @ away), away / spreads


def _weight_middle(sides: int) -> float:
    return -2 * (math.sqrt(2) + 0.5 * math.log(sides) - _LENGTH_SPREAD**2)


def _squares(a: Array, b: Array, unordered: npt.NDArray[np.bool_], weights: Array | None = None) -> Array:
    """Squared distances [len(a), len(b)], weighted by side; two coordinates of an unordered side are 0 or 1 apart."""
    weights = np.ones(a.shape[1]) if weights is None else weights
    roots = np.sqrt(weights)
    total = np.zeros((len(a), len(b)))
    if not unordered.all():
        left, right = (rows[:, ~unordered] * roots[~unordered] for rows in (a, b))
        total += np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)[None, :]
        total -= 2 * left @ right.T
        np.maximum(total, 0, out=total)
    for side in np.flatnonzero(unordered):
        total += weights[side] * (np.abs(a[:, side, None] - b[None, :, side]) > 1e-9)
    return total


def _matern(squares: Array) -> tuple[Array, Array]:
    """The kernel of squared distances, and its derivative by them."""
    root = np.sqrt(5 * squares)
    decay = np.exp(-root)
    return (1 + root + 5 / 3 * squares) * decay, -5 / 6 * (1 + root) * decay
