"""The resources and the trainers of the SageMaker Python SDK, version 3: the scripts of examples/sagemaker_v3."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

SDK = "sagemaker-v3"


def test_an_automl_job_its_model_and_its_endpoint_are_resources(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v3/automl.py", files.prices, "price", files.prices_score)
    name = done["name"]
    assert done["job"] == "Completed"
    assert len(done["candidates"]) == 2
    assert done["best"] in done["candidates"]
    assert done["first_version"] == ["Completed", "price"]
    assert done["proposal"] == ["Completed", "Regression"]
    assert done["variant"] == "main"
    assert len([float(answer) for answer in done["answers"]]) == 20
    kinds = ["AutoMLJob", "Model", "EndpointConfig", "Endpoint"]
    assert done["listed"] == {kind: [name] for kind in kinds}
    assert done["left"] == []


def test_a_training_job_and_a_tuning_job_are_resources(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v3/tune.py", files.labels)
    assert (done["trained"], done["tuned"]) == ("Completed", "Completed")
    assert done["metrics"]["validation:accuracy"] > 0.8
    assert len(done["trials"]) == 3
    assert done["trials"][done["best"]] == max(done["trials"].values())
    assert set(done["listed"]["TrainingJob"]) == {done["name"], *done["trials"]}
    assert done["listed"]["HyperParameterTuningJob"] == [done["name"]]
    assert any("validation accuracy" in line for line in done["log"])
    assert done["left"] == []


def test_a_script_is_trained_by_a_model_trainer_and_tuned(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v3/trainer.py", files.labels)
    assert (done["trained"], done["tuned"]) == ("Completed", "Completed")
    assert done["metrics"]["validation:accuracy"] > 0.8
    assert done["model"].endswith("/output/model.tar.gz")
    assert len(done["trials"]) == 3
    assert done["trials"][done["best"]] == max(done["trials"].values())
