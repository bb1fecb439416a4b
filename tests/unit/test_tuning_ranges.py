"""Ranges of hyperparameters: which are valid, how they scale, and that texts and points keep their values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.catalog import tuning_ranges
from pilothouse.catalog.tuning_ranges import CategoricalRange, ContinuousRange, IntegerRange, Range
from pilothouse.errors import ValidationError
from pilothouse.tuning.ranges import Space, coordinate, value_at

UNITS = st.floats(0, 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def integers(low: int = -(2**53), scaling: Any = "Linear") -> st.SearchStrategy[IntegerRange]:
    ends = st.lists(st.integers(low, 2**53), min_size=2, max_size=2)
    return ends.map(lambda pair: IntegerRange("n", min(pair), max(pair), scaling))


@st.composite
def few(draw: st.DrawFn) -> IntegerRange:
    """A range of few whole numbers; on a logarithmic scale doubles cannot tell greater ones apart."""
    scaling = draw(st.sampled_from(["Linear", "Logarithmic"]))
    low = draw(st.integers(-(2**53), 2**53) if scaling == "Linear" else st.integers(1, 2**40))
    return IntegerRange("n", low, low + draw(st.integers(0, 9_999)), scaling)


def continuous(numbers: st.SearchStrategy[float], scaling: Any = "Linear") -> st.SearchStrategy[ContinuousRange]:
    ends = st.lists(numbers, min_size=2, max_size=2)
    return ends.map(lambda pair: ContinuousRange("x", min(pair), max(pair), scaling))


RANGES: st.SearchStrategy[Range] = st.one_of(
    integers(),
    integers(1, "Logarithmic"),
    continuous(FINITE),
    continuous(st.floats(1e-300, 1e300), "Logarithmic"),
    continuous(st.floats(0, 0.999_999), "ReverseLogarithmic"),
    st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True).map(
        lambda values: CategoricalRange("c", tuple(values))
    ),
)


@given(RANGES, UNITS)
@settings(max_examples=300)
def test_every_point_has_a_value_within_the_range(each: Range, unit: float) -> None:
    value = value_at(each, unit)
    assert each.holds(value)
    assert 0 <= coordinate(each, value) <= 1


@given(RANGES, UNITS)
@settings(max_examples=300)
def test_a_training_jobs_text_reads_as_the_same_value(each: Range, unit: float) -> None:
    value = value_at(each, unit)
    assert each.value(each.text(value)) == value


@given(few(), st.data())
def test_each_whole_number_has_a_cell_around_its_own_coordinate(each: IntegerRange, data: st.DataObject) -> None:
    value = data.draw(st.integers(each.low, each.high))
    assert value_at(each, coordinate(each, value)) == value
    assert each.text(value) == str(value)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_snapping_a_point_keeps_its_values(point: list[float]) -> None:
    space = Space((IntegerRange("n", 1, 9), CategoricalRange("c", ("a", "b", "c")), IntegerRange("m", 1, 64)))
    assert space.values(space.snapped(point)) == space.values(point)
    assert space.point(space.values(point)) == space.snapped(point)


def test_whole_numbers_are_equally_likely_up_to_the_ends() -> None:
    each = IntegerRange("n", 1, 4)
    found = [value_at(each, (i + 0.5) / 400) for i in range(400)]
    assert [found.count(value) for value in (1, 2, 3, 4)] == [100] * 4


@pytest.mark.parametrize(
    ("scaling", "low", "high", "middle"),
    [
        ("Linear", 0.0, 1.0, 0.5),
        ("Logarithmic", 1e-4, 1e-2, 1e-3),
        ("ReverseLogarithmic", 0.9, 0.999, 0.99),
    ],
)
def test_the_middle_of_a_range_is_the_middle_of_its_scale(scaling: Any, low: float, high: float, middle: float) -> None:
    assert value_at(ContinuousRange("x", low, high, scaling), 0.5) == pytest.approx(middle)


def test_a_point_outside_of_the_new_ranges_has_no_place() -> None:
    space = Space((IntegerRange("n", 1, 9), CategoricalRange("c", ("a", "b"))))
    assert space.point({"n": "3", "c": "a", "other": "x"}) is not None
    for values in ({"n": "3"}, {"n": "10", "c": "a"}, {"n": "3", "c": "z"}, {"n": "3.5", "c": "a"}):
        assert space.point(values) is None


def test_the_widest_range_is_no_trouble() -> None:
    each = ContinuousRange("x", -1.7e308, 1.7e308)
    assert value_at(each, 0.5) == 0
    assert coordinate(each, 0.0) == 0.5
    assert coordinate(ContinuousRange("x", 0.0, 5e-324), 0.0) == 0.5


def _document(low: str, high: str, scaling: str | None = None) -> dict[str, str]:
    return {"Name": "p", "MinValue": low, "MaxValue": high} | ({"ScalingType": scaling} if scaling else {})


@pytest.mark.parametrize(
    ("low", "high", "scaling"),
    [
        ("0.0001", "0.1", "Logarithmic"),
        ("0", "0.1", "Linear"),
        ("0.1", "0.5", "Linear"),
        ("0.9", "0.9999", "ReverseLogarithmic"),
    ],
)
def test_auto_follows_the_orders_of_magnitude(low: str, high: str, scaling: str) -> None:
    assert ContinuousRange.of(_document(low, high)).scaling == scaling
    assert ContinuousRange.of(_document(low, high, "Auto")).scaling == scaling


def test_auto_is_linear_for_integers_that_span_less_than_a_thousandfold() -> None:
    assert IntegerRange.of(_document("10", "500")).scaling == "Linear"
    assert IntegerRange.of(_document("1", "1000")).scaling == "Logarithmic"


@pytest.mark.parametrize(
    ("low", "high", "scaling", "said"),
    [
        ("5", "3", None, "MinValue 5 of the integer hyperparameter 'p' is greater than its MaxValue 3"),
        ("0", "3", "Logarithmic", "greater than 0"),
        ("0", "3", "ReverseLogarithmic", "only for continuous"),
        ("1.5", "3", None, "MinValue '1.5' of the integer hyperparameter 'p' is not an integer"),
        ("one", "3", None, "not an integer"),
        ("1_0", "30", None, "not an integer"),
        ("1", "9223372036854775808", None, "not an integer"),
    ],
)
def test_an_integer_range_that_is_not_valid_is_refused(low: str, high: str, scaling: str | None, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IntegerRange.of(_document(low, high, scaling))


@pytest.mark.parametrize(
    ("low", "high", "scaling", "said"),
    [
        ("0.5", "0.3", None, "greater than its MaxValue"),
        ("0", "1", "Logarithmic", "greater than 0"),
        ("0", "1", "ReverseLogarithmic", "0 <= x < 1.0"),
        ("-0.1", "0.5", "ReverseLogarithmic", "0 <= x < 1.0"),
        ("nan", "1", None, "not a finite number"),
        ("0", "inf", None, "not a finite number"),
        ("", "1", None, "not a finite number"),
    ],
)
def test_a_continuous_range_that_is_not_valid_is_refused(low: str, high: str, scaling: str | None, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ContinuousRange.of(_document(low, high, scaling))


def test_a_categorical_range_has_one_to_thirty_texts_each_once() -> None:
    for values in ([], [str(i) for i in range(31)], ["a", "a"]):
        with pytest.raises(ValidationError, match="categorical hyperparameter 'p'"):
            CategoricalRange.of({"Name": "p", "Values": values})


def test_combinations_are_counted() -> None:
    numbers, letters = IntegerRange("n", 1, 4), CategoricalRange("c", ("a", "b", "c"))
    assert tuning_ranges.combinations([numbers, letters]) == 12
    assert tuning_ranges.combinations([numbers, ContinuousRange("x", 0, 1)]) == math.inf
    assert tuning_ranges.combinations([ContinuousRange("x", 1, 1)]) == 1
