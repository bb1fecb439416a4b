"""Numbers as people write them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.data import numbers, written
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import profile


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234.0),
        ("-1,234,567.5", -1234567.5),
        ("12%", 12.0),
        ("3.5 %", 3.5),
        ("$5", 5.0),
        ("-$1,000", -1000.0),
        ("$-7", -7.0),
        ("€ 19.99", 19.99),
        ("1,200.50 EUR", 1200.5),
        ("1 200.5", 1200.5),
        ("1\u202f234\u202f567", 1234567.0),
        ("-1'200", -1200.0),
        (" £3 ", 3.0),
        ("1e3", 1000.0),
        ("\u22121,234.5", -1234.5),
        ("$\u22127", -7.0),
        ("(1,234.50)", -1234.5),
        (" ($5) ", -5.0),
        ("$ (1 200)", -1200.0),
        ("(3.5%)", -3.5),
        ("1,234.50-", -1234.5),
        ("R$ 5", 5.0),
        ("US$1,200", 1200.0),
        ("12.5 kr", 12.5),
        ("Rs.500", 500.0),
        ("Rs. 1,200.50", 1200.5),
        ("500 kr.", 500.0),
        ("19 zł", 19.0),
        ("₩1,500", 1500.0),
        ("3 SEK", 3.0),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, value: float) -> None:
    assert written.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12,5",
        "1,23,456",
        "0,123",
        "$",
        "%",
        "--5",
        "-$-5",
        "-$\u22125",
        "1e\u22125",
        "5 apples",
        "1 2",
        "1 234,567",
        "٣%",
        "(-5)",
        "-(5)",
        "((5))",
        "(5",
        "()",
        "(1, 2)",
        "5 (2)",
        "5-",
        "-1.5-",
        "(1.5)-",
        "5 kg",
        "X$5",
        "ABC 123",
    ],
)
def test_what_spells_no_number_is_missing(text: str) -> None:
    assert math.isnan(written.parse(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(1.234,5)", -1234.5),
        ("1.234,50-", -1234.5),
        ("1,5", 1.5),
        ("1.234,5", 1234.5),
        ("-1.234.567", -1234567.0),
        ("€ ,5", 0.5),
        ("1.25", 1.25),
        ("1,234", 1.234),
    ],
)
def test_decimals_may_come_behind_a_comma(text: str, value: float) -> None:
    assert written.parse(text, comma=True) == value


@pytest.mark.parametrize(
    ("texts", "comma"),
    [
        (["1,5", "2", "1,234"], True),
        (["1,234", "5,678"], False),
        (["1,234.5", "1,5"], False),
        (["1,234.5", "1,5", "2,5"], True),
        (["a,b", "c"], False),
    ],
)
def test_where_decimals_come_is_told_from_the_column(texts: list[str], comma: bool) -> None:
    assert written.parse_all(texts)[1] == comma


@given(st.one_of(st.text(max_size=12), st.floats().map(str), st.integers().map(str)))
def test_plain_numbers_are_read_as_ever_and_nothing_is_infinite(text: str) -> None:
    plain, value = numbers.parse(text), written.parse(text)
    assert not math.isinf(value)
    assert math.isnan(plain) or plain == value


def test_columns_of_written_numbers_are_numeric_on_every_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10_000, 200)
    table = pa.table(
        {
            "price": [f"${v:,}" for v in values],
            "share": [f"{v % 100}%" for v in values],
            "cost": [f"{v},00" for v in values],
            "plain": [str(v) for v in values],
        }
    )
    columns = profile(table)
    assert [column.type for column in columns] == ["numeric"] * 4
    pipeline = FeaturePipeline.fit(table, columns)
    pipeline.save(tmp_path)
    features = pipeline.transform(table)
    np.testing.assert_array_equal(features.numeric, np.column_stack([values, values % 100, values, values]))
    rows = [[*row.values()] for row in table.to_pylist()]
    for other in (pipeline, FeaturePipeline.load(tmp_path)):
        np.testing.assert_array_equal(other.transform_rows(rows).numeric, features.numeric)
        np.testing.assert_array_equal(other.transform_rows(rows[:3]).numeric, features.numeric[:3])


@pytest.mark.parametrize(("late", "value"), [("1,234.50", 1234.5), ("12,5", 12.5), ("1 234", 1234.0)])
def test_written_numbers_are_read_wherever_in_the_column_they_are(late: str, value: float) -> None:
    table = pa.table({"c": [str(i) for i in range(20_000)] + ["", "NA"] * 5_000 + [late] * 30_000})
    columns = profile(table)
    assert [column.type for column in columns] == ["numeric"]
    pipeline = FeaturePipeline.fit(table, columns)
    features = pipeline.transform(table).numeric[:, 0]
    assert (features[:20_000] == np.arange(20_000)).all()
    assert np.isnan(features[20_000:30_000]).all()
    assert (features[30_000:] == value).all()
    assert pipeline.transform_rows([[late]]).numeric[0, 0] == value


def test_where_decimals_come_is_told_from_the_whole_column() -> None:
    ambiguous = [f"{i % 999 + 1},{i % 1000:03}" for i in range(30_000)]
    table = pa.table({"c": [str(i) for i in range(20_000)] + ambiguous + [f"{i},25" for i in range(5_000)]})
    features = FeaturePipeline.fit(table, profile(table)).transform(table).numeric[:, 0]
    assert not np.isnan(features).any()
    assert features[-1] == 4999.25


def test_amounts_below_zero_in_brackets_make_no_column_of_words(tmp_path: Path) -> None:
    amounts = [f"({i},250.00)" if i % 3 == 0 else f"{i},100.50" for i in range(1, 90)]
    table = pa.table({"amount": amounts})
    columns = profile(table)
    assert columns[0].type == "numeric"
    pipeline = FeaturePipeline.fit(table, columns)
    pipeline.save(tmp_path)
    again = FeaturePipeline.load(tmp_path).transform_rows([[text] for text in amounts])
    for told in (pipeline.transform(table), again):
        assert told.numeric[:3, 0].tolist() == [1100.5, 2100.5, -3250.0]
