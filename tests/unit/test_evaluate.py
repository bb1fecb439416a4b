"""The catalog's metrics are scikit-learn's, to 1e-9, with the service's rules for weights and empty denominators."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.catalog.metrics import BINARY, MULTICLASS, PROBLEM_TYPES, REGRESSION, reported
from pilothouse.problems.evaluate import Array, confusion, evaluate, labels, latency, measure

TOLERANCE = 1e-9


def _probabilities(rng: np.random.Generator, rows: int, classes: int, coarse: bool) -> Array:
    raw = rng.random((rows, classes)) + 1e-3
    if coarse:  # many ties
        raw = np.round(raw * 4) + 1
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.random.Generator, int, Array | None]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(2, 60))
    weights = rng.random(rows) * 5 + 0.01 if draw(st.booleans()) else None
    return rng, rows, weights


def _check(ours: dict[str, float], theirs: dict[str, Callable[[], float]]) -> None:
    for name, expected in theirs.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(expected())
        if math.isnan(value):
            assert name not in ours
        else:
            assert ours[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name


@given(cases())
@settings(max_examples=150, deadline=None)
def test_regression_metrics_are_those_of_scikit_learn(case: tuple[np.random.Generator, int, Array | None]) -> None:
    rng, rows, w = case
    y, p = rng.normal(size=rows) * 100, rng.normal(size=rows) * 100
    expected = {
        "MSE": lambda: reference.mean_squared_error(y, p, sample_weight=w),
        "MAE": lambda: reference.mean_absolute_error(y, p, sample_weight=w),
        "RMSE": lambda: reference.root_mean_squared_error(y, p, sample_weight=w),
        "R2": lambda: reference.r2_score(y, p, sample_weight=w),
    }
    _check(evaluate(REGRESSION, y, p, weights=w), expected)


@given(cases(), st.booleans(), st.floats(0.05, 0.95))
@settings(max_examples=150, deadline=None)
def test_binary_metrics_are_those_of_scikit_learn(
    case: tuple[np.random.Generator, int, Array | None], coarse: bool, cut: float
) -> None:
    rng, rows, w = case
    y, p = rng.integers(0, 2, rows), _probabilities(rng, rows, 2, coarse)
    predicted = (p[:, 1] >= cut).astype(int)
    kwargs = {"sample_weight": w, "zero_division": 0}
    expected = {
        "F1": lambda: reference.f1_score(y, predicted, **kwargs),
        "Precision": lambda: reference.precision_score(y, predicted, **kwargs),
        "Recall": lambda: reference.recall_score(y, predicted, **kwargs),
        "Accuracy": lambda: reference.accuracy_score(y, predicted, sample_weight=w),
        "BalancedAccuracy": lambda: reference.balanced_accuracy_score(y, predicted),
        "LogLoss": lambda: reference.log_loss(y, p, sample_weight=w, labels=[0, 1]),
        "AUC": lambda: reference.roc_auc_score(y, p[:, 1], sample_weight=w) if len(set(y)) > 1 else math.nan,
    }
    _check(evaluate(BINARY, y, p, weights=w, threshold=cut), expected)


@given(cases(), st.integers(3, 8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_multiclass_metrics_are_those_of_scikit_learn(
    case: tuple[np.random.Generator, int, Array | None], classes: int, coarse: bool
) -> None:
    rng, rows, w = case
    y, p = rng.integers(0, classes, rows), _probabilities(rng, rows, classes, coarse)
    predicted = p.argmax(axis=1)
    kwargs = {"sample_weight": w, "zero_division": 0, "average": "macro"}
    expected = {
        "Accuracy": lambda: reference.accuracy_score(y, predicted, sample_weight=w),
        "F1macro": lambda: reference.f1_score(y, predicted, **kwargs),
        "PrecisionMacro": lambda: reference.precision_score(y, predicted, **kwargs),
        "RecallMacro": lambda: reference.recall_score(y, predicted, **kwargs),
        "BalancedAccuracy": lambda: reference.balanced_accuracy_score(y, predicted),
        "LogLoss": lambda: reference.log_loss(y, p, sample_weight=w, labels=list(range(classes))),
    }
    _check(evaluate(MULTICLASS, y, p, weights=w), expected)


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_every_reported_metric_but_latency_is_measured(problem_type: str) -> None:
    y = np.array([0, 1, 1, 0])
    prediction = (
        np.array([0.1, 0.9, 0.4, 0.3]) if problem_type == REGRESSION else np.array([[0.9, 0.1], [0.2, 0.8]] * 2)
    )
    assert set(evaluate(problem_type, y, prediction)) == set(reported(problem_type)) - {"InferenceLatency"}


def test_balanced_accuracy_ignores_weights() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    weights = np.array([100.0, 1.0, 1.0, 7.0])
    assert measure("BalancedAccuracy", BINARY, y, p, weights=weights) == measure("BalancedAccuracy", BINARY, y, p)
    assert measure("Accuracy", BINARY, y, p, weights=weights) != measure("Accuracy", BINARY, y, p)


def test_ratios_with_an_empty_denominator_are_zero() -> None:
    y, p = np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]])
    metrics = evaluate(BINARY, y, p)
    assert (metrics["F1"], metrics["Precision"], metrics["Recall"]) == (0.0, 0.0, 0.0)


def test_auc_of_one_class_is_left_out() -> None:
    assert "AUC" not in evaluate(BINARY, np.array([1, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))


@pytest.mark.parametrize(("prediction", "expected"), [([3.0, 3.0], 1.0), ([3.0, 4.0], 0.0)])
def test_r2_of_a_constant_target_is_one_only_if_it_is_met(prediction: list[float], expected: float) -> None:
    assert measure("R2", REGRESSION, np.array([3.0, 3.0]), np.array(prediction)) == expected


def test_no_rows_have_no_metrics() -> None:
    assert evaluate(REGRESSION, np.empty(0), np.empty(0)) == {}


@pytest.mark.parametrize("kind", PROBLEM_TYPES)
def test_rows_without_weight_are_not_predicted_perfectly(kind: str) -> None:
    y, p = (np.ones(3), np.zeros(3)) if kind == REGRESSION else (np.array([0, 1, 1]), np.full((3, 2), 0.5))
    assert evaluate(kind, y, p, weights=np.zeros(3)).keys() <= {"BalancedAccuracy"}


def test_a_certain_mistake_has_a_finite_log_loss() -> None:
    assert measure("LogLoss", BINARY, np.array([1]), np.array([[1.0, 0.0]])) < 40


def test_a_row_at_the_threshold_is_positive() -> None:
    assert labels(np.array([[0.6, 0.4], [0.61, 0.39]]), 0.4).tolist() == [1, 0]


def test_the_rows_of_a_confusion_matrix_are_actual_classes() -> None:
    cells = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, np.array([1.0, 2.0, 4.0]))
    assert cells.tolist() == [[1.0, 2.0], [0.0, 4.0]]


def test_latency_leaves_out_the_first_call() -> None:
    calls: list[int] = []
    assert 0 <= latency(lambda: calls.append(1), repeats=5) < 1
    assert len(calls) == 6
