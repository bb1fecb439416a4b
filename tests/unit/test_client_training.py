"""A job from a file to a folder, against a fake SageMaker."""

from __future__ import annotations

import io
import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.client import default_output
from pilothouse.client.training import Progress, Training, Wish, check_output, implied_problem_type, leaderboard
from pilothouse.config import Settings
from pilothouse.errors import ConfigurationError, JobFailed

NOW = datetime.now(UTC)


def candidate(name: str, value: float, direction: str = "Maximize", status: str = "Completed") -> dict[str, Any]:
    return {
        "CandidateName": name,
        "CandidateStatus": status,
        "CreationTime": NOW,
        "FinalAutoMLJobObjectiveMetric": {"MetricName": "F1", "Value": value, "Type": direction},
        "CandidateProperties": {
            "CandidateMetrics": [
                {"StandardMetricName": "F1", "Value": value, "Set": "Validation"},
                {"StandardMetricName": "F1", "Value": 1.0, "Set": "Train"},
            ]
        },
    }


class FakeServer:
    """Answers as a server would whose jobs end as `ends` says, after one look."""

    def __init__(self, tmp_path: Path, ends: str = "Completed", refusal: str | None = None) -> None:
        self.settings = Settings(home=tmp_path)
        self.created: dict[str, Any] = {}
        self.stopped = False
        self._ends, self._refusal, self._looks = ends, refusal, 0

    def client(self, service: str) -> FakeServer:
        return self

    def create_bucket(self, **_: Any) -> None: ...

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.uploaded = f"s3://{bucket}/{key}"

    def create_auto_ml_job_v2(self, **request: Any) -> None:
        if self._refusal:
            raise ClientError({"Error": {"Code": "ValidationException", "Message": self._refusal}}, "CreateAutoMLJobV2")
        self.created = request

    def stop_auto_ml_job(self, **_: Any) -> None:
        self.stopped = True

    def describe_auto_ml_job_v2(self, **_: Any) -> dict[str, Any]:
        self._looks += 1
        ended = self._looks > 1
        answer = {"AutoMLJobStatus": self._ends if ended else "InProgress"}
        if ended and self._ends != "Failed":
            answer["BestCandidate"] = candidate("best", 0.9)  # type: ignore[assignment]
        if self._ends == "Failed":
            answer["FailureReason"] = "One class only."
        return answer

    def get_paginator(self, _: str) -> FakeServer:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Candidates": [candidate("a", 0.5)]}, {"Candidates": [candidate("best", 0.9)]}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("x,y\n1,a\n2,b\n3,c\n")
    return path


def training(server: FakeServer, data: Path, **options: Any) -> Training:
    return Training(server, data, Wish("y", **options).completed(data))  # type: ignore[arg-type]


def test_a_job_asks_for_what_was_given_and_leaves_the_rest_to_the_service(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path)
    seen: list[Progress] = []
    training(server, data, limit=600, max_candidates=3).run(seen.append)
    config = server.created["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    assert config["TargetAttributeName"] == "y"
    assert config["CompletionCriteria"] == {"MaxCandidates": 3, "MaxAutoMLJobRuntimeInSeconds": 600}
    assert "ProblemType" not in config
    assert "AutoMLJobObjective" not in server.created
    assert server.created["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == server.uploaded
    assert [progress.ended for progress in seen] == [False, True]


def test_a_metric_brings_its_problem_type_along(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path)
    training(server, data, metric="Accuracy").run(lambda _: None)
    assert server.created["AutoMLJobObjective"] == {"MetricName": "Accuracy"}
    assert server.created["AutoMLProblemTypeConfig"]["TabularJobConfig"]["ProblemType"] == "MulticlassClassification"


def test_a_problem_type_brings_its_default_metric_along(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path)
    training(server, data, problem_type="Regression").run(lambda _: None)
    assert server.created["AutoMLJobObjective"] == {"MetricName": "MSE"}


def test_the_values_decide_where_a_metric_belongs_to_two_problem_types(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("x,y\n1,a\n2,b\n3,\n4,a\n")
    assert implied_problem_type("Accuracy", data, "y") == "BinaryClassification"
    assert implied_problem_type("F1macro", data, "y") == "MulticlassClassification"
    assert implied_problem_type("R2", data, "y") == "Regression"


@pytest.mark.parametrize("options", [{"metric": "Beauty"}, {"metric": "LogLoss"}, {"problem_type": "Guessing"}])
def test_an_unknown_metric_or_problem_type_is_refused_with_the_known_ones(
    tmp_path: Path, data: Path, options: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="Choose one of"):
        training(FakeServer(tmp_path), data, **options)


def test_a_refusal_of_the_server_is_its_sentence(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path, refusal="Target attribute name y does not exist in header.")
    with pytest.raises(ConfigurationError, match=r"^Target attribute name y does not exist in header\.$"):
        training(server, data).run(lambda _: None)


def test_a_failed_job_gives_its_reason(tmp_path: Path, data: Path) -> None:
    with pytest.raises(JobFailed, match="One class only"):
        training(FakeServer(tmp_path, ends="Failed"), data).run(lambda _: None)


def test_an_interrupt_stops_the_job_and_waits_for_what_is_finished(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path, ends="Stopped")

    def interrupt(progress: Progress) -> None:
        if not server.stopped:
            signal.raise_signal(signal.SIGINT)

    training(server, data).run(interrupt)
    assert server.stopped


def test_an_interrupt_that_comes_as_the_job_ends_loses_nothing(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path)

    def ended(**_: Any) -> None:
        server.stopped = True
        server.describe_auto_ml_job_v2()
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "It has ended."}}, "StopAutoMLJob")

    def interrupt(progress: Progress) -> None:
        if not progress.ended:
            signal.raise_signal(signal.SIGINT)

    server.stop_auto_ml_job = ended  # type: ignore[method-assign]
    training(server, data).run(interrupt)
    assert server.stopped


def test_a_stop_that_is_refused_for_another_reason_is_told(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path)

    def refused(**_: Any) -> None:
        server._looks = 0
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "No."}}, "StopAutoMLJob")

    server.stop_auto_ml_job = refused  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"^No\.$"):
        training(server, data).run(lambda progress: None if progress.ended else signal.raise_signal(signal.SIGINT))


def test_an_interrupt_in_a_clean_up_is_not_lost(tmp_path: Path, data: Path) -> None:
    server = FakeServer(tmp_path, ends="Stopped")

    class Cleaned:
        def __del__(self) -> None:
            if not server.stopped:
                signal.raise_signal(signal.SIGINT)

    training(server, data).run(lambda _: Cleaned() and None)
    assert server.stopped


def test_the_second_interrupt_ends_the_wait(tmp_path: Path, data: Path) -> None:
    server, usual = FakeServer(tmp_path, ends="Stopped"), signal.default_int_handler
    before = signal.signal(signal.SIGINT, usual)  # whoever runs the tests may have them ignore it

    def insist(_: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            training(server, data).run(insist)
        assert signal.getsignal(signal.SIGINT) is usual
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_leaderboard_is_ranked_by_the_objective_s_direction() -> None:
    losses = [candidate("j-a", 3.0, "Minimize"), candidate("j-b", 1.0, "Minimize"), candidate("j-c", 2.0, "Minimize")]
    assert [entry["name"] for entry in leaderboard("j", losses, losses[1])] == ["b", "c", "a"]


def test_the_leaderboard_has_completed_candidates_and_validation_metrics_only() -> None:
    board = [candidate("j-a", 0.5), candidate("j-b", 0.9, status="Failed")]
    assert leaderboard("j", board, board[0]) == [{"name": "a", "objective": "F1", "metrics": {"F1": 0.5}}]


def test_an_output_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    assert check_output(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "old").mkdir()
    assert check_output(tmp_path / "old") == tmp_path / "old"
    (tmp_path / "old" / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--out"):
        check_output(tmp_path / "old")


def test_the_output_folder_is_named_after_the_file() -> None:
    assert str(default_output("some/where/churn.csv.gz")) == "churn-model"
    assert str(default_output([{"a": 1}])) == "model"


def test_the_board_says_each_change_once_where_there_is_no_terminal() -> None:
    from rich.console import Console

    from pilothouse.cli.board import Board, metrics_table

    out = io.StringIO()
    console = Console(file=out, width=100)
    job = {"AutoMLJobName": "j", "AutoMLJobStatus": "InProgress", "AutoMLJobSecondaryStatus": "TrainingModels"}
    with Board(console) as board:
        for status in ("InProgress", "InProgress", "Completed"):
            board(Progress({**job, "CreationTime": NOW}, [candidate("j-lightgbm", 0.75, status=status)]))
    assert out.getvalue().splitlines() == [
        "j TrainingModels",
        "  candidate lightgbm InProgress 0.7500",
        "  candidate lightgbm Completed 0.7500",
    ]
    console.print(metrics_table(leaderboard("j", [candidate("j-lightgbm", 0.75)], candidate("j-lightgbm", 0.75))))
    assert "0.7500" in out.getvalue()
    assert json.dumps(leaderboard("j", [], candidate("x", 1.0))) == "[]"
