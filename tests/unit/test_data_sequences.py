"""Sequences of numbers: what is told of them, and that it is the same on every way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pilothouse import engines
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.profile import profile
from pilothouse.data.sequences import STATISTICS, SequenceEncoder, numbers, statistics
from pilothouse.engines.base import Task
from pilothouse.problems.tabular import stages
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.specification import FeatureSpecification

ODD = ["", "x", "1", "1,1,1,1,1", "1e308,-1e308,1e308,1e308,-1e308", "[1, 2,,nan,3]", ",", "1,2,\ud800", "1e400,2"]


def told(text: str) -> dict[str, float]:
    return dict(zip(STATISTICS, statistics(text), strict=True))


def text(values: np.ndarray) -> str:
    return ",".join(f"{value:.6f}" for value in values)


def test_a_sequence_is_told_by_its_values_their_order_and_its_waves() -> None:
    ramp = told("0,1,2,3,4")
    assert (ramp["count"], ramp["mean"], ramp["median"], ramp["minimum"], ramp["maximum"]) == (5, 2, 2, 0, 4)
    assert ramp["deviation"] == pytest.approx(math.sqrt(2))
    assert (ramp["first"], ramp["last"], ramp["slope"], ramp["mean_step"], ramp["peaks"]) == (0, 4, 4, 1, 0)
    assert (ramp["place_of_minimum"], ramp["place_of_maximum"], ramp["crossings"]) == (0, 1, 0.2)
    wave = told(text(np.sin(2 * np.pi * np.arange(100) / 10)))
    assert wave["frequency"] == pytest.approx(0.1)
    assert wave["regularity"] == pytest.approx(1, abs=1e-6)
    assert wave["autocorrelation_10"] == pytest.approx(0.9, abs=0.01)
    assert wave["autocorrelation_5"] == pytest.approx(-0.95, abs=0.01)
    assert wave["skewness"] == pytest.approx(0, abs=1e-6)
    assert wave["kurtosis"] == pytest.approx(1.5, abs=1e-6)


def test_what_is_no_finite_number_is_left_out_and_nothing_is_ever_infinite() -> None:
    assert numbers("[1, 2,,nan,3]").tolist() == [1, 2, 3]
    for odd in ODD:
        values = np.array(statistics(odd), np.float32)
        assert not np.isinf(values).any()
    assert np.isnan(statistics("")).all()
    assert math.isnan(told("1,1,1,1,1")["skewness"])


def test_only_statistics_that_vary_in_training_become_features() -> None:
    encoder = SequenceEncoder.fit("s", ["1,2", "3,4", "5,6"])
    assert "s:mean" in encoder.names
    assert not {"s:count", "s:slope", "s:frequency"} & set(encoder.names)
    assert SequenceEncoder.fit("s", ["", "x"]).names == ["s:mean"]


def test_tables_and_rows_and_a_saved_pipeline_give_the_same_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [text(rng.normal(size=rng.integers(1, 40))) for _ in range(60)]
    fitted = FeaturePipeline.fit(pa.table({"s": texts}), profile(pa.table({"s": texts}), types={"s": "sequence"}))
    rows = [*texts, *(odd for odd in ODD if odd.isprintable())]
    whole = fitted.transform(pa.table({"s": rows})).numeric
    np.testing.assert_array_equal(whole, fitted.transform_rows([[row] for row in rows]).numeric)
    for place, row in enumerate(rows[-12:], len(rows) - 12):
        np.testing.assert_array_equal(whole[place : place + 1], fitted.transform_rows([[row]]).numeric)
    fitted.save(tmp_path)
    assert json.loads((tmp_path / "pipeline.json").read_text())["version"] == 3
    np.testing.assert_array_equal(whole, FeaturePipeline.load(tmp_path).transform(pa.table({"s": rows})).numeric)


def test_a_column_is_a_sequence_by_a_users_word_only() -> None:
    table = pa.table({"s": [f"{i},{i + 1},{i + 2}" for i in range(50)]})
    assert profile(table)[0].type != "sequence"
    assert profile(table, types={"s": "sequence"})[0].type == "sequence"


def test_a_model_learns_from_sequences_what_their_values_alone_do_not_tell(tmp_path: Path) -> None:
    rng, at = np.random.default_rng(1), np.arange(32)
    slow = np.arange(600) % 2 == 0
    waves = [text(np.sin(2 * np.pi * at * (1 if s else 4) / 32 + rng.uniform(0, 6)) + rng.normal(0, 0.1)) for s in slow]
    table = pa.table({"s": waves, "y": ["slow" if s else "fast" for s in slow]})
    reading = Reading("y", specification=FeatureSpecification(types={"s": "sequence"}))
    data = prepare(table, None, reading, tmp_path / "dataset")
    pipeline = DataPipeline.fit(PipelineSpec("dpp0", "xgboost", "raw"), data.features.take(data.rows(TRAIN)))
    matrix = stages.as_features(pipeline.transform(data.features), pipeline.names)
    train, validation = data.rows(TRAIN), data.rows(VALIDATION)
    task = Task(data.problem_type, 2, "Accuracy")
    model = engines.engine("xgboost").fit(matrix.take(train), data.y[train], None, task, {}, rounds=10)
    chances = np.asarray(model.predict(matrix.take(validation)))
    assert (chances.argmax(axis=1) == data.y[validation]).mean() > 0.98
