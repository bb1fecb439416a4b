"""The stages of a tuned candidate: together they answer as one model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse import engines
from pilothouse.engines.base import Task
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import InputError
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.stages import (
    AlgorithmStage,
    FeatureStage,
    LabelStage,
    as_features,
    save_algorithm,
    save_features,
    save_labels,
)
from pilothouse.problems.tabular.verdict import Verdict

SPEC = PipelineSpec("dpp0", "xgboost", "raw", one_hot=10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rng = np.random.default_rng(0)
    a, colour = rng.normal(size=600), rng.choice(["red", "green", "blue"], 600)
    y = np.where(a + (colour == "red") + 0.1 * rng.normal(size=600) > 0.5, "yes", "no")
    table = pa.table({"a": [f"{v:.5f}" for v in a], "colour": colour.tolist(), "y": y.tolist()})
    return prepare(table, None, Reading("y"), tmp_path_factory.mktemp("data") / "dataset")


def verdict(calibration: Calibration | None = None) -> Verdict:
    return Verdict(0.4, calibration, {}, 0.0, 0.0, 0.0, 0.0)


def test_the_stages_answer_as_the_pipeline_and_the_model_do(tmp_path: Path, data: Dataset) -> None:
    pipeline = DataPipeline.fit(SPEC, data.features)
    on_matrix = Dataset(**{**vars(data), "features": as_features(pipeline.transform(data.features), pipeline.names)})
    task, engine = Task("BinaryClassification", 2, "F1"), engines.engine("xgboost")
    models = [engine.fit(on_matrix.features, data.y, None, task, {}, rounds=20, seed=seed) for seed in (1, 2)]
    calibration = Calibration(0.8, [0.1, -0.1])
    first = FeatureStage.load(save_features(tmp_path / "first", data, pipeline))
    second = AlgorithmStage.load(
        save_algorithm(tmp_path / "second", models, "xgboost", on_matrix, verdict(calibration), "F1")
    )
    third = LabelStage.load(save_labels(tmp_path / "third", data.classes or []))
    assert first.columns == data.columns == ["a", "colour"]
    assert (second.problem_type, second.classes_count, second.threshold) == ("BinaryClassification", 2, 0.4)
    assert third.classes == ["no", "yes"]
    rows = [["0.5", "red"], ["", "violet"], ["-1e3", ""]]
    matrix = first.transform(rows)
    assert (matrix.dtype, matrix.shape) == (np.float32, (3, second.width))
    mean = sum(model.predict(as_features(matrix)) for model in models) / 2
    np.testing.assert_allclose(second.predict(matrix), calibration(np.asarray(mean)), rtol=1e-6)
    np.testing.assert_allclose(second.predict(matrix[:1]), second.predict(matrix)[:1], rtol=1e-6)


def test_rows_and_matrices_of_another_width_are_the_senders_mistake(tmp_path: Path, data: Dataset) -> None:
    pipeline = DataPipeline.fit(SPEC, data.features)
    stage = FeatureStage.load(save_features(tmp_path / "first", data, pipeline))
    for rows in ([], [["1"]], [["1", "red", "x"]]):
        with pytest.raises(InputError):
            stage.transform(rows)
    with pytest.raises(InputError, match="columns is 4"):
        AlgorithmStage("Regression", 0, 4, None, []).predict(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("stage", [FeatureStage, AlgorithmStage])
def test_a_stage_loads_nothing_but_its_own_archive_unchanged(tmp_path: Path, data: Dataset, stage: Any) -> None:
    labels = save_labels(tmp_path / "labels", ["a", "b"])
    with pytest.raises(ConfigurationError, match="tabular-labels"):
        stage.load(labels)
    (labels / "classes.json").write_text(json.dumps(["b", "a"]))
    with pytest.raises(ConfigurationError, match="changed"):
        LabelStage.load(labels)
