"""The SageMaker Python SDK, version 2, as its users write it: the scripts of examples/sagemaker_v2."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

SDK = "sagemaker-v2"


def test_automl_trains_from_a_local_file_deploys_predicts_scores_and_cleans_up(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v2/automl.py", files.cells, "diagnosis", files.cells_score)
    assert done["job"] == "Completed"
    assert len(done["candidates"]) == 2
    assert done["best"] == done["attached"]
    assert done["best"] in done["candidates"]
    assert done["resolved"] == "BinaryClassification"
    assert done["containers"] == 3
    assert done["steps"] == ["TrainingJob", "TransformJob", "TrainingJob"]
    assert "cannot run here" in done["refusal"]
    assert [label for label, _ in done["answers"]] == [row.split(",")[0] for row in done["scored"][:3]]
    assert {label for label, _ in done["answers"]} <= {"benign", "malignant"}
    assert all(0 <= float(probability) <= 1 for _, probability in done["answers"])
    assert len(done["scored"]) == 20
    assert done["tags"] == [{"Key": "team", "Value": "health"}]


def test_automl_v2_trains_from_s3_deploys_itself_and_is_attached_to(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v2/automl_v2.py", files.prices, "price", files.prices_score)
    assert done["job"] == "Completed"
    assert len(done["candidates"]) == 3
    assert done["best"] in done["candidates"]
    assert len([float(answer) for [answer] in done["answers"]]) == 20
    assert done["answered_again"] == done["answers"]
    assert done["answered_later"] == [done["answers"]] * 2
    assert "Received data of unknown size" in done["failure"]
    assert done["problem"]["TabularJobConfig"]["TargetAttributeName"] == "price"
    assert done["problem"]["TabularJobConfig"]["Mode"] == "ENSEMBLING"
    assert done["proposed"] == "CandidateDefinitionsGenerated"
    assert [channel["ChannelType"] for channel in done["channels"]] == ["training"]


def test_a_script_is_trained_and_tuned(station: Any, files: Any) -> None:
    done = station.example(SDK, "sagemaker_v2/tune.py", files.labels)
    assert (done["trained"], done["tuned"]) == ("Completed", "Completed")
    assert done["metrics"]["validation:accuracy"] > 0.8
    assert done["model"].endswith("/output/model.tar.gz")
    values = {trial["TrainingJobName"]: trial["FinalObjectiveValue"] for trial in done["trials"]}
    assert len(values) == 4
    assert done["best"] == done["attached"]
    assert values[done["best"]] == max(values.values())
    assert done["best_model"].endswith(f"{done['best']}/output/model.tar.gz")
    assert done["best_hyperparameters"]["epochs"] == "5"
