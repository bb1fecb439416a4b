"""The feature pipeline: what it learns, and that every way through it gives the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.data import dates, deltas, featurise
from pilothouse.data.categories import CategoryEncoder
from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import Column, ColumnType, profile
from pilothouse.errors import ConfigurationError

KINDS: tuple[ColumnType, ...] = ("numeric", "categorical", "datetime", "text", "ignored")
PHRASES = ["the quick brown fox", "jumps over a lazy dog", "42 things, at 10:30!", "", "NA", "quick quick FOX"]


def _columns(kinds: tuple[ColumnType, ...]) -> list[Column]:
    return [Column(f"c{i}", kind, "", 0.0, 0, 0) for i, kind in enumerate(kinds)]


def _table(rows: list[tuple[str, ...]]) -> pa.Table:
    return pa.table({f"c{i}": pa.array(values, pa.string()) for i, values in enumerate(zip(*rows, strict=True))})


def _training_rows(count: int = 200) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(0)
    return [
        (
            f"{rng.normal():.3f}" if i % 7 else "?",
            ["red", "green", "blue", ""][int(rng.integers(4))],
            f"2020-{i % 12 + 1:02}-{i % 28 + 1:02} {i % 24:02}:00",
            " ".join(rng.choice(PHRASES, 2)),
            f"id{i}",
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def pipeline() -> FeaturePipeline:
    return FeaturePipeline.fit(_table(_training_rows()), _columns(KINDS))


def _same(a: Features, b: Features) -> None:
    np.testing.assert_array_equal(a.numeric, b.numeric)
    np.testing.assert_array_equal(a.categorical, b.categorical)
    assert (a.numeric_names, a.categorical_names, a.cardinalities) == (
        b.numeric_names,
        b.categorical_names,
        b.cardinalities,
    )


_VALUE = st.one_of(
    st.text(max_size=20),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(str),
    st.sampled_from([*PHRASES, "red", "blue", "3.0", "?", "1e400", " red "]),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(*[_VALUE] * len(KINDS)), min_size=1, max_size=8))
def test_tables_and_rows_give_the_same_features_to_the_last_bit(
    pipeline: FeaturePipeline, rows: list[tuple[str, ...]]
) -> None:
    together = pipeline.transform_rows(rows)
    _same(pipeline.transform(_table(rows)), together)
    for i, row in enumerate(rows):
        _same(pipeline.transform_rows([row]), together.take(slice(i, i + 1)))
    assert not np.isinf(together.numeric).any()
    assert (together.categorical < np.array(together.cardinalities)).all()


def test_many_rows_are_read_column_by_column_with_the_same_outcome(pipeline: FeaturePipeline) -> None:
    rows = [*_training_rows(), ("1e400", "\ud800", "2020-13-01", "\ud800 x", ""), ("1_0", " red ", "", "?", "")]
    together = pipeline.transform_rows(rows)
    assert len(rows) > featurise.FEW_ROWS
    for i, row in enumerate(rows):
        _same(pipeline.transform_rows([row]), together.take(slice(i, i + 1)))


def test_rows_cut_into_slices_and_chunks_give_the_same_features(
    pipeline: FeaturePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _table(_training_rows())
    whole = pipeline.transform(table)
    chunked = pa.concat_tables([table.slice(0, 33), table.slice(33, 100), table.slice(133)])
    monkeypatch.setattr(featurise, "SLICE_ROWS", 50)
    _same(whole, pipeline.transform(chunked))


def test_a_saved_pipeline_gives_the_same_features(pipeline: FeaturePipeline, tmp_path: Path) -> None:
    pipeline.save(tmp_path)
    loaded = FeaturePipeline.load(tmp_path)
    _same(pipeline.transform(_table(_training_rows())), loaded.transform(_table(_training_rows())))
    assert loaded.columns == pipeline.columns
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_a_pipeline_of_another_version_is_refused(pipeline: FeaturePipeline, tmp_path: Path) -> None:
    pipeline.save(tmp_path)
    described = json.loads((tmp_path / "pipeline.json").read_text())
    (tmp_path / "pipeline.json").write_text(json.dumps({**described, "version": 99}))
    with pytest.raises(ConfigurationError, match="version 99"):
        FeaturePipeline.load(tmp_path)


def test_typed_columns_and_their_texts_give_the_same_features() -> None:
    typed = pa.table(
        {
            "i": pa.array([1, 2, 2**53 + 1, None, 5] * 20, pa.int64()),
            "f": pa.array([0.1, 1e300, None, 3.0, -0.0] * 20, pa.float64()),
            "g": pa.array([0.1, 1e30, None, 3.0, 7.5] * 20, pa.float32()),
            "k": pa.array([1.0, 2.0, None, 3.0, 4.5] * 20, pa.float64()),
        }
    )
    columns = profile(typed, types={"k": "categorical"})
    fitted = FeaturePipeline.fit(typed, columns)
    rows = list(zip(*[column.to_pylist() for column in typed.columns], strict=True))
    _same(fitted.transform(typed), fitted.transform_rows(rows))
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    _same(fitted.transform(typed), fitted.transform_rows(texts))


def test_values_of_any_python_type_are_taken(pipeline: FeaturePipeline) -> None:
    odd: list[Any] = [None, 1.5, True, {"a": 1}, [1]]
    features = pipeline.transform_rows([odd, [odd[-1]] * 5, [None] * 5])
    assert np.isnan(features.numeric[2, 0])
    assert features.categorical[0, 0] == 0


def test_numbers_pass_through_and_the_rest_is_nan(pipeline: FeaturePipeline) -> None:
    rows = [(value, "red", "", "", "") for value in ("1.5", "x", "", "inf", "1e39")]
    assert np.array_equal(pipeline.transform_rows(rows).numeric[:, 0], [1.5, *[np.nan] * 4], equal_nan=True)


def test_levels_are_ranked_by_count_and_rare_ones_are_unknown() -> None:
    encoder = CategoryEncoder.fit(
        "c", [("b", 5), ("a", 9), (" a ", 1), ("once", 1), ("", 3), ("NA", 3), ("2.0", 1), ("2", 1)]
    )
    assert encoder.levels == ["a", "", "b", "2"]
    assert encoder.encode(["a", " a", "", "?", "once", "new", "2.00"])[1].tolist() == [1, 1, 2, 2, 0, 0, 4]


def test_the_number_of_levels_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.data.categories.MAX_LEVELS", 3)
    encoder = CategoryEncoder.fit("c", [(f"v{i}", 10 + i) for i in range(10)])
    assert (encoder.levels, encoder.cardinality) == (["v9", "v8", "v7"], 4)


def test_columns_of_many_levels_also_give_their_counts() -> None:
    encoder = CategoryEncoder.fit("c", [*((f"v{i}", i) for i in range(60)), ("", 7)])
    numbers, codes = encoder.encode(["v59", "v1", "unseen", ""])
    assert encoder.names == ["c:count"]
    assert np.array_equal(numbers[:, 0], [59, 1, 1, np.nan], equal_nan=True)
    assert (codes > 0).tolist() == [True, False, False, True]


def test_dates_give_the_parts_that_vary() -> None:
    table = _table([(f"{day}/3/2020",) for day in range(1, 29)])
    features = FeaturePipeline.fit(table, _columns(("datetime",))).transform_rows([["5/3/2020"], ["nothing"]])
    assert features.numeric_names == ["c0:epoch", "c0:day", "c0:weekday"]
    assert features.numeric[0].tolist() == [np.float32(1583366400), 5, 3]
    assert np.isnan(features.numeric[1]).all()


def _stays(count: int = 60) -> list[tuple[str, ...]]:
    """Arrivals and departures, and a date that is always a week before the arrival."""
    return [
        (f"2020-03-{i % 28 + 1:02} 10:00", f"{i % 28 + 1:02}/04/2020 {i % 24:02}:30", f"2020-{i % 28 + 1:02}")
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def dated() -> FeaturePipeline:
    return FeaturePipeline.fit(_table(_stays()), _columns(("datetime", "datetime", "datetime")))


def test_two_dates_give_the_days_between_them(dated: FeaturePipeline) -> None:
    features = dated.transform_rows([["2020-03-01 10:00", "20/04/2020 22:00", ""], ["2020-03-01", "never", "2020-04"]])
    days = dict(zip(features.numeric_names, features.numeric.T.tolist(), strict=True))
    assert days["c0..c1:days"] == [50.5, pytest.approx(np.nan, nan_ok=True)]
    assert days["c0..c2:days"] == [pytest.approx(np.nan, nan_ok=True), 31.0]


def test_days_that_never_differ_are_left_out() -> None:
    rows = [(f"2020-03-{i % 20 + 1:02}", f"2020-03-{i % 20 + 8:02}") for i in range(40)]
    pipeline = FeaturePipeline.fit(_table(rows), _columns(("datetime", "datetime")))
    assert pipeline.deltas == []


def test_dates_that_are_blank_in_the_first_rows_give_days_too() -> None:
    ordered = [f"2020-03-{i % 28 + 1:02}" for i in range(90_000)]
    returned = [""] * 70_000 + [f"2020-04-{i % 27 + 1:02}" for i in range(20_000)]
    pipeline = FeaturePipeline.fit(pa.table({"c0": ordered, "c1": returned}), _columns(("datetime", "datetime")))
    assert [delta.name for delta in pipeline.deltas] == ["c0..c1:days"]


def test_seconds_between_dates_are_not_lost() -> None:
    rows = [(f"2020-03-01 10:00:{i % 60:02}", f"2020-03-01 10:01:{(i * 7) % 60:02}") for i in range(40)]
    features = FeaturePipeline.fit(_table(rows), _columns(("datetime", "datetime"))).transform_rows(rows)
    seconds = features.numeric[:, features.numeric_names.index("c0..c1:days")] * 86_400
    np.testing.assert_allclose(seconds, [60 + (i * 7) % 60 - i % 60 for i in range(40)], rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(_VALUE, _VALUE, _VALUE), min_size=1, max_size=60))
def test_days_are_the_same_on_every_way(dated: FeaturePipeline, rows: list[tuple[str, ...]]) -> None:
    together = dated.transform_rows(rows)
    _same(dated.transform(_table(rows)), together)
    for i, row in enumerate(rows):
        _same(dated.transform_rows([row]), together.take(slice(i, i + 1)))


def test_each_date_is_read_once_in_however_many_deltas_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [tuple(f"2020-{(i * j) % 12 + 1:02}-{i + 1:02}" for j in range(1, 6)) for i in range(28)]
    pipeline = FeaturePipeline.fit(_table(rows), _columns(("datetime",) * 5))
    read: list[str] = []
    monkeypatch.setattr(deltas, "parse", lambda text, order: read.append(text) or dates.parse(text, order))
    pipeline.transform(_table(rows))
    assert len(pipeline.deltas) == 10
    assert len(read) == sum(len(set(column)) for column in zip(*rows, strict=True))


def test_days_survive_saving_in_a_version_that_older_releases_refuse(dated: FeaturePipeline, tmp_path: Path) -> None:
    dated.save(tmp_path)
    assert json.loads((tmp_path / "pipeline.json").read_text())["version"] == 2
    _same(dated.transform(_table(_stays())), FeaturePipeline.load(tmp_path).transform(_table(_stays())))


def test_similar_texts_lie_closer_than_others() -> None:
    rows = [(f"{topic} number {i} {topic} again",) for i in range(40) for topic in ("football match", "stock market")]
    fitted = FeaturePipeline.fit(_table(rows), _columns(("text",)))
    features = fitted.transform_rows([["a football match"], ["the football"], ["stock market news"]])
    topics = features.numeric[:, [name.startswith("c0:topic") for name in features.numeric_names]]
    assert topics[0] @ topics[1] > topics[0] @ topics[2]


def test_text_columns_with_nothing_to_learn_do_not_fail() -> None:
    for rows in ([("",)] * 5, [("one",)] * 5, [("a b c",)]):
        features = FeaturePipeline.fit(_table(rows), _columns(("text",))).transform_rows([["", *[]], ["x y"]])
        assert len(features) == 2


def test_only_the_rows_given_to_fit_are_learnt_from(pipeline: FeaturePipeline) -> None:
    assert pipeline.transform_rows([("0", "purple", "", "", "")]).categorical[0, 0] == 0


def test_features_survive_saving_as_memory_maps(pipeline: FeaturePipeline, tmp_path: Path) -> None:
    features = pipeline.transform(_table(_training_rows()))
    features.save(tmp_path)
    loaded = Features.load(tmp_path)
    _same(features, loaded)
    assert isinstance(loaded.numeric, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.numeric[0, 0] = 1


@pytest.mark.parametrize("kinds", [("numeric",), ("categorical",)])
def test_features_of_one_kind_only_survive_saving(kinds: tuple[ColumnType, ...], tmp_path: Path) -> None:
    table = _table([("1",), ("2",)] * 5)
    features = FeaturePipeline.fit(table, _columns(kinds)).transform(table)
    features.save(tmp_path)
    _same(features, Features.load(tmp_path))


def test_taking_rows_keeps_their_order(pipeline: FeaturePipeline) -> None:
    features = pipeline.transform(_table(_training_rows()))
    taken = features.take(np.array([5, 2]))
    assert np.array_equal(taken.numeric, features.numeric[[5, 2]], equal_nan=True)
    assert len(features.take(np.zeros(len(features), bool))) == 0
