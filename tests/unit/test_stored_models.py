"""Models that earlier releases wrote: this one loads them and predicts what they predicted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pilothouse import engines
from pilothouse.catalog import algorithms
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.contract.pack import unpack
from pilothouse.data.features import Features
from pilothouse.engines import catboost_file
from pilothouse.engines.base import Task
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import load_predictor
from pilothouse.problems.tabular.pipelines import pipeline
from pilothouse.problems.tabular.stages import AlgorithmStage, FeatureStage, LabelStage

MODELS = Path(__file__).parent.parent / "data" / "models"
STAGED = sorted(path.parent.relative_to(MODELS) for path in MODELS.glob("*/*/expected.json"))
STORED = sorted(path.relative_to(MODELS) for path in MODELS.glob("*/*.tar.gz"))


def load_engine(algorithm: Path) -> str:
    """The engine of a stage's first member."""
    return str(json.loads((algorithm / "manifest.json").read_text())["members"][0]["engine"])


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_a_stored_model_predicts_what_it_predicted(stored: Path, tmp_path: Path) -> None:
    unpack(MODELS / stored, tmp_path)
    expected = json.loads((MODELS / str(stored).replace(".tar.gz", ".json")).read_text())
    prediction = load_predictor(tmp_path).predict(expected["questions"])
    if prediction.values is not None:
        np.testing.assert_allclose(prediction.values, expected["values"], rtol=1e-5, atol=1e-6)
        return
    assert prediction.labels == expected["labels"]
    np.testing.assert_allclose(prediction.probabilities, expected["probabilities"], atol=1e-6)


def test_a_model_is_stored_for_every_engine_of_the_first_release() -> None:
    wanted = sorted([*engines.ENGINES, "ensemble", "stacked", "calibrated", "crossed", "values", "classes"])
    assert [path.name for path in STORED if path.parent.name == "0.1.0"] == [f"{name}.tar.gz" for name in wanted]


@pytest.mark.parametrize("name", ["values", "classes"])
def test_stored_ensembles_have_what_single_models_lack(name: str, tmp_path: Path) -> None:
    unpack(MODELS / "0.1.0" / f"{name}.tar.gz", tmp_path)
    assert any(len(load_file(path)["left"]) for path in tmp_path.rglob("linear.safetensors"))
    assert [catboost_file.read(path) for path in tmp_path.rglob("model.cbm")] == [None]  # not symmetric
    assert list(tmp_path.rglob("statistics.safetensors"))
    pipeline = (tmp_path / "pipeline" / "pipeline.json").read_text()
    assert '"written": true' in pipeline
    assert '"sequence"' in pipeline


def test_stored_models_have_the_lowest_version_whose_readers_know_them(tmp_path: Path) -> None:
    for name, version in (("calibrated", 3), ("stacked", 2), ("lightgbm", 1)):
        unpack(MODELS / "0.1.0" / f"{name}.tar.gz", tmp_path / name)
        assert json.loads((tmp_path / name / "manifest.json").read_text())["version"] == version


@pytest.mark.parametrize("stored", STAGED, ids=str)
def test_the_stored_stages_of_a_candidate_answer_as_they_did(stored: Path, tmp_path: Path) -> None:
    folder = MODELS / stored
    for archive in folder.glob("*.tar.gz"):
        unpack(archive, tmp_path / archive.name.removesuffix(".tar.gz"))
    expected = json.loads((folder / "expected.json").read_text())
    matrix = FeatureStage.load(tmp_path / "features").transform(expected["questions"])
    np.testing.assert_allclose(matrix, np.array(expected["matrix"], dtype=np.float64), rtol=1e-6, atol=1e-6)
    predicted = AlgorithmStage.load(tmp_path / "algorithm").predict(matrix)
    np.testing.assert_allclose(predicted, expected["predicted"], rtol=1e-5, atol=1e-6)
    labels = LabelStage.load(tmp_path / "labels").classes if expected["classes"] else None
    assert labels == expected["classes"]


def test_a_candidate_in_stages_is_stored_for_every_algorithm_and_every_kind_of_block(tmp_path: Path) -> None:
    seen = set()
    for stored in STAGED:
        for part in ("features", "algorithm"):
            unpack(MODELS / stored / f"{part}.tar.gz", tmp_path / stored.name / part)
        blocks = json.loads((tmp_path / stored.name / "features" / "blocks" / "blocks.json").read_text())["blocks"]
        seen |= {block["kind"] for block in blocks} | {load_engine(tmp_path / stored.name / "algorithm")}
    assert seen == {*pipeline._BLOCKS, *algorithms.BY_MODE[algorithms.TUNING_MODE]}


@pytest.mark.parametrize("change", ["bytes", "missing", "unlisted"])
def test_a_model_whose_files_are_not_those_of_its_manifest_is_refused(change: str, tmp_path: Path) -> None:
    unpack(MODELS / "0.1.0" / "lightgbm.tar.gz", tmp_path)
    file = next((tmp_path / "members").rglob("model.txt"))
    if change == "bytes":
        file.write_bytes(file.read_bytes().replace(b"leaf_value=", b"leaf_value= ", 1))
    elif change == "missing":
        file.unlink()
    else:
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    with pytest.raises(ConfigurationError):
        load_predictor(tmp_path)


def _with(folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """The stored model with one of its files changed; the folder of its member."""
    unpack(MODELS / "0.1.0" / name, folder)
    [file] = (folder / "members" / "0").glob("model.txt")
    file.write_bytes(change(file.read_bytes()))
    return file.parent


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b"num_class=1", b"num_class=9", "num_class 9"),
        (b"num_tree_per_iteration=1", b"num_tree_per_iteration=9", "num_tree_per_iteration 9"),
        (b"objective=binary sigmoid:1", b"objective=multiclass num_class:9", "multiclass num_class:9"),
        (b"max_feature_idx=44", b"max_feature_idx=33", "split_feature"),
        (b"split_feature=0 44", b"split_feature=0 -4", "split_feature"),
        (b"left_child=1 2 -1", b"left_child=1 9 -1", "left_child"),
        (b"left_child=1 2 -1", b"left_child=1 0 -1", "left_child"),
        (b"right_child=-2 4", b"right_child=-9 4", "right_child"),
        (b"right_child=-2 4", b"right_child=-2 x", "right_child"),
        (b"num_leaves=6", b"num_leaves=7", "leaf_value"),
        (b"num_leaves=6", b"num_leaves=0", "no leaves"),
        (b"num_cat=1", b"num_cat=0", "set of categories"),
        (b"tree_sizes=789", b"tree_sizes=788", "tree_sizes"),
        (b"\nshrinkage", b"\nnum_cat=1\nshrinkage", "tree_sizes|twice"),
        (b"\n\nTree=0", b"\n\nnum_class=9\n\nTree=0", "twice"),
        (b"\n\nTree=0", b"\n=num_class=9\n\nTree=0", "no name"),
        (b"end of trees", b"end of three", "no end"),
    ],
)
def test_boosters_that_would_read_or_write_out_of_bounds_are_refused(
    tmp_path: Path, old: bytes, new: bytes, complaint: str
) -> None:
    member = _with(tmp_path, "lightgbm.tar.gz", lambda text: text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=complaint):
        engines.load(member, "lightgbm")


def test_a_booster_of_other_classes_than_its_facts_is_refused(tmp_path: Path) -> None:
    member = _with(tmp_path, "lightgbm.tar.gz", lambda text: text)
    (member / "model.json").write_text('{"n_classes": 3, "rounds": 40}')
    with pytest.raises(ConfigurationError, match="3 classes"):
        engines.load(member, "lightgbm")


@pytest.mark.parametrize(("kind", "classes"), [(REGRESSION, 0), (BINARY, 2), (MULTICLASS, 2), (MULTICLASS, 4)])
def test_own_boosters_are_loaded_and_answer_a_row_as_they_do_many(kind: str, classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numeric, codes = rng.normal(size=(200, 2)).astype(np.float32), rng.integers(0, 20, (200, 1)).astype(np.int32)
    x = Features(numeric, codes, ["a", "b"], ["c"], [20])
    y = codes[:, 0] % classes if classes else numeric[:, 0].astype(np.float64)
    engine = engines.engine("lightgbm")
    engine.fit(x, y, None, Task(kind, classes, "F1"), {"min_data_in_leaf": 2}, rounds=5).save(tmp_path)
    model = engine.load(tmp_path)
    np.testing.assert_allclose(model.predict(x.take(slice(0, 1))), model.predict(x)[:1], rtol=1e-9)
    narrow = Features(numeric[:1, :1], codes[:1, :0], ["a"], [], [])
    with pytest.raises(ConfigurationError, match="takes 3 features"):
        model.predict(narrow)


@pytest.mark.parametrize(
    ("name", "value"), [("child", 10**6), ("child", -1), ("child", 0), ("feature", 3000), ("feature", -2), ("root", -1)]
)
def test_forests_whose_walks_would_not_end_at_a_leaf_are_refused(name: str, value: int, tmp_path: Path) -> None:
    unpack(MODELS / "0.1.0" / "extra-trees.tar.gz", tmp_path)
    file = tmp_path / "members" / "0" / "forest.safetensors"
    arrays = load_file(file)
    arrays[name][0] = value
    save_file(arrays, file)
    with pytest.raises(ConfigurationError, match="lead nowhere"):
        engines.load(file.parent, "extra-trees")


@pytest.mark.parametrize("name", ["child", "root"])
def test_forests_whose_nodes_outnumber_their_numbers_are_refused(name: str, tmp_path: Path) -> None:
    """The node behind number 127 would be -128, from where a walk goes round in circles."""
    nodes, places = 301, np.arange(0, 126, 2)
    feature, child = np.full(nodes, -1, np.int8), np.zeros(nodes, np.int32)
    feature[places], child[places] = 0, places + 1
    feature[126], child[126] = 0, 127
    arrays = {"root": np.zeros(1, np.int32), "feature": feature, "cut": np.zeros(nodes, np.float32), "child": child}
    arrays |= {"value": np.zeros((1, 1), np.float32), "median": np.zeros(1, np.float32)}
    save_file(arrays, tmp_path / "forest.safetensors")
    engines.load(tmp_path, "extra-trees")
    save_file({**arrays, name: arrays[name].astype(np.int8)}, tmp_path / "forest.safetensors")
    with pytest.raises(ConfigurationError, match="lead nowhere"):
        engines.load(tmp_path, "extra-trees")


@pytest.mark.parametrize("roots", ["two alike", "backwards", "beyond the nodes", "not from the first"])
def test_forests_with_trees_that_have_no_nodes_are_refused(roots: str, tmp_path: Path) -> None:
    unpack(MODELS / "0.1.0" / "extra-trees.tar.gz", tmp_path)
    file = tmp_path / "members" / "0" / "forest.safetensors"
    arrays = load_file(file)
    root, nodes = arrays["root"], len(arrays["child"])
    changed = {"two alike": root[[0, 1, 1]], "backwards": root[::-1], "beyond the nodes": np.append(root, nodes)}
    changed["not from the first"] = root[1:]
    save_file({**arrays, "root": np.ascontiguousarray(changed[roots].astype(root.dtype))}, file)
    with pytest.raises(ConfigurationError, match="lead nowhere"):
        engines.load(file.parent, "extra-trees")
