"""A data set prepared from spools is the one that is prepared from tables in memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from pilothouse.automl import tasks
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data import sample, selection, spool, tables
from pilothouse.data.features import Features
from pilothouse.data.spool import Spool
from pilothouse.engines.base import Model
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.problems.tabular import bag
from pilothouse.problems.tabular.dataset import VALIDATION, Dataset
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.resolve import count, resolve_counts
from pilothouse.problems.tabular.train import Trial, run

ROWS = 700
_WORDS = ["red", "green", "blue", "large", "small", "old", "new", "fast", "slow", "quiet", "loud", "bright", "dark"]


def _table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    number = rng.normal(size=rows)
    city = rng.integers(0, 60, rows)
    words = [" ".join(rng.choice(_WORDS, 5)) for _ in range(rows)]
    gaps = [f"{value:.3f}" if value > -0.8 else "NA" for value in rng.normal(size=rows)]
    return pa.table(
        {
            "number": [f"{value:.6f}" for value in number],
            "gaps": gaps,
            "city": [f"city {value}" for value in city],
            "day": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(rows)],
            "words": words,
            "same": ["1"] * rows,
            "weight": [str(i % 4) if i % 50 else "-1" for i in range(rows)],
            "y": [["no", "yes", ""][0 if i % 97 else 2] if v < 0.2 else "yes" for i, v in enumerate(number)],
        }
    )


def _spool(table: pa.Table, path: Path, rows: int = 64) -> Spool:
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [table.slice(start, rows) for start in range(0, table.num_rows, rows)]
    return spool.write(path, table.schema, parts)


def _both(folder: Path, table: pa.Table, validation: pa.Table | None = None, **how: Any) -> tuple[Dataset, Dataset]:
    reading = Reading(**{"target": "y", "min_rows": 10} | how)
    held = None if validation is None else _spool(validation, folder / "v.arrow")
    return (
        prepare(table, validation, reading, folder / "whole"),
        prepare(_spool(table, folder / "t.arrow"), held, reading, folder / "spooled"),
    )


def _facts(data: Dataset) -> dict[str, Any]:
    return {name: value for name, value in data.facts.items() if name not in ("input_bytes", "files")}


def _assert_same(one: Dataset, other: Dataset) -> None:
    assert _facts(one) == _facts(other)
    assert np.array_equal(one.features.numeric, other.features.numeric, equal_nan=True)
    assert np.array_equal(one.features.categorical, other.features.categorical)
    assert (one.features.sparse is None) == (other.features.sparse is None)
    if one.features.sparse is not None:
        assert (one.features.sparse != other.features.sparse).nnz == 0
    assert np.array_equal(one.y, other.y)
    assert np.array_equal(one.part, other.part)
    assert np.array_equal(one.folds, other.folds)


@pytest.mark.parametrize("weight", [None, "weight"])
def test_types_features_and_splits_are_the_same(tmp_path: Path, weight: str | None) -> None:
    whole, spooled = _both(tmp_path, _table(), weight=weight)
    _assert_same(whole, spooled)
    assert whole.problem_type == BINARY
    assert whole.facts["dropped_rows"] > 0
    assert whole.features.sparse is not None
    assert {column["type"] for column in whole.facts["profile"]} >= {"numeric", "categorical", "datetime", "text"}
    if weight:
        assert np.array_equal(whole.w, spooled.w)  # type: ignore[arg-type]


def test_they_are_the_same_with_a_validation_channel_and_in_regression(tmp_path: Path) -> None:
    table = _table().drop_columns("y").rename_columns(["y", "gaps", "city", "day", "words", "same", "weight"])
    whole, spooled = _both(tmp_path, table, table.slice(20, 150).select(table.column_names[::-1]))
    _assert_same(whole, spooled)
    assert (whole.problem_type, len(whole.rows(VALIDATION))) == (REGRESSION, 150)


def test_copies_of_rows_stay_on_one_side_of_a_spools_splits_too(tmp_path: Path) -> None:
    table = pa.concat_tables([_table(), _table().slice(100, 200)])
    whole, spooled = _both(tmp_path, table)
    assert whole.groups is not None
    assert spooled.groups is not None
    assert whole.facts["copies"] == spooled.facts["copies"] > 150
    for group in np.unique(spooled.groups[spooled.groups >= 0]):
        assert len(set(spooled.part[spooled.groups == group])) == 1


def test_a_class_in_the_last_block_alone_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "LEARNT_ROWS", 100)
    monkeypatch.setattr(sample, "ROWS_OF_A_CLASS", 5)
    table = _table()
    late = ["no", "yes"] * (ROWS // 2 - 4) + ["rare"] * 8
    place = ["here"] * (ROWS - 8) + ["far away"] * 8
    table = table.set_column(7, "y", pa.array(late)).set_column(5, "same", pa.array(place))
    _, spooled = _both(tmp_path, table)
    assert (spooled.problem_type, spooled.classes) == (MULTICLASS, ["no", "rare", "yes"])
    place_of = spooled.features.categorical_names.index("same")
    assert (spooled.features.categorical[-8:, place_of] == 2).all()


def test_features_are_learnt_from_a_sample_and_made_of_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "LEARNT_ROWS", 300)
    monkeypatch.setattr(sample, "ROWS_OF_A_CLASS", 20)
    whole, spooled = _both(tmp_path, _table())
    assert len(whole) == len(spooled)
    assert whole.facts["feature_columns"] == spooled.facts["feature_columns"]
    assert max(column["rows"] for column in spooled.facts["profile"]) < 400
    assert np.array_equal(whole.features.numeric[:, :2], spooled.features.numeric[:, :2], equal_nan=True)


def test_a_process_that_dies_between_two_blocks_leaves_no_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def die(self: Any, array: Any) -> None:
        written.append(len(array))
        if len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("pilothouse.data.growing.GrowingArray.append", die)
    with pytest.raises(KeyboardInterrupt):
        prepare(_spool(_table(), tmp_path / "t.arrow"), None, Reading("y", min_rows=10), tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["t.arrow"]


def test_labels_are_not_counted_beyond_what_can_be_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.problems.tabular.resolve.MOST_LABELS", 150)
    texts = pa.array([str(i / 3) for i in range(900)])
    counts = count(pa.chunked_array([texts.slice(start, 100)]) for start in range(0, 900, 100))
    assert len(counts) == 200
    assert resolve_counts(counts).problem_type == REGRESSION


@pytest.mark.parametrize(("late", "value"), [("7,5", 7.5), ("1.234,5", 1234.5), ("1,234.5", 1234.5)])
def test_where_decimals_of_a_target_come_is_told_behind_the_counted_labels_too(
    monkeypatch: pytest.MonkeyPatch, late: str, value: float
) -> None:
    monkeypatch.setattr("pilothouse.problems.tabular.resolve.MOST_LABELS", 150)
    texts = pa.array([*(str(i) for i in range(800)), "", None, *[late] * 98])
    parts = [pa.chunked_array([texts.slice(start, 100)]) for start in range(0, 900, 100)]
    targets = np.concatenate([resolve_counts(count(iter(parts))).targets(part) for part in parts])
    assert np.array_equal(targets, [*range(800), np.nan, np.nan, *[value] * 98], equal_nan=True)


def test_few_of_the_labels_behind_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.problems.tabular.resolve.MOST_LABELS", 150)
    texts = pa.array([f"{i},5" for i in range(90_000)])
    counts = count(pa.chunked_array([texts.slice(start, 1000)]) for start in range(0, 90_000, 1000))
    assert len(counts) == 4000
    numbers = pa.array(np.arange(900) / 3)
    assert len(count(pa.chunked_array([numbers.slice(start, 100)]) for start in range(0, 900, 100))) == 200


def _trained(data: Dataset, folder: Path, algorithm: str, **params: Any) -> dict[str, Any]:
    folder.mkdir()
    trial = Trial(algorithm, algorithm, {"max_rounds": 20, **params}, folds=2, seed=0, metric=data.metric)
    return run(trial, data, folder)


def test_a_trial_on_rows_that_stay_on_disk_has_the_metrics_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = _both(tmp_path, _table(), weight="weight")
    expected = _trained(whole, tmp_path / "memory", "xgboost")
    monkeypatch.setattr(selection, "LARGE_CELLS", 100)
    monkeypatch.setattr(selection, "BLOCK_CELLS", 4000)
    monkeypatch.setattr(bag, "_PREDICTED_AT_ONCE", 50)
    found = _trained(whole, tmp_path / "disk", "xgboost", paged=True)
    for part in ("Train", "Validation"):
        for name, value in expected["metrics"][part].items():
            if name != "InferenceLatency":
                assert found["metrics"][part][name] == pytest.approx(value, abs=1e-3)
    assert found["fold_rounds"] == expected["fold_rounds"]
    assert not list(tmp_path.glob("pages-*"))


def test_an_engine_that_copies_what_it_trains_on_gets_no_more_of_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = _both(tmp_path, _table())
    monkeypatch.setattr(selection, "LARGE_CELLS", 100)
    sizes: list[int] = []

    def fit(_self: Any, x: Features, *given: Any, valid: Any, **how: Any) -> Model:
        sizes.extend([len(x), len(valid[0])])
        assert type(x) is type(valid[0]) is Features
        raise RuntimeError

    monkeypatch.setattr("pilothouse.engines.lightgbm.LightGBM.fit", fit)
    with pytest.raises(RuntimeError):
        _trained(whole, tmp_path / "disk", "lightgbm", max_rows=150)
    assert sizes == [150, 150]


def test_the_reading_of_a_job_spools_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    objects.create_bucket("bucket")
    for name, start in (("a.csv", 0), ("b.csv", 400)):
        sink = io.BytesIO()
        csv.write_csv(_table().slice(start, 400), sink)
        objects.put("bucket", f"in/{name}", sink.getvalue())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
    request = {
        "AutoMLJobName": "large",
        "AutoMLJobInputDataConfig": [{"ChannelType": "training", "DataSource": source}],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "RoleArn": "arn:aws:iam::000000000000:role/R",
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
    }

    def facts(name: str) -> dict[str, Any]:
        made = tasks.prepare(objects, tmp_path, request=request, min_rows=10, dataset=str(tmp_path / name))
        return {key: value for key, value in made.items() if key not in ("files", "input_bytes")}

    small = facts("small")
    monkeypatch.setattr(tables, "SPOOLED_FROM", 1000)
    monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 1 << 12)
    assert facts("large") == small
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "objects", "small"]
