"""The built-in algorithms' own parts: hyperparameters, files, scores, and that the linear learner learns."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import load_file
from sklearn.datasets import dump_svmlight_file
from xgboost import Booster, DMatrix

from pilothouse.catalog.built_in_training import metric_definitions
from pilothouse.contract import recordio
from pilothouse.contract.opt_ml import OptMl
from pilothouse.contract.scrape import Scraper
from pilothouse.data import features, selection
from pilothouse.data.features import Features
from pilothouse.data.selection import Selection
from pilothouse.errors import DataError
from pilothouse.training.algorithms import (
    files,
    labelled,
    linear_learner,
    linear_parameters,
    linear_rows,
    measures,
    xgboost,
    xgboost_parameters,
)
from pilothouse.training.algorithms.labelled import read


def prepared(base: Path, given: dict[str, str], **tables: np.ndarray) -> OptMl:
    """The folders of a job whose channels are these tables, label first."""
    folders = OptMl(base)
    for folder in (folders.config, folders.model, folders.output_data):
        folder.mkdir(parents=True)
    (folders.config / "hyperparameters.json").write_text(json.dumps(given))
    config = {name: {"ContentType": "text/csv"} for name in tables}
    (folders.config / "inputdataconfig.json").write_text(json.dumps(config))
    for name, table in tables.items():
        folders.channel(name).mkdir(parents=True)
        np.savetxt(folders.channel(name) / "part.csv", table, delimiter=",")
    return folders


def trained(folders: OptMl, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    linear_learner.main(str(folders.base), 1)
    printed = capsys.readouterr().out.encode()
    points = {point.name: point.value for point in Scraper(metric_definitions("linear-learner")).scan(printed)}
    return points, load_file(folders.model / "weights.safetensors")


def test_a_regression_finds_the_weights_of_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(2000, 3)) * [1, 100, 0.01] + [3, 0, 1]
    y = x @ [2.0, -0.05, 300.0] + 7 + random.normal(scale=0.1, size=2000)
    table = np.column_stack([y, x])
    given = {"predictor_type": "regressor", "epochs": "60", "mini_batch_size": "100", "early_stopping_patience": "60"}
    points, arrays = trained(prepared(tmp_path, given, train=table[:1500], test=table[1500:]), capsys)
    assert arrays["weights"][:, 0] == pytest.approx([2.0, -0.05, 300.0], rel=0.05)
    assert points["test:rmse"] == pytest.approx(0.1, rel=0.2)
    predicted = x[1500:] @ arrays["weights"][:, 0] + arrays["bias"][0]
    assert points["test:mse"] == pytest.approx(np.mean((predicted - y[1500:]) ** 2), rel=1e-3)


def test_many_classes_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(2)
    labels = random.integers(3, size=900) * 10.0
    x = random.normal(size=(900, 2)) + np.column_stack([labels == 10, labels == 20]) * 4
    table = np.column_stack([labels, x])
    given = {"predictor_type": "multiclass_classifier", "num_classes": "3", "mini_batch_size": "50"}
    points, arrays = trained(prepared(tmp_path, given, train=table[:600], validation=table[600:]), capsys)
    assert points["validation:multiclass_accuracy"] > 0.93
    assert arrays["weights"].shape == (2, 3)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["classes"] == [0, 10, 20]


@pytest.mark.parametrize(
    ("given", "labels", "reason"),
    [
        ({}, [0, 1], "predictor_type is missing"),
        ({"predictor_type": "best"}, [0, 1], "'best' is not one of"),
        ({"predictor_type": "binary_classifier"}, [0, 1, 2], "has 3 labels"),
        ({"predictor_type": "binary_classifier"}, [1, 1], "one label only"),
        ({"predictor_type": "regressor", "epochs": "many"}, [0, 1], "'many' is not a number"),
        ({"predictor_type": "regressor", "feature_dim": "7"}, [0, 1], "the data has 1 features"),
        ({"predictor_type": "regressor", "optimizer": "rmsprop"}, [0, 1], "'rmsprop' is not one of"),
        ({"predictor_type": "regressor", "depth": "3"}, [0, 1], "Extraneous hyperparameter found: depth"),
    ],
)
def test_the_linear_learner_says_what_is_wrong(
    tmp_path: Path, given: dict[str, str], labels: list[float], reason: str
) -> None:
    table = np.column_stack([labels, np.arange(len(labels))])
    folders = prepared(tmp_path, given, train=table)
    with pytest.raises(SystemExit, match="1"):
        linear_learner.main(str(folders.base), 1)
    assert reason in (folders.failure() or "")


def test_hyperparameters_of_the_linear_learner_have_awss_defaults() -> None:
    parameters = linear_parameters.parse(
        {"predictor_type": "regressor", "sagemaker_job_name": "x", "num_models": "auto"}
    )
    assert (parameters.epochs, parameters.batch, parameters.patience) == (15, 1000, 3)


@pytest.mark.parametrize(
    ("content_type", "text", "weighted", "labels", "values", "weights"),
    [
        ("text/csv", "1,2,\n0,,4\n", False, [1, 0], [[2, np.nan], [np.nan, 4]], None),
        ("text/csv;label_size=1", "1,0.5,2\n0,2,4\n", True, [1, 0], [[2], [4]], [0.5, 2]),
        ("text/libsvm", "1 0:2 2:3\n0 1:5\n", False, [1, 0], [[2, 0, 3], [0, 5, 0]], None),
        (None, "1 1:2\n", False, [1], [[0, 2]], None),
        ("text/csv", "1,true\n0,false\n", False, [1, 0], [[1], [0]], None),
    ],
)
def test_files_are_read_as_their_content_type_says(
    tmp_path: Path,
    content_type: str | None,
    text: str,
    weighted: bool,
    labels: list[float],
    values: list[list[float]],
    weights: list[float] | None,
) -> None:
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "part").write_text(text)
    found = read(tmp_path / "channel", content_type, tmp_path / "scratch", weighted)
    whole = found.whole().values
    dense = whole.toarray() if found.is_sparse else whole
    assert found.labels.tolist() == labels
    assert np.array_equal(dense, values, equal_nan=True)
    assert weights is None if found.weights is None else found.weights.tolist() == weights


@pytest.mark.parametrize(
    ("content_type", "text", "reason"),
    [
        ("text/csv", "y,x\n1,2\n", "Column 1 of part holds text"),
        ("text/csv", "1,2\n" * 3_000_000 + "1,x\n", "Column 2 of part holds text"),
        (recordio.MEDIA_TYPE, "1,2\n", "cannot be read as RecordIO-protobuf"),
        ("text/csv", "1\n2\n", "There is no feature"),
        ("text/csv", ",2\n1,2\n", "which is the label, has values that are no numbers"),
        ("text/csv", "1,2\n1,2,3\n", "cannot be read as CSV"),
        ("application/json", "{}", "has ContentType application/json"),
        (None, "1,2\n", "cannot be read as libsvm"),
        ("application/x-parquet", "x", "cannot be read as Parquet"),
        ("text/csv", "", "holds no data"),
    ],
)
def test_files_that_are_something_else_are_told(tmp_path: Path, content_type: str, text: str, reason: str) -> None:
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "part").write_text(text)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "channel", content_type, tmp_path / "scratch")


@pytest.mark.parametrize("content_type", ["text/csv", "text/libsvm", "application/x-parquet", recordio.MEDIA_TYPE])
def test_blocks_have_every_row_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 100)
    monkeypatch.setattr(files, "BLOCK_CELLS", 40)
    monkeypatch.setattr(labelled, "BLOCK_CELLS", 40)
    x = np.arange(600, dtype=np.float32).reshape(200, 3) / 8  # whole in the first rows' first column, and not later
    y = np.arange(200, dtype=np.float32)
    folder = tmp_path / "channel"
    folder.mkdir()
    for name, rows in (("a", slice(0, 150)), ("b", slice(150, 200))):
        (folder / name).write_bytes(written(content_type, x[rows], y[rows]))
    found = read(folder, content_type, tmp_path / "scratch")
    blocks = list(found.blocks())
    assert len(blocks) > 10
    values = [block.values.toarray() if found.is_sparse else block.values for block in blocks]
    assert np.array_equal(np.concatenate(values), x)
    assert np.array_equal(np.concatenate([block.labels for block in blocks]), y)
    assert found.width == 3


@pytest.mark.parametrize(
    ("content_type", "compressed"),
    [
        ("text/libsvm", gzip.compress),
        ("text/csv", gzip.compress),
        ("text/csv", lambda body: gzip.compress(body[:100_000]) + gzip.compress(body[100_000:])),
        (recordio.MEDIA_TYPE, gzip.compress),
        ("application/x-parquet", lambda body: body),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["part.gz", "part"])
def test_every_row_of_a_compressed_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str, compressed: Callable[[bytes], bytes], name: str
) -> None:
    monkeypatch.setattr(files, "_BLOCK", 1 << 12)
    monkeypatch.setattr(files, "BLOCK_CELLS", 1 << 10)
    x = np.tile(np.arange(20_000, dtype=np.float32)[:, None] % 64 / 8, 3)
    y = np.arange(len(x), dtype=np.float32)
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / name).write_bytes(compressed(written(content_type, x, y, "gzip")))
    (tmp_path / "channel" / "empty.gz").write_bytes(b"" if "parquet" in content_type else gzip.compress(b""))
    found = read(tmp_path / "channel", content_type, tmp_path / "scratch")
    assert np.array_equal(found.labels, y)
    assert found.whole().values.sum() == x.sum()


def test_a_compressed_file_is_read_beyond_its_first_blocks(tmp_path: Path) -> None:
    line, count = b"1 0:1 " + b"#" * 2000 + b"\n", 10_000
    path = tmp_path / "part.gz"
    path.write_bytes(gzip.compress(line * count, 1))
    assert path.stat().st_size < 2 * files._BLOCK < len(line) * count
    assert sum(len(labels) for _, labels in files.sparse_rows(path)) == count


@pytest.mark.parametrize(
    ("content_type", "content", "reason"),
    [
        ("text/csv", gzip.compress(b"1,2\n" * 50_000)[:-20], "part.gz is damaged gzip data"),
        ("text/libsvm", gzip.compress(b"1 0:2\n" * 50_000)[:-20], "part.gz is damaged gzip data"),
        ("text/libsvm", bz2.compress(b"1 0:2\n" * 50_000), "part.gz cannot be read as libsvm"),
        ("text/csv", bz2.compress(b"1,2\n" * 50_000), "part.gz (holds text|cannot be read as CSV)"),
        ("text/libsvm", gzip.compress(b"1 0:2\n" * 500_000), "exceeds the limit once decompressed"),
        ("text/libsvm", gzip.compress(b"1 0:" + b"2" * 1_500_000), "A row of part.gz is longer than 1 MB"),
    ],
    ids=["damaged CSV", "damaged libsvm", "bzip2 libsvm", "bzip2 CSV", "too many bytes", "too long a line"],
)
def test_what_is_wrong_with_a_compressed_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_type: str, content: bytes, reason: str
) -> None:
    monkeypatch.setattr(files, "_MOST_BYTES", 2 << 20)
    monkeypatch.setattr(files, "_LONGEST_LINE", 10**6)
    monkeypatch.setattr(files, "_BLOCK", 1 << 12)
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "part.gz").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "channel", content_type, tmp_path / "scratch")


def written(content_type: str, x: np.ndarray, y: np.ndarray, codec: str = "snappy") -> bytes:
    """A file of these rows; Parquet's own compression is `codec`."""
    table, body = np.column_stack([y, x]), io.BytesIO()
    if content_type == recordio.MEDIA_TYPE:
        return recordio.write(recordio.Table(x, y))
    if content_type == "application/x-parquet":
        columns = {str(i): column for i, column in enumerate(table.T)}
        parquet.write_table(pa.table(columns), body, compression=codec)
    elif content_type == "text/csv":
        np.savetxt(body, table, delimiter=",", fmt="%g")
    else:
        dump_svmlight_file(x, y, body)
    return body.getvalue()


@pytest.mark.parametrize("predictor", ["regressor", "binary_classifier", "multiclass_classifier"])
def test_rows_that_come_piece_by_piece_teach_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, predictor: str
) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(3000, 4)) * [1, 10, 0.1, 5] + [0, 50, 1, 0]
    signal = x @ [1.0, 0.1, 10.0, 0.0] + random.normal(scale=0.3, size=3000)
    y = {"regressor": signal, "binary_classifier": signal > 15}.get(predictor, np.digitize(signal, [14, 16]))
    table = np.column_stack([y, x])
    given = {
        "predictor_type": predictor, "epochs": "40", "mini_batch_size": "100", "early_stopping_patience": "40",
        "learning_rate": "0.02",
    }  # fmt: skip
    tables = {"train": table[:2000], "validation": table[2000:2500], "test": table[2500:]}
    whole, whole_arrays = trained(prepared(tmp_path / "whole", given, **tables), capsys)
    monkeypatch.setattr(linear_rows, "CELLS", 4 * 700)
    monkeypatch.setattr(linear_rows, "_PIECE", 32)
    pieces, arrays = trained(prepared(tmp_path / "pieces", given, **tables), capsys)
    assert set(pieces) == set(whole)
    assert pieces["test:objective_loss"] == pytest.approx(whole["test:objective_loss"], rel=0.1, abs=0.01)
    assert arrays["weights"] != pytest.approx(whole_arrays["weights"], rel=1e-12)  # mixed otherwise
    assert not list((tmp_path / "pieces" / "tmp").iterdir())


@pytest.mark.parametrize("width", [10, 500])
def test_wide_rows_are_mixed_like_narrow_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows = 6000
    monkeypatch.setattr(linear_rows, "CELLS", cells := 20_000)
    monkeypatch.setattr(linear_rows, "_PIECE", 16)
    labels = np.arange(rows, dtype=np.float32)
    x = Features(np.tile(labels[:, None], width), np.empty((rows, 0), np.int32), [str(i) for i in range(width)], [], [])
    features.write(tmp_path / "rows", [x])
    part = labelled.Labelled(Selection(Features.load(tmp_path / "rows"), None, tmp_path), width, labels)
    parameters = linear_parameters.parse({"predictor_type": "regressor", "normalize_label": "false"})
    scaling = linear_rows.Scaling(np.zeros(width), np.ones(width), np.empty(0), 0.0, 1.0)
    pieces = list(linear_rows.Rows("train", part, scaling, parameters).mixed(np.random.default_rng(0)))
    assert sorted(np.concatenate([piece.y for piece in pieces])) == labels.tolist()
    for piece in pieces:
        assert piece.x.size <= cells
        assert (piece.x == piece.y[:, None]).all()
    for piece in pieces[:-1]:  # what is left for the last may be little
        assert np.ptp(piece.y) > rows / 2
        assert abs(piece.y.mean() - rows / 2) < rows / 4


def test_what_large_channels_miss_is_told_like_that_of_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_rows, "CELLS", 50)
    rows = np.column_stack([np.arange(200) % 2, np.arange(200.0)])
    unknown, missing = rows.copy(), rows.copy()
    unknown[150, 0], missing[150, 1] = 2, np.nan
    given = {"predictor_type": "binary_classifier"}
    for name, test, reason in [("a", unknown, "labels that are none"), ("b", missing, "test has missing values")]:
        folders = prepared(tmp_path / name, given, train=rows, test=test)
        with pytest.raises(SystemExit, match="1"):
            linear_learner.main(str(folders.base), 1)
        assert reason in (folders.failure() or "")


def test_xgboost_grows_the_same_trees_of_bins_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(900, 4))
    table = np.column_stack([x[:, 0] * x[:, 1] + x[:, 2], x])
    given = {"num_round": "20", "max_depth": "4", "eta": "0.3", "early_stopping_rounds": "5", "eval_metric": "mse,mae"}
    folders = [
        prepared(tmp_path / name, given, train=table[:600], validation=table[600:]) for name in ("whole", "paged")
    ]
    xgboost.main(str(folders[0].base), 1)
    monkeypatch.setattr(selection, "LARGE_CELLS", 1000)
    monkeypatch.setattr(labelled, "BLOCK_CELLS", 400)
    xgboost.main(str(folders[1].base), 1)
    whole, paged = (
        Booster(model_file=bytearray((folder.model / "xgboost-model").read_bytes())).predict(DMatrix(x[600:]))
        for folder in folders
    )
    assert np.corrcoef(whole, paged)[0, 1] > 0.99
    assert not list((tmp_path / "paged" / "tmp").iterdir())


@pytest.mark.parametrize(
    ("metrics", "objective", "judged"),
    [
        ("accuracy,logloss", "", "logloss"),
        ("logloss,accuracy", "", "accuracy"),
        ("logloss,auc", "validation:logloss", "logloss"),
        ("accuracy", "validation:logloss", "logloss"),
        ("auc,error@0.5", "", "error"),
        ("auc,error@0.4", "", "error@0.4"),
        ("auc,error@.40", "", "error@0.4"),
    ],
)
def test_xgboost_stops_by_the_objective_of_the_tuning_job_or_the_last_metric_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metrics: str, objective: str, judged: str
) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(500, 3))
    table = np.column_stack([x[:, 0] + random.normal(size=500) > 0, x])
    given = {"num_round": "200", "early_stopping_rounds": "4", "objective": "binary:logistic", "eval_metric": metrics}
    given |= {"_tuning_objective_metric": objective} if objective else {}
    folders = prepared(tmp_path, given, train=table[:200], validation=table[200:])
    xgboost.main(str(folders.base), 1)
    found = re.findall(rf"\tvalidation-{re.escape(judged)}:(\S+)", capsys.readouterr().out)
    losses = [float(value) * (-1 if judged == "accuracy" else 1) for value in found]
    assert len(losses) == losses.index(min(losses)) + 1 + 4


def test_what_xgboost_evaluates_unasked_is_judged_as_xgboost_does() -> None:
    parameters = xgboost_parameters.parse({"num_round": "1", "objective": "rank:ndcg"})
    assert (parameters.judged, parameters.maximized) == (None, None)


@pytest.mark.parametrize(
    ("given", "by_bins"),
    [({}, True), ({"tree_method": "hist", "booster": "dart"}, True), ({"tree_method": "exact"}, False),
     ({"booster": "gblinear"}, False), ({"updater": "prune"}, False)],
)  # fmt: skip
def test_only_what_grows_by_bins_keeps_bins_alone(given: dict[str, str], by_bins: bool) -> None:
    assert xgboost_parameters.parse({"num_round": "1", **given}).by_bins is by_bins


def test_a_channel_without_room_on_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr("pilothouse.data.features.write", full)
    folders = prepared(tmp_path, {"num_round": "1"}, train=np.ones((3, 2)))
    with pytest.raises(SystemExit, match="1"):
        xgboost.main(str(folders.base), 1)
    assert "Raise VolumeSizeInGB" in (folders.failure() or "")


def test_hyperparameters_of_xgboost_are_read_as_aws_spells_them() -> None:
    given = {
        "num_round": "7", "eta": "0.2", "lambda": "2", "objective": "reg:linear", "eval_metric": "rmse,mse",
        "max_depth": "4.0", "csv_weights": "1", "_tuning_objective_metric": "validation:rmse",
        "sagemaker_job_name": "x", "seed": "3",
    }  # fmt: skip
    parameters = xgboost_parameters.parse(given)
    assert (parameters.rounds, parameters.csv_weights, parameters.custom_metrics) == (7, True, ("mse",))
    assert parameters.booster["objective"] == "reg:squarederror"
    assert parameters.booster["eval_metric"] == ["rmse"]
    assert parameters.booster["max_depth"] == 4
    assert not parameters.maximized


@pytest.mark.parametrize("name", measures.NAMES)
def test_every_added_metric_is_defined_at_its_best(name: str) -> None:
    labels = np.array([0, 1, 1, 0, 1])
    best = measures.measure(name, labels, labels.astype(float), None, "binary:logistic")
    assert best == (0 if name == "mse" else 1)


def test_likeliest_classes_come_from_each_objectives_predictions() -> None:
    assert measures.classes(np.array([0.2, 0.7]), "binary:logistic").tolist() == [0, 1]
    assert measures.classes(np.array([-0.2, 0.1]), "binary:logitraw").tolist() == [0, 1]
    assert measures.classes(np.array([[0.2, 0.7, 0.1]]), "multi:softprob").tolist() == [1]
    assert measures.classes(np.array([2.0, 0.0]), "multi:softmax").tolist() == [2, 0]
