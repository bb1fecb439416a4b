"""Preparing the data set of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data import spool
from pilothouse.errors import DataError
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.specification import FeatureSpecification


def _table(rows: int = 60, **columns: list[Any]) -> pa.Table:
    base: dict[str, list[Any]] = {
        "x": [str(i / 7) for i in range(rows)],
        "colour": [["red", "green", "blue"][i % 3] for i in range(rows)],
        "y": [["no", "yes"][i % 4 == 0] for i in range(rows)],
    }
    return pa.table(base | columns)


def _prepare(directory: Path, table: pa.Table | None = None, validation: pa.Table | None = None, **how: Any) -> Dataset:
    reading = Reading(**{"target": "y", "min_rows": 10} | how)
    return prepare(_table() if table is None else table, validation, reading, directory / "dataset")


def test_a_data_set_holds_features_targets_and_splits(tmp_path: Path) -> None:
    data = _prepare(tmp_path)
    assert (data.problem_type, data.metric, data.classes) == (BINARY, "F1", ["no", "yes"])
    assert data.columns == data.facts["feature_columns"] == ["x", "colour"]
    assert (len(data), len(data.rows(TRAIN)), len(data.rows(VALIDATION))) == (60, 48, 12)
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [int(i % 4 == 0) for i in range(60)]
    assert data.w is None
    assert set(data.folds[data.part == TRAIN]) == {0, 1, 2, 3, 4}
    assert set(data.folds[data.part == VALIDATION]) == {-1}
    assert data.features.numeric[:, 0].tolist() == [np.float32(i / 7) for i in range(60)]


def test_a_data_set_says_how_wide_a_linear_model_of_it_is(tmp_path: Path) -> None:
    data = _prepare(tmp_path)
    sizes = data.facts["features"]
    assert (sizes["one_hot"], sizes["sparse_values"]) == (sum(data.features.cardinalities), 0)
    assert sizes["one_hot"] > 0


def test_a_loaded_data_set_equals_the_prepared_one_and_is_mapped(tmp_path: Path) -> None:
    data = _prepare(tmp_path)
    loaded = Dataset.load(data.directory)
    assert loaded.facts == data.facts
    assert isinstance(loaded.y, np.memmap)
    assert (loaded.y == data.y).all()
    again = loaded.pipeline().transform(_table())
    assert np.array_equal(again.numeric, loaded.features.numeric)
    assert np.array_equal(again.categorical, loaded.features.categorical)


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    first, second = _prepare(tmp_path / "a"), _prepare(tmp_path / "b")
    assert first.facts == second.facts
    assert all(file["sha256"] and file["bytes"] for file in first.facts["files"].values())


def test_a_process_that_dies_while_writing_leaves_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("pilothouse.problems.tabular.dataset._sync", die)
        with pytest.raises(KeyboardInterrupt):
            _prepare(tmp_path)
    assert not (tmp_path / "dataset").exists()
    assert len(_prepare(tmp_path)) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_rows_without_a_target_are_dropped_and_counted(tmp_path: Path) -> None:
    data = _prepare(tmp_path, _table(y=["no", "yes", "", " ", "nan"] * 12))
    assert (len(data), data.facts["dropped_rows"]) == (24, 36)
    assert data.facts["dropped"]["training"] == {"missing_target": 36, "invalid_target": 0}


def test_none_and_na_are_labels_of_a_classification_target(tmp_path: Path) -> None:
    data = _prepare(tmp_path, _table(y=["None", "NA", "B"] * 20))
    assert (data.classes, len(data)) == (["B", "NA", "None"], 60)


def test_regression_targets_that_are_no_numbers_are_dropped_and_counted(tmp_path: Path) -> None:
    values = [str(i * 1.1) for i in range(57)] + ["n/k", "NA", ""]
    data = _prepare(tmp_path, _table(y=values))
    assert (data.problem_type, len(data), data.classes) == (REGRESSION, 57, None)
    assert data.facts["dropped"]["training"] == {"missing_target": 2, "invalid_target": 1}
    assert data.y.dtype == np.float64


def test_rows_with_an_invalid_weight_are_dropped_and_counted(tmp_path: Path) -> None:
    weights = ["1", "2.5", "0", "-1", "", "x"] * 10
    data = _prepare(tmp_path, _table(w=weights), weight="w")
    assert data.facts["dropped"]["training"]["invalid_weight"] == 30
    assert data.columns == ["x", "colour"]
    assert data.w is not None
    assert sorted(set(data.w)) == [0.0, 1.0, 2.5]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (["1", "0,5", "2", "1.000,25"], [0.5, 1.0, 2.0, 1000.25]),
        (["1,000", "$2", "50 %", " 3"], [2.0, 3.0, 50.0, 1000.0]),
        (["1.5", "0", "7", "7.0"], [0.0, 1.5, 7.0]),
    ],
)
@pytest.mark.parametrize("blocks", [None, 7])
def test_weights_are_read_as_people_write_them(
    tmp_path: Path, written: list[str], values: list[float], blocks: int | None
) -> None:
    table: Any = _table(w=written * 15)
    if blocks is not None:
        parts = [table.slice(start, blocks) for start in range(0, 60, blocks)]
        table = spool.write(tmp_path / "t.arrow", table.schema, parts)
    data = _prepare(tmp_path, table, weight="w")
    assert data.facts["dropped"]["training"]["invalid_weight"] == 0
    assert data.w is not None
    assert sorted(set(data.w)) == values


def test_a_weight_of_the_validation_data_means_what_it_means_in_training(tmp_path: Path) -> None:
    data = _prepare(tmp_path, _table(w=["1,5", "2,25"] * 30), _table(w=["1,250", "2"] * 30), weight="w")
    assert data.w is not None
    assert sorted(set(data.w[data.rows(VALIDATION)])) == [1.25, 2.0]


def test_features_are_learnt_from_training_rows_only(tmp_path: Path) -> None:
    held_out = _prepare(tmp_path / "a").rows(VALIDATION)
    colours = ["violet" if i in held_out else ["red", "green"][i % 2] for i in range(60)]
    data = _prepare(tmp_path / "b", _table(colour=colours))
    assert (data.rows(VALIDATION) == held_out).all()
    assert data.features.cardinalities == [3]
    assert (data.features.categorical[held_out] == 0).all()


@pytest.mark.parametrize("ids", ["user-{}", "{}"])
@pytest.mark.parametrize("blocks", [None, 50])
def test_copies_under_ids_of_their_own_are_kept_together(tmp_path: Path, ids: str, blocks: int | None) -> None:
    table: Any = pa.concat_tables([_table(100)] * 2).append_column("id", pa.array([ids.format(i) for i in range(200)]))
    if blocks is not None:
        parts = [table.slice(start, blocks) for start in range(0, 200, blocks)]
        table = spool.write(tmp_path / "t.arrow", table.schema, parts)
    data = _prepare(tmp_path, table)
    assert data.facts["feature_columns"] == ["x", "colour"]
    assert data.facts["copies"] == 100
    assert (data.part[:100] == data.part[100:]).all()
    assert (data.folds[:100] == data.folds[100:]).all()


def test_copies_among_the_requested_features_are_kept_together(tmp_path: Path) -> None:
    table = pa.concat_tables([_table(100)] * 2).append_column("noise", pa.array([i * 7.5 for i in range(200)]))
    specification = FeatureSpecification.parse(b'{"FeatureAttributeNames": ["x", "colour"]}')
    data = _prepare(tmp_path, table, specification=specification)
    assert data.facts["copies"] == 100
    assert (data.part[:100] == data.part[100:]).all()


def test_copies_are_kept_in_one_fold_beside_a_validation_table(tmp_path: Path) -> None:
    data = _prepare(tmp_path, pa.concat_tables([_table(100)] * 2), _table(20))
    assert data.facts["copies"] == 100
    assert (data.folds[:100] == data.folds[100:200]).all()


def test_a_validation_table_is_the_validation_part(tmp_path: Path) -> None:
    other = _table(20, y=["yes", "no", "", "maybe"] * 5).select(["y", "colour", "x"])
    data = _prepare(tmp_path, None, other)
    assert (len(data.rows(TRAIN)), len(data.rows(VALIDATION))) == (60, 10)
    assert data.facts["dropped"]["validation"] == {"missing_target": 5, "invalid_target": 5}
    assert data.y[60:62].tolist() == [1, 0]


def test_a_validation_table_may_hold_other_types_than_the_training_table(tmp_path: Path) -> None:
    typed = pa.table({"x": [1.5, None], "colour": [3, 4], "y": ["no", "yes"]})
    data = _prepare(tmp_path, None, typed)
    assert np.array_equal(data.features.numeric[60:, 0], [1.5, np.nan], equal_nan=True)
    assert data.features.categorical[60:, 0].tolist() == [0, 0]


def test_classes_of_one_row_are_trained_on(tmp_path: Path) -> None:
    data = _prepare(tmp_path, _table(y=["a", "b"] * 29 + ["c", "d"]))
    assert (data.problem_type, data.classes) == (MULTICLASS, ["a", "b", "c", "d"])
    assert {2, 3} <= set(data.y[data.rows(TRAIN)])


def test_integer_labels_of_parquet_are_written_as_integers(tmp_path: Path) -> None:
    assert _prepare(tmp_path / "a", _table(y=[i % 3 for i in range(60)])).classes == ["0", "1", "2"]
    assert _prepare(tmp_path / "b", _table(y=[None, 1.0, 2.0] * 20)).classes == ["1", "2"]


def test_a_feature_specification_is_obeyed(tmp_path: Path) -> None:
    content = {"FeatureAttributeNames": ["x"], "FeatureDataTypes": {"x": "categorical"}}
    specification = FeatureSpecification.parse(json.dumps(content).encode())
    data = _prepare(tmp_path, specification=specification)
    assert data.facts["feature_columns"] == ["x"]
    assert data.columns == ["x", "colour"]
    assert data.features.categorical_names == ["x"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "must be a JSON object"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"FeatureAttributeNames": "x"}', "must be a list"),
        (b'{"FeatureAttributeNames": []}', "must be a list"),
        (b'{"FeatureDataTypes": ["x"]}', "must be an object"),
        (b'{"FeatureDataTypes": {"x": "tensor"}}', "the type 'tensor'"),
        (b'{"FeatureAttributeNames": ["y"]}', "the target column"),
        (b'{"FeatureAttributeNames": ["X"]}', "case-sensitive"),
        (
            b'{"FeatureAttributeNames": ["x"], "FeatureDataTypes": {"colour": "text"}}',
            "not in its FeatureAttributeNames",
        ),
    ],
)
def test_a_wrong_feature_specification_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        _prepare(tmp_path, specification=FeatureSpecification.parse(content))


@pytest.mark.parametrize(
    ("columns", "how", "complaint"),
    [
        ({}, {"target": "z"}, r"^Target attribute name z does not exist in header\.$"),
        ({}, {"weight": "w"}, "Sample weight attribute name w"),
        ({}, {"weight": "y"}, "is the target column"),
        ({"w": ["0", "x"] * 30}, {"weight": "w"}, "no positive number"),
        ({}, {"min_rows": 61}, "has 60 usable rows; at least 61"),
        ({}, {"validation_fraction": 0.9}, "0.9 leaves 6 of 60 usable rows to train on; at least 10"),
        ({"y": ["a", "b", ""] * 20}, {"min_rows": 50}, r"has 40 usable rows \(20 more had no usable target"),
        ({"y": ["a", ""] * 30}, {}, "only the value 'a'"),
        ({"y": [[1]] * 60}, {}, "nested"),
        ({"y": [1e200, *range(59)]}, {}, r"numbers as large as 1e\+200"),
        ({"y": ["no"] * 59 + ["yes"]}, {"metric": "AUC"}, "no validation row of positive weight has the class 'yes'"),
        ({"w": [1.0 * (i % 4 > 0 or i == 8) for i in range(60)]}, {"weight": "w", "metric": "AUC"}, "no training row"),
        (
            {"w": [1.0 * (i % 2) for i in range(60)], "y": ["no", "yes"] * 30},
            {"weight": "w"},
            "All usable training rows with a weight above 0 have the same target",
        ),
        (
            {"x": [""] * 60, "colour": ["red"] * 60},
            {},
            "No column can be used as a feature .*x: all values are missing",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused(
    tmp_path: Path, columns: dict[str, list[Any]], how: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        _prepare(tmp_path, _table(**columns), **how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("validation", "complaint"),
    [
        (_table(9).drop_columns("x"), "they lack 'x'"),
        (_table(9, z=["1"] * 9), "they have 'z' as well"),
        (_table(9, y=["maybe"] * 9), "No row of the validation data"),
        (_table(9, x=[[1]] * 9), "nested values in the validation data"),
    ],
)
def test_validation_data_that_does_not_fit_is_refused(tmp_path: Path, validation: pa.Table, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        _prepare(tmp_path, None, validation)


def test_auc_asks_for_validation_rows_of_both_classes_and_other_metrics_do_not(tmp_path: Path) -> None:
    validation = _table(9, y=["yes"] * 9)
    assert len(_prepare(tmp_path / "f1", None, validation)) == 69
    with pytest.raises(DataError, match=r"no validation row of positive weight has the class 'no'\. Add such rows"):
        _prepare(tmp_path / "auc", None, validation, metric="AUC")


def test_validation_targets_too_large_to_measure_are_refused(tmp_path: Path) -> None:
    table = _table(y=[i / 3 for i in range(60)])
    with pytest.raises(DataError, match="can't be measured"):
        _prepare(tmp_path, table, _table(2, y=[1.0, -1e160]))


def test_a_table_with_no_other_column_than_the_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No column can be used"):
        _prepare(tmp_path, _table().select(["y"]))
