"""Data processing pipelines: what a matrix holds, and that a row is the same alone, among others, and after a save."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import profile
from pilothouse.errors import ConfigurationError
from pilothouse.problems.tabular.pipelines import pipeline as pipelines
from pilothouse.problems.tabular.pipelines.effects import Effects, Lessons
from pilothouse.problems.tabular.pipelines.menu import Kinds, menu
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec

WORDS = ["good", "bad", "fine", "poor", "great", "awful", "nice", "plain", "quick", "slow", "warm", "cold"]


def features(rows: int = 300, *, text: bool = True) -> tuple[Features, FeaturePipeline, list[list[str]]]:
    """Features of rows with missing numbers, an outlier, a rare level and free text; the pipeline; the rows."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, 3)) * [1, 50, 0.01]
    numbers[5, 0] = 1e9
    cells = [[f"{value:.6g}" for value in row] for row in numbers]
    for i in range(0, rows, 9):
        cells[i][1] = ""
    colours = rng.choice(["red", "green", "blue", "gold"], rows, p=[0.5, 0.3, 0.19, 0.01])
    codes = [f"k{i}" for i in rng.integers(0, 40, rows)]
    texts = [" ".join(rng.choice(WORDS, 12)) + f" item {i}" for i in range(rows)]
    data = [
        [*c, colour, code, *([t] if text else [])]
        for c, colour, code, t in zip(cells, colours, codes, texts, strict=True)
    ]
    names = ["a", "b", "c", "colour", "code", *(["note"] if text else [])]
    table = pa.table({name: [row[j] for row in data] for j, name in enumerate(names)})
    fitted = FeaturePipeline.fit(table, profile(table))
    return fitted.transform(table), fitted, data


def kinds(x: Features, rows: int = 300) -> Kinds:
    return Kinds(rows, x.numeric.shape[1], x.categorical.shape[1], x.sparse is not None)


ALGORITHMS = ("xgboost", "linear-learner", "mlp")
SPECS = menu(kinds(features(30)[0]), ALGORITHMS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_row_has_the_same_values_alone_among_others_and_after_a_save(tmp_path: Path, spec: PipelineSpec) -> None:
    x, fitted, rows = features()
    pipeline = DataPipeline.fit(spec, x)
    matrix = pipeline.transform(x)
    assert (matrix.dtype, matrix.shape) == (np.float32, (300, len(pipeline.names)))
    assert len(set(pipeline.names)) == len(pipeline.names)
    pipeline.save(tmp_path)
    loaded = DataPipeline.load(tmp_path)
    assert loaded.names == pipeline.names
    assert loaded.spec == spec
    for i in (0, 5, 9, 299):
        alone = loaded.transform(fitted.transform_rows([rows[i]]))
        np.testing.assert_array_equal(alone[0], matrix[i])
    assert np.isfinite(matrix).all() or spec.numbers == "raw"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_whatever_a_later_row_holds_it_has_a_place_in_the_matrix(spec: PipelineSpec) -> None:
    x, fitted, _ = features()
    pipeline = DataPipeline.fit(spec, x)
    strange = [["", "nan", "word", "violet", "", ""], ["1e300", "-1e30", "0", "red", "never", "new words only"]]
    matrix = pipeline.transform(fitted.transform_rows(strange))
    assert not np.isinf(matrix).any()
    assert np.isfinite(matrix).all() or spec.numbers == "raw"
    one_hot = [j for j, name in enumerate(pipeline.names) if name.startswith("colour:") and name[7:].isdigit()]
    assert not matrix[0, one_hot].any()


def test_the_matrix_is_written_as_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "SLICE_ROWS", 64)
    x, _, _ = features()
    pipeline = DataPipeline.fit(SPECS[0], x)
    pipeline.write(x, tmp_path / "matrix.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "matrix.npy"), pipeline.transform(x))


def test_a_pipeline_learns_from_its_training_rows_alone() -> None:
    x, _, _ = features(text=False)
    spec = PipelineSpec("dpp0", "linear-learner", "normal", hinges=True, one_hot=3, frequencies=True)
    changed = x.numeric.copy()
    changed[200:] *= 1000
    learnt = DataPipeline.fit(spec, x.take(slice(0, 200)))
    again = DataPipeline.fit(spec, replace(x, numeric=changed).take(slice(0, 200)))
    np.testing.assert_array_equal(learnt.transform(x), again.transform(x))


def test_the_commonest_levels_have_columns_and_the_others_a_share() -> None:
    x, _, _ = features(text=False)
    spec = PipelineSpec("dpp0", "mlp", "robust", one_hot=5, frequencies=True)
    pipeline = DataPipeline.fit(spec, x)
    code = [name for name in pipeline.names if name.startswith("code:") and name != "code:count"]
    assert code == ["code:1", "code:2", "code:3", "code:4", "code:5", "code:share"]
    matrix = pipeline.transform(x)
    share = matrix[:, pipeline.names.index("code:share")]
    column = x.categorical[:, x.categorical_names.index("code")]
    np.testing.assert_allclose(np.exp(share[0]), np.mean(column == column[0]), rtol=1e-6)


def lessons(classes: int, rows: int = 3000) -> Lessons:
    """A category of six levels and one of twelve, of which one is rare; the target depends on the first."""
    x, _, _ = features(30, text=False)
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(0, 6, rows), rng.integers(1, 12, rows)]).astype(np.int32)
    codes[:50, 1] = 12
    y = codes[:, 0] / 2 + rng.normal(size=rows)
    y = y if not classes else np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    return Lessons(replace(x.take(np.zeros(rows, int)), categorical=codes, cardinalities=[6, 13]), y, classes)


def test_effects_are_how_the_outcomes_of_a_level_differ_from_all() -> None:
    told = lessons(0)
    effects = Effects.fit(told, 0)
    assert effects.names == ["colour:effect", "code:effect"]
    found = effects.transform(told.x)
    codes, y = told.x.categorical, told.y
    for level in range(6):
        mine = y[codes[:, 0] == level]
        expected = (mine.sum() + 20 * y.mean()) / (len(mine) + 20) - y.mean()
        np.testing.assert_allclose(found[codes[:, 0] == level, 0], expected / y.std(), rtol=1e-5)
    assert not found[:50, 1].any()  # a level of fifty rows says nothing
    assert found[50:, 1].all()
    assert Effects.fit(told, 5).names == ["code:effect"]


def test_effects_of_classes_are_differences_of_log_odds() -> None:
    two, three, many = lessons(2), lessons(3), lessons(11)
    codes = two.x.categorical[:, 0]
    share = (two.y[codes == 5].sum() + 20 * two.y.mean()) / ((codes == 5).sum() + 20)
    expected = np.log(share / (1 - share)) - np.log(two.y.mean() / (1 - two.y.mean()))
    np.testing.assert_allclose(Effects.fit(two, 0).transform(two.x)[codes == 5, 0], expected, rtol=1e-5)
    assert Effects.fit(three, 0).names == [f"{name}:effect{i}" for name in ("colour", "code") for i in range(3)]
    assert Effects.fit(many, 0).names == []


def test_effects_count_weights_and_stay_few() -> None:
    told = lessons(10)
    assert Effects.fit(told, 0).names == [f"{name}:effect{i}" for name in ("colour", "code") for i in range(10)]
    wide = replace(told.x, categorical=np.tile(told.x.categorical, 3), cardinalities=[6, 13] * 3)
    wide = replace(wide, categorical_names=list("abcdef"))
    names = Effects.fit(replace(told, x=wide), 0).names
    assert sorted({name[0] for name in names}) == ["b", "d", "f"]
    plain = lessons(0)
    only = plain.x.categorical[:, 0] == 3
    weighted = Effects.fit(replace(plain, w=np.where(only, 1.0, 1e-9)), 0).transform(plain.x)
    assert abs(weighted[only, 0]).max() < 1e-6  # all that counts is of this level
    small = replace(plain, w=np.full(len(plain.y), 1e-3))
    np.testing.assert_allclose(Effects.fit(small, 0).table, Effects.fit(plain, 0).table)  # the scale says nothing


def test_a_pipeline_with_effects_is_the_same_after_a_save(tmp_path: Path) -> None:
    told = lessons(3)
    spec = PipelineSpec("dpp0", "linear-learner", "robust", one_hot=4, effects=True)
    pipeline = DataPipeline.fit(spec, told.x, lessons=told)
    assert [name for name in pipeline.names if "effect" in name] == [
        f"{c}:effect{i}" for c in ("colour", "code") for i in range(3)
    ]
    pipeline.save(tmp_path)
    np.testing.assert_array_equal(DataPipeline.load(tmp_path).transform(told.x), pipeline.transform(told.x))


def test_effects_are_for_data_that_one_split_judges() -> None:
    def asked(rows: int, categorical: int) -> set[bool]:
        return {spec.effects for spec in menu(Kinds(rows, 3, categorical, False), ALGORITHMS)}

    assert asked(50_000, 2) == {False} == asked(50_001, 0)
    assert asked(50_001, 2) == {True}


def test_normal_scores_do_not_depend_on_the_scale_of_a_number() -> None:
    x, _, _ = features(text=False)
    spec = PipelineSpec("dpp0", "mlp", "normal")
    cubed = replace(x, numeric=(x.numeric.astype(np.float64) * 7).astype(np.float32))
    one, other = (DataPipeline.fit(spec, each).transform(each) for each in (x, cubed))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("categorical", [0, 2])
@pytest.mark.parametrize("numeric", [0, 1, 5])
def test_every_algorithm_has_pipelines_that_fit_the_data(numeric: int, categorical: int, text: bool) -> None:
    if not (numeric or categorical or text):
        return
    specs = menu(Kinds(1000, numeric + 38 * text, categorical, text), ALGORITHMS)
    assert [spec.name for spec in specs] == [f"dpp{i}" for i in range(len(specs))]
    assert len({json.dumps({**spec.document(), "name": ""}) for spec in specs}) == len(specs) <= 10
    assert [spec.algorithm for spec in specs[:3]] == list(ALGORITHMS)
    assert any(spec.terms for spec in specs) == text
    assert categorical or not any(spec.one_hot or spec.ranks or spec.frequencies for spec in specs)
    if numeric == 5 and categorical:
        assert len(specs) >= 7


def test_long_data_get_fewer_one_hot_columns() -> None:
    assert Kinds(1_000, 2, 4, False).one_hot == 300
    assert Kinds(5_000_000, 2, 4, False).one_hot == 5


def test_what_another_release_wrote_is_refused(tmp_path: Path) -> None:
    x, _, _ = features(30)
    DataPipeline.fit(SPECS[0], x).save(tmp_path)
    document: dict[str, Any] = json.loads((tmp_path / "blocks.json").read_text())
    (tmp_path / "blocks.json").write_text(json.dumps({**document, "version": 99}))
    with pytest.raises(ConfigurationError, match="version 99"):
        DataPipeline.load(tmp_path)
    document["blocks"][0]["arrays"] = ["/../x"]
    (tmp_path / "blocks.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="outside"):
        DataPipeline.load(tmp_path)
