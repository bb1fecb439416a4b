"""From a target column to problem type, classes and objective."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.errors import DataError
from pilothouse.problems.tabular.resolve import Resolved, resolve


def _resolve(values: list[object], kind: str | None = None, metric: str | None = None) -> Resolved:
    return resolve(pa.chunked_array([pa.array(values)]), kind, metric)


@pytest.mark.parametrize(
    ("values", "kind", "objective"),
    [
        (["no", "yes"] * 50, BINARY, "F1"),
        (["0", "1"] * 50, BINARY, "F1"),
        (["1", "1.0", "2"] * 50, BINARY, "F1"),
        (["1", "1.0", "unknown"] * 50, BINARY, "F1"),
        ([0.5, 1.5] * 50, BINARY, "F1"),
        (["a", "b", "c"] * 50, MULTICLASS, "Accuracy"),
        ([str(3 + i % 7) for i in range(100)], MULTICLASS, "Accuracy"),
        ([float(3 + i % 7) for i in range(100)], MULTICLASS, "Accuracy"),
        ([i % 21 for i in range(500)], REGRESSION, "MSE"),
        ([i % 15 for i in range(100)], REGRESSION, "MSE"),
        ([0.5 * (i % 7) for i in range(500)], REGRESSION, "MSE"),
        ([str(i * 1.5) for i in range(96)] + ["n/k"] * 4, REGRESSION, "MSE"),
        ([f"city {i % 100}" for i in range(200)], MULTICLASS, "Accuracy"),
    ],
)
def test_the_problem_type_is_inferred(values: list[object], kind: str, objective: str) -> None:
    resolved = _resolve(values)
    assert (resolved.problem_type, resolved.metric) == (kind, objective)
    assert (resolved.classes is None) == (kind == REGRESSION)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["yes", "no"], ["no", "yes"]),
        ([">50K", "<=50K"], ["<=50K", ">50K"]),
        ([True, False], ["False", "True"]),
        ([1, 0], ["0", "1"]),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["1.0", "1.0", "1", "0"], ["0", "1.0"]),
        ([" b", "b ", "a"], ["a", "b"]),
        (["None", "NA", "Minor"], ["Minor", "NA", "None"]),
        (["1", "2", "NA", "?"], ["1", "2"]),
        (["1", "NA"], ["1", "NA"]),
        (["TRUE", "false", "None", "True", "TRUE"], ["false", "TRUE"]),
        (["true", "True", "maybe"], ["True", "maybe", "true"]),
        (["+", "-"], ["+", "-"]),
        (["1", "1.0", "1.0", "2", "unknown"], ["1.0", "2", "unknown"]),
        (["$5", "$10"], ["$5", "$10"]),
        (["100%", "50%", "9%"], ["9%", "50%", "100%"]),
        (["1,000", "1000", "1,000", "5"], ["5", "1,000"]),
        (["10,5", "2", "2,0"], ["2", "10,5"]),
        (["$5", "5", "unknown"], ["$5", "5", "unknown"]),
        (["1234567890123456789", "1234567890123456788"], ["1234567890123456788", "1234567890123456789"]),
        (["007", "7", "7.0", "7", "A1"], ["007", "7", "A1"]),
        (["1E2", "100", "A1"], ["100", "1E2", "A1"]),
        (["+1", "1", "tie"], ["+1", "1", "tie"]),
    ],
)
def test_classes_are_sorted_and_keep_their_text(values: list[object], classes: list[str]) -> None:
    values = ["True" if v is True else "False" if v is False else v for v in values]
    assert _resolve(values * 10).classes == classes


def test_targets_are_class_indices_in_every_spelling() -> None:
    resolved = _resolve(["1.0", "1.0", "1", "0", ""] * 5)
    targets = resolved.targets(pa.chunked_array([["0", "1"], [" 1.0", "", "2", "nan"]]))
    assert np.array_equal(targets, [0, 1, 1, np.nan, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        (["1", "1.0", "2", "unknown"], ["1.00", "unknown", "2.0", "$1", "Unknown"], [0, 2, 1, np.nan, np.nan]),
        (["$5", "$10"], ["5", "$10.00", "10 EUR", "ten"], [0, 1, 1, np.nan]),
        (["true", "false"], ["TRUE", "False", "yes"], [1, 0, np.nan]),
        (["1E2", "100", "A1"], ["1E2", "100.0", "1e2"], [1, 0, np.nan]),
    ],
)
def test_a_class_is_known_in_spellings_that_only_the_validation_data_have(
    values: list[object], others: list[str], expected: list[float]
) -> None:
    targets = _resolve(values * 10).targets(pa.chunked_array([others]))
    assert np.array_equal(targets, expected, equal_nan=True)


def test_regression_targets_that_are_no_numbers_are_nan() -> None:
    resolved = _resolve([str(i / 3) for i in range(60)])
    targets = resolved.targets(pa.chunked_array([["1.5", "x", "", "inf"]]))
    assert np.array_equal(targets, [1.5, np.nan, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("values", "kind", "complaint"),
    [
        (["a"] * 9, None, "only the value 'a'"),
        (["", None, "nan"], None, "no values"),
        ([f"key-{i}" for i in range(500)], None, "Set ProblemType"),
        ([f"key-{i}" for i in range(500)], MULTICLASS, "too many to learn"),
        ([f"key-{i % 2500}" for i in range(5000)], MULTICLASS, "2500 classes"),
        (["a", "b", "c"], BINARY, "exactly two labels .* it has 3"),
        (["a", "b", "1"], REGRESSION, "not numbers"),
        (["1", "1.0", "x"], REGRESSION, "only one number"),
        ([f"key-{i % 60}" for i in range(119)], MULTICLASS, "60 classes in 119 rows, too many"),
        (["1", "1.0"], MULTICLASS, "only the class"),
        (["1", "1.0"], None, "only one number"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(values: list[object], kind: str | None, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        _resolve(values, kind)


def test_a_given_problem_type_wins() -> None:
    assert _resolve(["0", "1"] * 9, REGRESSION).problem_type == REGRESSION
    assert _resolve(["0", "1"] * 9, MULTICLASS).classes == ["0", "1"]
    assert _resolve([str(i) for i in range(50)] * 2, MULTICLASS).classes == [str(i) for i in range(50)]


def test_a_metric_that_does_not_fit_is_refused_with_those_that_do() -> None:
    assert _resolve(["a", "b"] * 5, None, "AUC").metric == "AUC"
    with pytest.raises(DataError, match=r"MSE does not fit BinaryClassification.*F1, Accuracy, AUC"):
        _resolve(["a", "b"] * 5, None, "MSE")
