"""The leaderboard of a job: its rows, its best, and how candidates end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.automl import candidates, deploy
from pilothouse.automl import job as story
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.opening import of_ensembling
from pilothouse.automl.trials import OUT_OF_TIME
from pilothouse.catalog.metrics import METRICS
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import JobFailed, LeaseLost, ServiceUnavailable, StoreAway
from pilothouse.store.store import Store

REQUEST = {
    "AutoMLJobName": "Churn",
    "InputDataConfig": [
        {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}},
            "TargetAttributeName": "y",
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
    "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
}


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """What a board needs of a job: a leased row in a real store."""
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    row = store.insert("automl-job", "Churn", REQUEST, status="InProgress")
    lease = store.leases.claim(["automl-job"], owner="test", ttl=60)

    def update(**changes: Any) -> None:
        store.update("automl-job", "Churn", lease=lease, **changes)

    return SimpleNamespace(
        store=store,
        lease=lease,
        resource=row,
        request=REQUEST,
        settings=settings,
        update=update,
        log=lambda message: None,
    )


def board(job: Any, metric: str = "F1", problem_type: str = "BinaryClassification") -> Board:
    return Board(job, TabularJob.of(REQUEST), metric, problem_type)


def begin(leaderboard: Board, name: str) -> None:
    uri = leaderboard.model_uri(name)
    opening = of_ensembling(leaderboard.job, leaderboard.spec, leaderboard.problem_type, name, uri)
    leaderboard.open(name, opening)


def result(
    value: float | None,
    metric: str = "F1",
    latency: float = 0.01,
    noise: float = 0.0,
    score: float | None = None,
    standing: float | None = None,
) -> dict[str, Any]:
    measured = {} if value is None else {metric: 0.4}
    metrics = {"Validation": {**measured, "LogLoss": 0.5, "InferenceLatency": latency}}
    own = (value or 0.0) if METRICS[metric].direction == "Maximize" else -(value or 0.0)
    chosen_by = {"standing": value if standing is None else standing, "noise": noise}
    return {
        "ranking": value,
        **chosen_by,
        "score": own if score is None else score,
        "metrics": metrics,
        "latency": latency,
    }


def test_a_candidate_and_its_step_begin_and_end_together(job: Any) -> None:
    leaderboard = board(job)
    begin(leaderboard, "Churn-a")
    begin(leaderboard, "Churn-a")
    step = job.store.get("processing-job", "Churn-a")
    assert (step.status, step.parent) == ("InProgress", ("automl-job", "Churn"))
    leaderboard.complete("Churn-a", result(0.8))
    row = job.store.get("candidate", "Churn-a")
    assert (row.status, job.store.get("processing-job", "Churn-a").status) == ("Completed", "Completed")
    container = row.state["InferenceContainers"][0]
    assert container["ModelDataUrl"] == "s3://bucket/out/Churn/sagemaker-automl-candidates/model/Churn-a/model.tar.gz"
    assert job.store.get("automl-job", "Churn").state["_best"] == "Churn-a"


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("F1", [0.7, 0.9, 0.8], "c1"),
        ("MSE", [0.7, 0.9, 0.8], "c0"),
        ("F1", [0.9, 0.9, 0.2], "c1"),
        ("MSE", [10.0, 10.001, 15.0, 1e6], "c1"),
        ("MSE", [10.0, 10.1, 15.0, 1e6], "c0"),
    ],
)
def test_the_best_has_the_best_objective_and_of_equals_is_the_quicker(
    job: Any, metric: str, values: list[float], best: str
) -> None:
    leaderboard = board(job, metric)
    for i, value in enumerate(values):
        begin(leaderboard, f"c{i}")
        leaderboard.complete(f"c{i}", result(value, metric, latency=1.0 / (i + 1)))
    assert job.store.get("automl-job", "Churn").state["_best"] == best


def test_of_candidates_within_noise_the_best_score_wins(job: Any) -> None:
    leaderboard = board(job)
    for name, value, score in (("lucky", 0.81, 0.3), ("sound", 0.80, 0.4), ("worse", 0.78, 0.5)):
        begin(leaderboard, name)
        leaderboard.complete(name, result(value, noise=0.02, score=score))
    assert job.store.get("automl-job", "Churn").state["_best"] == "sound"


def test_of_candidates_within_noise_the_ensemble_is_the_best_but_not_beyond(job: Any) -> None:
    leaderboard = board(job)
    for name, value, score in (("single", 0.81, 0.4), ("Churn-ensemble", 0.80, 0.3)):
        begin(leaderboard, name)
        leaderboard.complete(name, result(value, noise=0.02, score=score))
    assert job.store.get("automl-job", "Churn").state["_best"] == "Churn-ensemble"
    begin(leaderboard, "better")
    leaderboard.complete("better", result(0.84, noise=0.02, score=0.4))
    assert job.store.get("automl-job", "Churn").state["_best"] == "better"


@pytest.mark.parametrize(("layer", "best"), [(1, "Churn-ensemble"), (2, "stacked"), (None, "stacked")])
def test_a_stacked_candidate_is_not_the_best_where_the_ensemble_kept_to_the_first_layer(
    job: Any, layer: int | None, best: str
) -> None:
    leaderboard = board(job)
    ensemble = {} if layer is None else {"Churn-ensemble": (0.81, layer)}
    for name, (value, of) in ({"single": (0.80, 1), "stacked": (0.90, 2)} | ensemble).items():
        begin(leaderboard, name)
        leaderboard.complete(name, {**result(value, noise=0.02), "layer": of})
    assert job.store.get("automl-job", "Churn").state["_best"] == best
    assert job.store.get("candidate", "stacked").state["FinalAutoMLJobObjectiveMetric"]["Value"] == 0.90


def test_in_regression_too_the_ensemble_is_the_best_of_those_within_noise(job: Any) -> None:
    leaderboard = board(job, "RMSE", "Regression")
    for name, value in (("single", 10.0), ("Churn-ensemble", 10.1), ("other", 12.0)):
        begin(leaderboard, name)
        leaderboard.complete(name, result(value, "RMSE", noise=0.2))
    assert job.store.get("automl-job", "Churn").state["_best"] == "Churn-ensemble"


def test_candidates_are_chosen_by_rows_as_they_will_be_met_and_shown_by_unseen_ones(job: Any) -> None:
    leaderboard = board(job)
    for name, value, standing in (("knows-copies", 0.6, 0.9), ("knows-none", 0.7, 0.7)):
        begin(leaderboard, name)
        leaderboard.complete(name, result(value, standing=standing))
    assert job.store.get("automl-job", "Churn").state["_best"] == "knows-copies"
    shown = job.store.get("candidate", "knows-copies").state["FinalAutoMLJobObjectiveMetric"]
    assert shown["Value"] == 0.6


def test_the_objective_shown_is_what_the_best_is_chosen_by(job: Any) -> None:
    leaderboard = board(job)
    begin(leaderboard, "Churn-a")
    leaderboard.complete("Churn-a", result(0.8))
    state = job.store.get("candidate", "Churn-a").state
    assert state["FinalAutoMLJobObjectiveMetric"]["Value"] == 0.8
    shown = {m["StandardMetricName"]: m["Value"] for m in state["CandidateProperties"]["CandidateMetrics"]}
    assert shown["F1"] == 0.4


def test_a_candidate_without_the_objective_fails_and_says_so(job: Any) -> None:
    begin(board(job, "AUC"), "a")
    board(job, "AUC").complete("a", result(None))
    row = job.store.get("candidate", "a")
    assert (row.status, row.state["ObjectiveStatus"]) == ("Failed", "Failed")
    assert "AUC is not defined" in row.state["FailureReason"]
    assert board(job, "AUC").best() is None


def test_a_candidate_that_has_ended_is_not_ended_again(job: Any) -> None:
    leaderboard = board(job)
    begin(leaderboard, "a")
    leaderboard.complete("a", result(0.8))
    leaderboard.fail("a", "too late")
    candidates.end_open(job, "stopped")
    assert job.store.get("candidate", "a").status == "Completed"


def test_a_candidate_and_its_step_end_in_one_write(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(board(job), "a")
    update = job.store.update

    def killed(kind: str, name: str, **changes: Any) -> Any:
        if kind == "candidate":
            raise KeyboardInterrupt
        return update(kind, name, **changes)

    monkeypatch.setattr(job.store, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        board(job).fail("a", "too late", status="Stopped")
    assert job.store.get("processing-job", "a").status == "InProgress"  # else the candidate, trained again, differed


def test_candidates_in_progress_end_with_the_job(job: Any) -> None:
    begin(board(job), "a")
    candidates.end_open(job, "The AutoML job was stopped.")
    assert job.store.get("candidate", "a").status == "Stopped"
    assert job.store.get("processing-job", "a").state["FailureReason"] == "The AutoML job was stopped."


def test_a_board_without_its_lease_writes_nothing(job: Any) -> None:
    begin(board(job), "a")
    job.store.leases.release(job.lease)
    with pytest.raises(LeaseLost):
        board(job).complete("a", result(0.8))
    assert job.store.get("candidate", "a").status == "InProgress"
    with pytest.raises(LeaseLost):
        begin(board(job), "b")
    assert job.store.get("candidate", "b") is None


def test_who_lost_the_lease_deploys_nothing(job: Any) -> None:
    best = SimpleNamespace(name="best", state={"InferenceContainers": []})
    job.name = "Churn"
    job.store.leases.release(job.lease)
    with pytest.raises(LeaseLost):
        deploy.run(job, TabularJob.of(REQUEST), best)  # type: ignore[arg-type]
    assert job.store.count("model") == 0


def test_an_endpoint_that_a_killed_run_had_created_is_told_though_the_time_is_over(job: Any) -> None:
    late, spec = Budget(now() - 101, 100, None), TabularJob.of({**REQUEST, "ModelDeployConfig": {"EndpointName": "e"}})
    job.name, job.stop_requested, job.once = "Churn", False, lambda _, do: do()
    begin(board(job), "a")
    board(job).complete("a", result(0.8))
    assert story._deploy(job, spec, board(job), late) == story.NOT_DEPLOYED
    assert job.store.count("endpoint") == 0
    job.store.insert("endpoint", "e", {}, status="InService", parent=("automl-job", "Churn"))
    assert story._deploy(job, spec, board(job), late) is None
    assert job.store.get("automl-job", "Churn").state["ModelDeployResult"] == {"EndpointName": "e"}


def test_a_job_that_had_no_time_to_deploy_says_so_and_that_its_time_was_over(job: Any) -> None:
    story._complete(job, story.MAX_RUNTIME_REACHED, story.NOT_DEPLOYED, None)
    row = job.store.get("automl-job", "Churn")
    assert (row.status, row.state["AutoMLJobSecondaryStatus"]) == ("Completed", "MaxAutoMLJobRuntimeReached")
    assert row.state["PartialFailureReasons"] == [{"PartialFailureMessage": story.NOT_DEPLOYED}]


@pytest.mark.parametrize(("host", "left"), [(None, None), ("here", "Deleting")])
def test_a_job_that_is_stopped_while_it_deploys_leaves_no_endpoint(
    job: Any, host: str | None, left: str | None
) -> None:
    request = {**REQUEST, "ModelDeployConfig": {"EndpointName": "e"}}
    job.name, job.request, job.stop_requested, job.once = "Churn", request, True, lambda _, do: do()
    state = {} if host is None else {"_host": host}
    job.resource = SimpleNamespace(**{**vars(job.resource), "request": request, "arn": job.resource.arn})
    job.store.insert("endpoint", "e", {}, status="Creating", state=state, parent=("automl-job", "Churn"))
    job.store.insert("endpoint", "other", {}, status="Creating")
    story.run(job)
    row = job.store.get("endpoint", "e")
    assert (row and row.status) == left
    assert job.store.get("endpoint", "other").status == "Creating"
    assert job.store.get("automl-job", "Churn").status == "Stopped"


def test_a_stopped_job_keeps_the_endpoint_that_it_tells_of(job: Any) -> None:
    spec = TabularJob.of({**REQUEST, "ModelDeployConfig": {"EndpointName": "e"}})
    job.name = "Churn"
    job.store.insert("endpoint", "e", {}, status="InService", parent=("automl-job", "Churn"))
    job.update(state={"ModelDeployResult": {"EndpointName": "e"}})
    job.resource = job.store.get("automl-job", "Churn")
    deploy.withdraw(job, spec)
    assert job.store.get("endpoint", "e").status == "InService"


def test_candidates_that_a_killed_run_had_begun_end_for_want_of_time_though_the_job_fails(job: Any) -> None:
    begin(board(job), "a")
    with pytest.raises(JobFailed, match="No candidate was finished within MaxAutoMLJobRuntimeInSeconds"):
        story._close(job, board(job), Budget(now() - 101, 100, None))
    assert job.store.get("candidate", "a").state["FailureReason"] == OUT_OF_TIME


class TestBudget:
    def test_without_a_limit_nothing_ends(self) -> None:
        budget = Budget(now() - 1e6, None, 60)
        assert (budget.remaining(), budget.training_seconds(), budget.deadline()) == (None, None, None)
        assert not budget.is_over()
        assert not budget.training_is_over()

    def test_training_ends_before_the_job_does(self) -> None:
        budget = Budget(now() - 95, 100, None)
        budget.combining = 8.0
        assert budget.training_is_over()
        assert not budget.is_over()
        assert budget.training_ends_at() == pytest.approx(budget.started_at + 100 - budget.reserve)

    def test_a_job_past_its_time_is_over(self) -> None:
        assert Budget(now() - 101, 100, None).is_over()


@pytest.mark.parametrize(("error", "status"), [(StoreAway, "InProgress"), (ServiceUnavailable, "Stopped")])
def test_candidates_end_when_an_object_store_is_away_and_go_on_after_the_metadata_store_was(
    job: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: str
) -> None:
    def away(*_: Any) -> None:
        raise error

    begin(board(job), "Churn-a")
    job.request, job.stop_requested, job.once = REQUEST, False, lambda _, do: do()
    monkeypatch.setattr(story, "_tell", away)
    with pytest.raises(error):
        story.run(job)
    assert job.store.get("candidate", "Churn-a").status == status
