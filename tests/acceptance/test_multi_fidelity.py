"""A tuned job on data that count as large: what its rungs let through, what they stop, and what clients see of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pilothouse import composition
from pilothouse.automl import job as automl
from pilothouse.automl import mode
from pilothouse.config import Settings
from pilothouse.launch.local import LocalLauncher
from pilothouse.operations import candidates, training
from pilothouse.problems.tabular import tuned
from pilothouse.tuning.hyperband import FACTOR
from pilothouse.work.job import Job
from pilothouse.work.kinds import KINDS

pytestmark = pytest.mark.slow

PRELOADED = (
    "xgboost",
    "sklearn.metrics",
    "pyarrow.csv",
    "safetensors.numpy",
    "pilothouse.automl.tasks",
    "pilothouse.automl.tuned.tasks",
    "pilothouse.problems.tabular.read",
    "pilothouse.problems.tabular.tuned",
)
KIND, NAME = "automl-job", "large"
REQUEST: dict[str, Any] = {
    "AutoMLJobName": NAME,
    "InputDataConfig": [
        {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train.csv"}},
            "TargetAttributeName": "y",
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://data/out"},
    "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
    "AutoMLJobConfig": {
        "Mode": "HYPERPARAMETER_TUNING",
        "CompletionCriteria": {"MaxCandidates": 8},
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}]},
    },
}


def table(rows: int = 2000) -> bytes:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + 0.5 * rng.normal(size=rows) > 0
    lines = [",".join([*(f"{value:.4f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True)]
    return "\n".join(["a,b,c,d,e,f,y", *lines]).encode()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What operations say of the job, which has run with one slot, and with low thresholds, in this process."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), slots=1)
    back = composition.back(settings)
    back.store.migrate()
    back.objects.create_bucket("data")
    back.objects.put("data", "train.csv", table())
    back.store.insert(KIND, NAME, REQUEST, status="InProgress")
    lease = back.leases.claim([KIND], owner="test", ttl=600)
    assert lease is not None
    launcher = LocalLauncher(settings, PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mode, "LARGE", 1000)
        patch.setattr(tuned, "FOLDED_ROWS", 1000)
        patch.setattr("pilothouse.automl.tuned.trials.seed_of", lambda *_: 1)
        job = Job(KINDS[KIND], lease, store=back.store, objects=back.objects, launcher=launcher, settings=settings)
        automl.run(job)
    launcher.close()
    yield composition.front(settings, back.store, lambda: None)
    back.store.close()


def rows(context: Any) -> list[Any]:
    return list(context.store.children("candidate", (KIND, NAME)))


def losses(row: Any) -> list[float]:
    return [-value for value in row.state["_objective"]["reports"]]


def passes(rung: int, rows: list[Any]) -> bool:
    """Whether the last of these trials is among the best third of those that came to the rung."""
    there = [losses(row)[rung - 1] for row in rows if len(losses(row)) >= rung]
    return len(there) < FACTOR or sum(loss < there[-1] for loss in there) < len(there) // FACTOR


def test_a_trial_goes_on_from_a_rung_in_the_best_third_of_those_that_were_there(ended: Any) -> None:
    found = rows(ended)
    assert len(found) == 8
    stopped = [row for row in found if row.status == "Stopped"]
    assert stopped
    assert {row.status for row in found} == {"Stopped", "Completed"}
    for place, row in enumerate(found):
        went_on = [passes(rung, found[: place + 1]) for rung in (3, 9, 27, 81) if rung <= len(losses(row))]
        assert all(went_on[:-1])
        assert row.status == "Completed" or not went_on[-1]
    promoted = [row for row in found[FACTOR - 1 :] if row.status == "Completed" and len(losses(row)) > 3]
    assert promoted


def test_a_candidate_that_was_stopped_early_says_so_and_has_no_model(ended: Any) -> None:
    listed = candidates.list_candidates_for_auto_ml_job(ended, {"AutoMLJobName": NAME})["Candidates"]
    described = {each["CandidateName"]: each for each in listed}
    for row in rows(ended):
        shown = described[row.name]
        own = training.describe_training_job(ended, {"TrainingJobName": row.name})
        assert shown["CandidateStatus"] == own["TrainingJobStatus"] == own["SecondaryStatus"] == row.status
        stopped = row.status == "Stopped"
        assert shown["ObjectiveStatus"] == ("Failed" if stopped else "Succeeded")
        assert ("stopped early" in shown.get("FailureReason", "")) == stopped
        for member in ("FinalAutoMLJobObjectiveMetric", "InferenceContainers", "CandidateProperties"):
            assert (member in shown) != stopped
        assert bool(own.get("FinalMetricDataList")) != stopped
        assert shown["EndTime"] >= shown["CreationTime"]
    assert described[ended.store.get(KIND, NAME).state["_best"]]["CandidateStatus"] == "Completed"
