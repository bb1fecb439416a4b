"""Numbers, dates and missing markers written as text."""

from __future__ import annotations

import math
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilothouse.data import dates, numbers, render
from pilothouse.data.markers import is_missing

NUMBER_LIKE = st.text(alphabet="0123456789.eE+-_ ,xnaifNAIF\t\x1c１", max_size=8)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" -2.5 ", -2.5), ("+.5", 0.5), ("1e3", 1000.0), ("007", 7.0), ("1.", 1.0), ("1e-400", 0.0)],
)
def test_decimal_numbers_parse(text: str, value: float) -> None:
    assert numbers.parse(text) == value


@pytest.mark.parametrize("text", ["", "x", "1,000", "1_000", "0x10", "inf", "-Infinity", "nan", "1e400", "１", "1 2"])
def test_what_is_no_finite_decimal_number_is_nan(text: str) -> None:
    assert math.isnan(numbers.parse(text))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NUMBER_LIKE, st.floats().map(str), st.integers().map(str), st.sampled_from(["", "NA", "?"]))))
@example(["nan(1)", "inf", "-"])
@example(["+1", " 2"])
def test_a_column_of_numbers_parses_as_its_values_do(texts: list[str]) -> None:
    together = numbers.parse_array(pa.array(texts, pa.string()))
    np.testing.assert_array_equal(together, np.array([numbers.parse(text) for text in texts], float))


def test_single_precision_has_no_infinity() -> None:
    assert np.isnan(numbers.to_float32(np.array([1e39, -1e39, np.inf]))).all()


@pytest.mark.parametrize("text", ["", "  ", "NA", "n/a", "NaN", "null", "None", "?", "-", "<NA>", "\\N"])
def test_missing_markers_are_missing(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "no", "nano", "unknown", "--x"])
def test_other_words_are_not_missing(text: str) -> None:
    assert not is_missing(text)


@pytest.mark.parametrize(
    "text",
    [
        "2020-03-04",
        "2020/3/4",
        "20200304",
        "3/4/2020",
        "03-04-20",
        "4.3.2020",
        "04.03.20",
        "4 March 2020",
        "04/Mar/2020:00:00:00 +0000",
        "2020-03-04 02:00:00+02",
        "2020-03-04 00:00:00.000-00",
        "04-Mar-20",
        "Mar 4, 2020",
        "Wed, 4 Mar 2020",
        "2020-03-04T00:00:00Z",
        "2020-03-04 12:00 AM",
        "2020-03-04 00:00:00.000000",
        "2020-03-04T01:00:00+01:00",
        "1583280000",
        "1583280000000",
    ],
)
def test_the_forms_of_one_day_mean_the_same(text: str) -> None:
    assert dates.parse(text)[0] == datetime(2020, 3, 4, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2020-13-01",
        "2020-02-30",
        "31/31/2020",
        "12:30",
        "1.2.3.4",
        "2020-01-01x",
        "4 Foo 2020",
        "Foo 2020",
        "Mark 2020",
        "NOVA-1001",
        "DEC-1234",
        "1.2.345",
    ],
)
def test_what_is_no_date_has_no_parts(text: str) -> None:
    assert all(math.isnan(part) for part in dates.parse(text))


@pytest.mark.parametrize("text", ["2020-03", "Mar 2020", "March, 2020", "mar-2020", "MAR. 2020"])
def test_a_month_means_its_first_day(text: str) -> None:
    assert dates.parse(text)[0] == datetime(2020, 3, 1, tzinfo=UTC).timestamp()


def test_parts_are_the_written_calendar() -> None:
    assert dates.parse("2020-03-04T05:06:07.5+02:00") == (1583291167.5, 2020, 3, 4, 2, 5)


def test_day_first_is_told_from_days_above_twelve() -> None:
    assert dates.writes_day_first(["1/2/2020", "13/2/2020"])
    assert not dates.writes_day_first(["1/2/2020", "2/13/2020"])
    assert not dates.writes_day_first(["1/2/2020"])
    assert dates.parse("1/2/2020", day_first=True)[2:4] == (2, 1)
    assert dates.parse("13/2/2020")[2:4] == (2, 13)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789-/.: TZ+apmPMJanFeb,", max_size=24))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert len(dates.parse(text)) == len(dates.PARTS)


@settings(max_examples=100, deadline=None)
@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_iso_dates_parse_to_their_instant(moment: datetime) -> None:
    expected = moment.replace(tzinfo=UTC, microsecond=moment.microsecond).timestamp()
    assert dates.parse(moment.isoformat())[0] == pytest.approx(expected, abs=1e-5)


def test_numbers_are_written_as_a_person_would() -> None:
    assert [render.as_text(v) for v in (3, 3.0, 0.5, None, math.nan, True, "x")] == [
        "3",
        "3",
        "0.5",
        "",
        "",
        "True",
        "x",
    ]
    column = pa.array([1.0, None, 123456789012.0, 0.1])
    assert render.texts(column).to_pylist() == ["1", "", "123456789012", "0.1"]


def test_to_learn_what_varies_of_dates_takes_no_memory_for_each() -> None:
    texts = [f"{i % 12 + 1}/{i % 28 + 1}/{2000 + i // 336} 10:00" for i in range(6_000)]
    tracemalloc.start()
    encoder = dates.DateEncoder.fit("d", texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert encoder.parts == ["epoch", "year", "month", "day", "weekday"]
    assert peak < 200_000
