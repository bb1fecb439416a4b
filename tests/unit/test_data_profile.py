"""Column types told from values."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pilothouse.data import profile as profiling
from pilothouse.data.profile import Column, profile


def _judged(values: list[object], kind: pa.DataType | None = None) -> Column:
    (column,) = profile(pa.table({"c": pa.array(values, kind or pa.string())}))
    return column


WORDS = ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.5", "2", "", "NA", "-3e2"] * 20, "numeric"),
        (["1"] * 50 + ["2"] * 46 + ["x"] * 4, "numeric"),
        (["1"] * 50 + ["2"] * 40 + ["x"] * 10, "categorical"),
        ([str(i / 7) for i in range(60)] + ["tbd"] * 30, "numeric"),
        ([WORDS[i % 3] for i in range(100)], "categorical"),
        (["True", "False"] * 50, "categorical"),
        ([f"2020-01-{i % 28 + 1:02}" for i in range(100)], "datetime"),
        ([f"{2000000000 + i * 7919}" for i in range(100)], "datetime"),
        ([f"{3000000000 + i * 7919}" for i in range(100)], "numeric"),
        ([f"{20209900 + i * 7}" for i in range(100)], "numeric"),
        ([f"{i % 12 + 1}/{i % 28 + 1}/2020" for i in range(95)] + [""] * 5, "datetime"),
        ([f"a note about thing {i}" for i in range(100)], "text"),
        ([f"https://example.org/{'x' * 80}/{i}" for i in range(100)], "text"),
        ([f"user-{i}" for i in range(100)], "ignored"),
        ([str(i) for i in range(100)], "ignored"),
        (["x"] * 100, "ignored"),
        (["", "NA", "?"] * 30, "ignored"),
        (["x"] * 60 + [""] * 40, "categorical"),
    ],
)
def test_types_follow_the_evidence(values: list[object], expected: str) -> None:
    column = _judged(values)
    assert column.type == expected
    assert column.reason


def test_parquet_numbers_are_numeric_whatever_they_look_like() -> None:
    assert _judged([1, 2, 1, 2] * 10, pa.int64()).type == "numeric"
    assert _judged([5] * 40, pa.int64()).type == "ignored"


def test_nested_columns_are_ignored_with_the_reason() -> None:
    column = _judged([[1], [2]] * 10, pa.list_(pa.int64()))
    assert (column.type, "nested" in column.reason) == ("ignored", True)


def test_given_types_win_over_the_evidence() -> None:
    table = pa.table({"a": [str(i % 4) for i in range(40)], "b": ["x"] * 40})
    assert [c.type for c in profile(table, types={"a": "categorical", "b": "categorical"})] == ["categorical"] * 2


def test_columns_left_out_of_the_features_stay_in_their_place() -> None:
    table = pa.table({"a": ["1", "2"] * 9, "b": ["1", "2"] * 9, "y": ["0", "1"] * 9})
    columns = profile(table, exclude=["y"], only=["b"])
    assert [(c.name, c.type) for c in columns] == [("a", "ignored"), ("b", "numeric")]


def test_missing_shares_and_distinct_values_are_counted() -> None:
    column = _judged(["a"] * 50 + ["b"] * 25 + [""] * 15 + ["?"] * 10)
    assert (column.missing, column.distinct, column.rows) == (0.25, 2, 100)


def test_a_rare_second_value_beyond_the_sample_keeps_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SAMPLE_ROWS", 10)
    column = _judged(["no"] * 999 + ["yes"])
    assert (column.type, column.rows) == ("categorical", 10)
    assert _judged(["no"] * 1000).type == "ignored"


def test_an_index_beyond_the_sample_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SAMPLE_ROWS", 10)
    assert _judged([str(i) for i in range(1, 5000)]).type == "ignored"
    assert _judged([str(i) for i in range(1, 5000)] + ["7"]).type == "numeric"


@pytest.mark.parametrize(("step", "total", "expected"), [(1, 90, "ignored"), (2, 179, "ignored"), (2, 177, "numeric")])
def test_row_numbers_are_known_among_some_of_the_rows(step: int, total: int, expected: str) -> None:
    table = pa.table({"c": [str(i) for i in range(0, 90 * step, step)]})
    assert [column.type for column in profile(table, total=total)] == [expected]
