"""Probability calibration: kept where it clearly helps, harmless elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS
from pilothouse.problems.evaluate import Array, measure
from pilothouse.problems.tabular import calibration
from pilothouse.problems.tabular.calibration import Calibration

ROWS = 2000
FOLDS = np.arange(ROWS) % 5


def drawn(k: int, sharpness: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Probabilities, true if `sharpness` is 1 and too sure above it, and classes drawn by the true ones."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(scale=1.5, size=(ROWS, k))
    true, said = (np.exp(scale * logs) for scale in (1.0, sharpness))
    true, said = true / true.sum(axis=1, keepdims=True), said / said.sum(axis=1, keepdims=True)
    return (true.cumsum(axis=1) > rng.random((ROWS, 1))).argmax(axis=1), said


@pytest.mark.parametrize("k", [2, 5])
def test_probabilities_that_are_too_sure_are_toned_down(k: int) -> None:
    y, p = drawn(k, sharpness=2.0)
    found = calibration.choose(y, p, FOLDS)
    assert found is not None
    assert found.scale == pytest.approx(0.5, abs=0.08)
    fresh, said = drawn(k, sharpness=2.0, seed=1)
    kind = BINARY if k == 2 else MULTICLASS
    assert measure("LogLoss", kind, fresh, found(said)) < measure("LogLoss", kind, fresh, said) - 0.05


def test_true_probabilities_of_classes_that_take_turns_are_left_alone() -> None:
    y = np.arange(100_000) % 2
    odds = 2 * np.random.default_rng(0).normal(2.0 * y - 1)
    p = 1 / (1 + np.exp(-odds))
    found = calibration.choose(y, np.column_stack([1 - p, p]), np.arange(100_000) // 20_000)
    assert found is None


@pytest.mark.parametrize("k", [2, 5])
def test_true_probabilities_are_left_alone(k: int) -> None:
    kept = [calibration.choose(*drawn(k, seed=seed), FOLDS) for seed in range(10)]
    assert kept.count(None) >= 8


def test_classes_that_are_predicted_too_often_get_a_bias() -> None:
    y, p = drawn(3)
    p = p * np.array([4.0, 1.0, 1.0])
    found = calibration.choose(y, p / p.sum(axis=1, keepdims=True), FOLDS)
    assert found is not None
    assert found.bias[0] - found.bias[1] == pytest.approx(-np.log(4), abs=0.2)


def test_rows_weigh_as_they_are_told() -> None:
    y, p = drawn(2, sharpness=2.0)
    w = np.where(np.arange(ROWS) < ROWS // 2, 1.0, 0.0)
    y[ROWS // 2 :] = 0
    found = calibration.choose(y, p, FOLDS, w)
    assert found is not None
    assert found.scale == pytest.approx(0.5, abs=0.1)
    assert calibration.choose(y, p, FOLDS, np.zeros(ROWS)) is None


def test_a_class_that_some_folds_lack_and_a_hundred_classes_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 99, 300)
    y[:2] = 99
    p = rng.dirichlet(np.ones(100), 300)
    found = calibration.choose(y, p, np.arange(300) % 5)
    mapped = p if found is None else found(p)
    np.testing.assert_allclose(mapped.sum(axis=1), 1.0)
    assert np.isfinite(mapped).all()
    assert calibration.choose(np.zeros(50, int), np.tile([0.7, 0.3], (50, 1)), np.zeros(50, int)) is None


def test_rows_are_mapped_by_what_the_other_folds_fit() -> None:
    y, p = drawn(3, sharpness=2.0)
    found = calibration.choose(y, p, FOLDS)
    honest = calibration.honest(found, y, p, FOLDS, fitted=p)
    others = FOLDS != 0
    fitted = calibration.fit(y[others], p[others], np.ones(others.sum()), biased=bool(found and found.bias))
    np.testing.assert_allclose(honest[FOLDS == 0], fitted(p[FOLDS == 0]))
    assert calibration.honest(None, y, p, FOLDS, fitted=p) is p


def test_it_survives_json_and_refuses_what_is_no_map() -> None:
    found = Calibration(0.8, [0.1, -0.1])
    assert Calibration.load(json.loads(json.dumps(found.document())), 2) == found
    assert Calibration.load(None, 2) is None
    for broken in ({"scale": -1, "bias": []}, {"scale": float("nan"), "bias": []}, {"scale": 1, "bias": [0.0] * 3}):
        with pytest.raises(ValueError, match="calibration"):
            Calibration.load(broken, 2)
