"""Models as ONNX graphs: onnxruntime answers as the predictor does, and what has no form in ONNX is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.cli import main
from pilothouse.contract.pack import pack
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import Column, ColumnType
from pilothouse.engines.base import Task
from pilothouse.engines.crosses import Crosses
from pilothouse.engines.statistics import TargetStatistics
from pilothouse.problems.tabular import portfolio
from pilothouse.problems.tabular.archive import Member, write_manifest
from pilothouse.problems.tabular.onnx.export import export
from pilothouse.problems.tabular.onnx.graph import CannotExport
from pilothouse.problems.tabular.predictor import TabularPredictor

ROWS = 400
ENGINES = ("lightgbm", "xgboost", "catboost", "randomforest", "extra-trees", "linear-learner")
PARAMS: dict[str, dict[str, Any]] = {name: {"max_rounds": 25} for name in ("lightgbm", "xgboost", "catboost")} | {
    name: {"n_estimators": 12} for name in ("randomforest", "extra-trees")
}
TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
}
CLASSES = {REGRESSION: None, BINARY: ["no", "yes"], MULTICLASS: ["a", "b", "c"]}
KINDS: dict[str, ColumnType] = {
    "size": "numeric",
    "weight": "numeric",
    "color": "categorical",
    "town": "categorical",
    "grade": "categorical",
    "id": "ignored",
}


def _table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    size, weight = rng.normal(size=rows), rng.normal(size=rows) * 1e4
    columns = {
        "size": [f"{value:.3f}" if i % 9 else "" for i, value in enumerate(size)],
        "weight": [f"{value:.1f}" for value in weight],
        "color": rng.choice(["red", "green", "blue", "", "violet"], rows).tolist(),
        "town": [f"town {number}" for number in rng.integers(0, 60, rows)],
        "grade": rng.integers(0, 5, rows).astype(str).tolist(),
        "id": [f"id{i}" for i in range(rows)],
    }
    return pa.table(columns)


def _target(table: pa.Table, kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    size = np.array([float(text or 0.5) for text in table["size"].to_pylist()])
    red = np.array([text == "red" for text in table["color"].to_pylist()])
    grade = np.array([int(text) for text in table["grade"].to_pylist()])
    signal = 2 * size + 3 * red - (grade % 2) + 0.3 * rng.normal(size=len(size))
    if kind == REGRESSION:
        return np.asarray(signal * 100)
    return np.digitize(signal, [0.5] if kind == BINARY else [-1.0, 1.5]).astype(np.int64)


def _pipeline(table: pa.Table, **kinds: ColumnType) -> FeaturePipeline:
    return FeaturePipeline.fit(table, [Column(name, kind, "", 0.0, 0, 0) for name, kind in (KINDS | kinds).items()])


def _archive(folder: Path, kind: str, names: tuple[str, ...], **more: Any) -> Path:
    """An archive with a member for each engine; `inputs` lets the last one build on the others."""
    table = _table()
    pipeline, y = _pipeline(table), _target(table, kind)
    x = pipeline.transform(table)
    pipeline.save(folder / "pipeline")
    members = []
    for i, name in enumerate(names):
        inputs = more.get("inputs") if i == len(names) - 1 else None
        if inputs:
            from pilothouse.problems.tabular import stack

            models = [engines.load(folder / f"members/{j}", names[j]) for [j] in inputs]
            x = stack.extended(x, [model.predict(x) for model in models])
        (folder / f"members/{i}").mkdir(parents=True)
        engines.engine(name).fit(x, y, None, TASKS[kind], PARAMS.get(name, {})).save(folder / f"members/{i}")
        own = more.get("calibrations", {}).get(name)
        members.append(Member(f"members/{i}", name, (i + 1) / len(names), inputs, own))
    _sign(folder, kind, members, more.get("calibration"))
    return folder


def _sign(folder: Path, kind: str, members: list[Member], calibration: dict[str, Any] | None = None) -> None:
    profile = [{"name": name, "type": type_} for name, type_ in KINDS.items()]
    facts = {"problem_type": kind, "target": "y", "classes": CLASSES[kind], "columns": list(KINDS), "profile": profile}
    cut = 0.37 if kind == BINARY else None
    write_manifest(folder, facts, members, threshold=cut, objective="F1", metrics={}, calibration=calibration)


def _questions() -> list[list[str]]:
    rows = [list(row) for row in zip(*(column.to_pylist() for column in _table(120, seed=5).columns), strict=True)]
    odd = [
        ["", "inf", "mauve", "nowhere", "", ""],
        ["nan", "1e30", "NA", "town 3", "3.0", "x"],
        ["-1e38", "0", "red", "", "9", "x"],
        ["0.5", "-0.0", "null", "town 59", "1", "x"],
    ]
    return rows + odd


def _answers(model: Any, rows: list[list[str]]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {}
    for one in session.get_inputs():
        cells = [row[list(KINDS).index(one.name)] for row in rows]
        if one.type == "tensor(string)":
            feed[one.name] = np.array(cells, dtype=object)[:, None]
        else:
            feed[one.name] = np.array([float(cell or "nan") for cell in cells], np.float32)[:, None]
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, feed), strict=True))


def _agree(folder: Path) -> None:
    rows = _questions()
    answers, expected = _answers(export(folder), rows), TabularPredictor.load(folder).predict(rows)
    if expected.values is not None:
        scale = np.abs(expected.values).max()
        np.testing.assert_allclose(answers["value"], expected.values, rtol=1e-6, atol=1e-6 * scale)
    else:
        np.testing.assert_allclose(answers["probabilities"], expected.probabilities, atol=1e-6)
        assert answers["label"].tolist() == expected.labels


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_answers_as_the_predictor_does(name: str, kind: str, tmp_path: Path) -> None:
    _agree(_archive(tmp_path, kind, (name,)))


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_of_two_classes_answers_as_the_predictor_does_where_the_problem_was_many(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_three = _target
    monkeypatch.setitem(TASKS, MULTICLASS, Task(MULTICLASS, 2, "Accuracy"))
    monkeypatch.setitem(CLASSES, MULTICLASS, ["a", "b"])
    monkeypatch.setitem(globals(), "_target", lambda table, kind: np.minimum(of_three(table, kind), 1))
    _agree(_archive(tmp_path, MULTICLASS, (name,)))


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_second_layer_and_a_calibration_are_part_of_the_graph(kind: str, tmp_path: Path) -> None:
    calibration = {"scale": 0.8, "bias": [0.1] * len(CLASSES[kind] or [])} if CLASSES[kind] else None
    names = ("lightgbm", "linear-learner", "extra-trees", "xgboost")
    _agree(_archive(tmp_path, kind, names, inputs=[[0], [1], [2]], calibration=calibration))


@pytest.mark.parametrize("kind", [BINARY, MULTICLASS])
def test_members_vote_by_their_calibrations_in_the_graph_and_feed_what_they_say(kind: str, tmp_path: Path) -> None:
    biased = {"scale": 1.7, "bias": [0.2, *[-0.1] * (len(CLASSES[kind] or []) - 1)]}
    own = {"lightgbm": {"scale": 0.6, "bias": []}, "extra-trees": biased}
    _agree(_archive(tmp_path, kind, ("lightgbm", "extra-trees", "xgboost"), inputs=[[0], [1]], calibrations=own))


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("name", ["lightgbm", "catboost", "xgboost"])
def test_crosses_are_part_of_the_graph(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMS, name, {"max_rounds": 25, "crosses": 2})
    folder = _archive(tmp_path, kind, (name,))
    assert Crosses.load(folder / "members/0") is not None
    _agree(folder)


@pytest.mark.parametrize("kind", list(TASKS))
def test_products_are_part_of_the_graph(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_color(table: pa.Table, kind: str) -> np.ndarray:
        size = np.array([float(text or 0.5) for text in table["size"].to_pylist()])
        signal = size * np.array([1 if text == "red" else -1 for text in table["color"].to_pylist()])
        return signal if kind == REGRESSION else np.digitize(signal, [0.0] if kind == BINARY else [-0.5, 0.5])

    monkeypatch.setitem(globals(), "_target", by_color)
    monkeypatch.setitem(PARAMS, "linear-learner", {"products": 50})
    folder = _archive(tmp_path, kind, ("linear-learner",))
    assert len(load_file(folder / "members/0/linear.safetensors")["left"]) > 0
    _agree(folder)


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "extra-trees"])
def test_target_statistics_are_part_of_the_graph(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_town(table: pa.Table, kind: str) -> np.ndarray:
        numbers = np.array([int(text.split()[1]) for text in table["town"].to_pylist()])
        signal = np.random.default_rng(4).normal(size=60)[numbers] + 0.2 * np.random.default_rng(5).normal(size=ROWS)
        return signal if kind == REGRESSION else np.digitize(signal, [0.0] if kind == BINARY else [-0.5, 0.5])

    monkeypatch.setitem(globals(), "_target", by_town)
    folder = _archive(tmp_path, kind, (name,))
    assert TargetStatistics.load(folder / "members/0") is not None
    _agree(folder)


def test_inputs_are_the_columns_that_are_used(tmp_path: Path) -> None:
    graph = export(_archive(tmp_path, BINARY, ("lightgbm",))).graph
    assert [one.name for one in graph.input] == ["size", "weight", "color", "town", "grade"]
    assert [one.name for one in graph.output] == ["label", "probabilities"]


@pytest.mark.parametrize("kind", ["text", "datetime"])
def test_a_column_without_a_form_in_onnx_is_named(kind: ColumnType, tmp_path: Path) -> None:
    folder = _archive(tmp_path, BINARY, ("linear-learner",))
    _pipeline(_table(), town=kind).save(folder / "pipeline")
    _sign(folder, BINARY, [Member("members/0", "linear-learner", 1.0)])
    with pytest.raises(CannotExport, match=f"column 'town' is read as {kind}"):
        export(folder)


def test_target_statistics_of_catboost_are_refused_by_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMS, "catboost", {"max_rounds": 25, "one_hot_max_size": 2})
    folder = _archive(tmp_path, BINARY, ("lightgbm", "catboost"))
    with pytest.raises(CannotExport, match=r"member members/1 \(catboost\).*target statistics"):
        export(folder)


@pytest.mark.parametrize("policy", ["Lossguide", "Depthwise"])
def test_catboosts_trees_that_are_not_symmetric_are_refused_and_another_candidate_is_named(
    policy: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(PARAMS, "catboost", {"max_rounds": 25, "grow_policy": policy})
    folder = _archive(tmp_path, BINARY, ("catboost",))
    with pytest.raises(CannotExport, match=r"members/0 \(catboost\).*not symmetric.*list-candidates.*-lightgbm-1\."):
        export(folder)


@pytest.mark.parametrize(("numeric", "number"), [(10, 3), (2, 3), (1, 2)])
def test_the_candidate_whose_trees_are_not_symmetric_has_the_name_that_is_documented(numeric: int, number: int) -> None:
    for rows, classes in ((1_000, 2), (1_000, 3), (200_000, 0)):
        rounds = portfolio.rounds(rows, 10, classes, list(engines.ENGINES), numeric)
        assert [(name, at) for name, at, params in rounds if "grow_policy" in params] == [("catboost", number)]


def test_numbers_as_people_write_them_are_named_as_such(tmp_path: Path) -> None:
    folder = _archive(tmp_path, BINARY, ("linear-learner",))
    table = _table()
    prices = pa.array([f"${1000 + i:,}" for i in range(ROWS)])
    _pipeline(table.set_column(1, "weight", prices)).save(folder / "pipeline")
    _sign(folder, BINARY, [Member("members/0", "linear-learner", 1.0)])
    with pytest.raises(CannotExport, match=r"'weight' holds numbers as people write them.*\$1,234"):
        export(folder)


def test_a_member_of_another_engine_is_named(tmp_path: Path) -> None:
    folder = _archive(tmp_path, BINARY, ("lightgbm",))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"lightgbm"', '"nn-torch"', 1))
    with pytest.raises(CannotExport, match="members/0 is a nn-torch model"):
        export(folder)


def test_the_command_writes_folders_and_archives(tmp_path: Path) -> None:
    folder = _archive(tmp_path / "model", BINARY, ("lightgbm",))
    pack(folder, tmp_path / "model.tar.gz")
    first = CliRunner().invoke(main, ["export", str(folder), "--format", "onnx", "--output", str(tmp_path / "a.onnx")])
    second = CliRunner().invoke(main, ["export", str(tmp_path / "model.tar.gz"), "--format", "onnx"])
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "inputs size, weight, color, town, grade" in first.output
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_the_command_refuses_other_formats_and_files(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"no archive")
    other = CliRunner().invoke(main, ["export", str(tmp_path), "--format", "pmml"])
    assert other.exit_code == 2
    assert "'pmml' is not 'onnx'" in other.output
    broken = CliRunner().invoke(main, ["export", str(tmp_path / "model.tar.gz"), "--format", "onnx"])
    assert broken.exit_code == 1
    assert "neither a model folder nor a model.tar.gz" in broken.output


def test_the_command_names_its_file_after_the_folder_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_archive(tmp_path / "model", BINARY, ("lightgbm",)))
    done = CliRunner().invoke(main, ["export", ".", "--format", "onnx"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "model.onnx").is_file()
