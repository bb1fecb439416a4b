"""The search of a tuned job: what it tries, what it records, what it stops, and what it makes again after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.automl import candidates, mode, steps
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.tuned import document, told, trials
from pilothouse.automl.tuned.engineering import Ready
from pilothouse.automl.tuned.ledger import Ledger
from pilothouse.automl.tuned.listener import Listener
from pilothouse.automl.tuned.places import Places
from pilothouse.automl.tuned.room import Room
from pilothouse.automl.tuned.trials import Trials
from pilothouse.catalog import training_jobs
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import DataError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.problems.tabular import ranges
from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec
from pilothouse.store.store import Store
from pilothouse.training.task import Outcome
from pilothouse.tuning.ledger import trial_of
from pilothouse.tuning.search import Search

REQUEST: dict[str, Any] = {
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
FACTS = {
    "rows": 1000, "train_rows": 800, "problem_type": "BinaryClassification", "classes": ["no", "yes"],
    "features": {"numeric": 3, "categorical": 0},
}  # fmt: skip
READY = [Ready(PipelineSpec("dpp0", "xgboost", "raw"), 3), Ready(PipelineSpec("dpp1", "linear-learner", "robust"), 3)]


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """What the trials need of a job: a leased row in a real store, and a folder."""
    settings = Settings(home=tmp_path, slots=2)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    row = store.insert("automl-job", "Churn", REQUEST, status="InProgress")
    lease = store.leases.claim(["automl-job"], owner="test", ttl=600)

    def update(**changes: Any) -> None:
        store.update("automl-job", "Churn", lease=lease, **changes)

    return SimpleNamespace(
        name="Churn",
        store=store,
        lease=lease,
        resource=row,
        settings=settings,
        directory=tmp_path / "job",
        stop_requested=False,
        update=update,
        log=lambda message: None,
    )


def tuning_job(job: Any, candidates: int = 6, *, multi_fidelity: bool = False, metric: str = "F1") -> TuningJob:
    spec = TabularJob.of(REQUEST)
    return document.tuning_job(
        spec,
        Places.of(job, spec),
        READY,
        metric=metric,
        problem_type="BinaryClassification",
        candidates=candidates,
        parallel=1,
        multi_fidelity=multi_fidelity,
    )


def running(job: Any, tuning: TuningJob, seconds: int | None = None) -> Trials:
    spec = TabularJob.of(REQUEST)
    engineering: Any = SimpleNamespace(matrix=lambda spec: Path("matrix"), stage=lambda spec: Path("stage"))
    board = Board(job, spec, "F1", "BinaryClassification")
    ledger = Ledger(job, board, Places.of(job, spec), READY, tuning)
    suggested = document.suggestions(tuning, READY, "BinaryClassification")
    budget = Budget(now(), seconds, None)
    return Trials(job, spec, board, budget, FACTS, Path("dataset"), engineering, READY, tuning, ledger, suggested)


def result(value: float) -> dict[str, Any]:
    measured = {"standing": value, "noise": 0.0, "score": value, "latency": 0.01}
    return {"ranking": value, **measured, "metrics": {"Train": {"F1": value}, "Validation": {"F1": value}}}


@pytest.fixture
def finishing(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Trials that end at once, each better than the one before; the arguments of each."""
    seen: list[dict[str, Any]] = []

    def attempt(_job: Any, target: str, directory: Path, arguments: dict[str, Any], **_limits: Any) -> Outcome:
        seen.append({"target": target, "directory": directory, **arguments})
        return Outcome(result=result(0.5 + len(seen) / 100))

    monkeypatch.setattr(trials.task, "attempt", attempt)
    return seen


def listed(job: Any) -> list[Any]:
    return list(job.store.children("candidate", ("automl-job", "Churn")))


def test_the_search_is_a_tuning_job_with_a_definition_for_each_pipeline(job: Any) -> None:
    tuning = tuning_job(job)
    assert (tuning.strategy, tuning.limits.jobs, tuning.resources) == ("Bayesian", 6, None)
    assert [definition.name for definition in tuning.definitions] == ["dpp0-xgb", "dpp1-ll"]
    assert tuning.definitions[0].document["OutputDataConfig"] == {
        "S3OutputPath": "s3://bucket/out/Churn/tuning/Churn-dpp0-xgb"
    }
    large = tuning_job(job, multi_fidelity=True)
    assert large.strategy == "Bayesian"
    assert large.resources is not None


@pytest.mark.parametrize("multi_fidelity", [False, True])
def test_each_definition_first_tries_what_does_well_on_most_data(job: Any, multi_fidelity: bool) -> None:
    tuning = tuning_job(job, multi_fidelity=multi_fidelity)
    search = Search(tuning, 1, document.suggestions(tuning, READY, "BinaryClassification"))
    for algorithm in ("xgboost", "linear-learner"):
        trial = search.ask()
        assert trial is not None
        first = ranges.tunable(algorithm, "BinaryClassification").first
        assert {name: float(text) for name, text in trial.values.items()} == pytest.approx(
            {name: float(text) for name, text in first.items()}
        )


def test_every_candidate_has_its_training_job_and_the_last_ends_the_search(job: Any, finishing: list[Any]) -> None:
    searching = running(job, tuning_job(job))
    assert searching.run()
    rows = listed(job)
    assert [row.status for row in rows] == ["Completed"] * 6
    assert [row.name.rsplit("-", 1)[0] for row in rows] == [f"Churn-{number:03d}" for number in range(1, 7)]
    assert job.store.get("automl-job", "Churn").state["_best"] == rows[-1].name
    for row, arguments in zip(rows, finishing, strict=True):
        own = job.store.get("training-job", row.name)
        assert (own.status, own.parent) == ("Completed", ("automl-job", "Churn"))
        assert own.request["HyperParameters"].keys() >= row.state["_trial"]["values"].keys()
        metrics = {each["MetricName"]: each["Value"] for each in own.state["FinalMetricDataList"]}
        assert metrics["ObjectiveMetric"] == row.state["_objective"]["value"] == metrics["validation:F1"]
        assert row.state["InferenceContainers"][1]["ModelDataUrl"] == arguments["model_uri"]
        assert arguments["trial"]["folds"] == 5


def test_after_a_crash_the_open_trial_is_run_again_under_its_name(
    job: Any, finishing: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = tuning_job(job, 4)

    def die(*_arguments: Any, **_limits: Any) -> Outcome:
        raise KeyboardInterrupt

    attempt = trials.task.attempt
    monkeypatch.setattr(trials.task, "attempt", die)
    with pytest.raises(KeyboardInterrupt):
        running(job, tuning).run()
    before = [row.name for row in listed(job)]
    assert len(before) == 1
    monkeypatch.setattr(trials.task, "attempt", attempt)
    assert running(job, tuning).run()
    assert [row.name for row in listed(job)][:1] == before
    assert [row.status for row in listed(job)] == ["Completed"] * 4
    assert len(finishing) == 4


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
def test_killed_at_each_write_in_turn_no_candidate_is_lost_or_doubled_or_at_odds_with_its_step(
    job: Any, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Each trial fails at first; where that was not recorded it is begun again, and succeeds."""
    begun: set[str] = set()

    def attempt(_job: Any, _target: str, directory: Path, *_: Any, **__: Any) -> Outcome:
        is_first = directory.name not in begun
        begun.add(directory.name)
        return Outcome(reason="It broke.") if is_first else Outcome(result=result(0.7))

    monkeypatch.setattr(trials.task, "attempt", attempt)
    write, left = job.store.database.write, 0

    @contextmanager
    def killing() -> Iterator[Any]:
        nonlocal left
        left -= 1
        if left <= 0 and not committed:
            raise KeyboardInterrupt
        with write() as connection:
            yield connection
        if left <= 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(job.store.database, "write", killing)
    kills, tuning = 0, tuning_job(job, 3)
    while True:
        left = kills + 1
        try:
            assert running(job, tuning).run()
            break
        except KeyboardInterrupt:
            kills += 1
    rows = listed(job)
    assert kills >= 3
    assert len(rows) == 3
    assert [job.store.get("training-job", row.name).status for row in rows] == [row.status for row in rows]
    assert job.store.count("training-job") == 3


def test_a_failed_trial_is_a_failed_candidate_and_counts(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [Outcome(reason="It broke."), Outcome(reason="late", late=True), Outcome(result=result(0.7))]
    monkeypatch.setattr(trials.task, "attempt", lambda *_, **__: outcomes.pop(0))
    assert running(job, tuning_job(job, 3)).run()
    assert [row.status for row in listed(job)] == ["Failed", "Stopped", "Completed"]
    assert listed(job)[0].state["FailureReason"] == "It broke."
    assert job.store.get("training-job", listed(job)[0].name).state["FailureReason"] == "It broke."


def test_in_multi_fidelity_the_process_of_a_trial_that_does_badly_is_ended(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter(range(100))

    def attempt(_job: Any, _target: str, directory: Path, arguments: dict[str, Any], *, cut: Any, **_: Any) -> Outcome:
        loss = 1.0 + next(worse)
        for step in range(1, 20):
            with (directory / "reports.jsonl").open("a") as stream:
                stream.write(json.dumps({"step": step, "loss": loss - step / 100}) + "\n")
            if (reason := cut()) is not None:
                assert step == 3
                return Outcome(reason=f"The process {reason}.")
        return Outcome(result=result(0.9 - loss / 100))

    monkeypatch.setattr(trials.task, "attempt", attempt)
    tuning = tuning_job(job, 5, multi_fidelity=True)
    assert running(job, tuning).run()
    rows = listed(job)
    assert [row.status for row in rows] == ["Completed", "Completed", "Stopped", "Stopped", "Stopped"]
    assert "stopped early" in rows[2].state["FailureReason"]
    assert [len(row.state["_objective"]["reports"]) for row in rows] == [19, 19, 3, 3, 3]
    again = Search.restored(tuning, 1, [trial_of(row) for row in rows])
    nextone = again.ask()
    assert nextone is not None
    assert nextone.number == 5
    assert [again.report(5, step, -9.0) for step in (1, 2, 3)] == ["go", "go", "stop"]


def test_once_the_time_is_over_no_further_trial_begins(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    searching = running(job, tuning_job(job, 50), seconds=3600)

    def attempt(_job: Any, _target: str, _directory: Path, arguments: dict[str, Any], **_: Any) -> Outcome:
        assert 0 < arguments["seconds"] < 0.36 * 3600
        if arguments["trial"]["name"].startswith("Churn-002"):
            searching._budget.started_at -= 3600
            return Outcome(reason="The process was stopped because the job ran out of time.", late=True)
        return Outcome(result=result(0.8))

    monkeypatch.setattr(trials.task, "attempt", attempt)
    assert not searching.run()
    assert [row.status for row in listed(job)] == ["Completed", "Stopped"]
    assert "MaxAutoMLJobRuntimeInSeconds" in listed(job)[1].state["FailureReason"]


def test_a_trial_that_had_its_share_of_the_time_is_not_said_to_have_had_all(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "The trial reached its time limit of 3 s after finishing 0 of 5 folds."
    monkeypatch.setattr(trials.task, "attempt", lambda *_, **__: Outcome(reason=said, late=True))
    running(job, tuning_job(job, 1), seconds=1000).run()
    [row] = listed(job)
    assert (row.status, row.state["FailureReason"]) == ("Stopped", said)


def test_a_step_that_a_client_stops_ends_alone(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(_job: Any, _target: str, directory: Path, arguments: dict[str, Any], *, cut: Any, **_: Any) -> Outcome:
        if arguments["trial"]["name"].startswith("Churn-001"):
            job.store.request_stop("training-job", arguments["trial"]["name"])
            return Outcome(reason=f"The process {cut()}.")
        assert cut() is None
        return Outcome(result=result(0.8))

    monkeypatch.setattr(trials.task, "attempt", attempt)
    assert running(job, tuning_job(job, 2)).run()
    assert [row.status for row in listed(job)] == ["Stopped", "Completed"]
    assert "on request" in listed(job)[0].state["FailureReason"]
    assert job.store.get("training-job", listed(job)[0].name).status == "Stopped"


def test_a_stopped_job_ends_every_step(job: Any) -> None:
    spec = TabularJob.of(REQUEST)
    for kind in (steps.PROCESSING, steps.TRAINING, steps.TRANSFORM):
        steps.begin(job, kind, f"{kind}-1", {})
        steps.begin(job, kind, f"{kind}-1", {})
    candidates.end_open(job, "The AutoML job was stopped.")
    for kind, ended in (
        (steps.PROCESSING, "ProcessingEndTime"),
        (steps.TRAINING, "TrainingEndTime"),
        (steps.TRANSFORM, "TransformEndTime"),
    ):
        row = job.store.get(kind, f"{kind}-1")
        assert (row.status, row.state["FailureReason"]) == ("Stopped", "The AutoML job was stopped.")
        assert row.state[ended] >= row.created_at - 1
    assert spec.mode is None


def test_reports_are_read_line_by_line_as_they_come(tmp_path: Path) -> None:
    heard: list[tuple[int, float]] = []
    (tmp_path / "reports.jsonl").write_text("from an earlier process")

    def report(step: int, loss: float) -> Any:
        heard.append((step, loss))
        return "stop" if step == 2 else "go"

    listener = Listener(tmp_path / "reports.jsonl", report)
    assert listener.cut() is None
    with (tmp_path / "reports.jsonl").open("a") as stream:
        stream.write('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
        stream.flush()
        assert listener.cut() is None
        stream.write('ss": 0.4}\n{"step": 3, "loss": 0.3}\n')
    assert listener.cut() is not None
    assert heard == [(1, 0.5), (2, 0.4)]
    assert listener.losses == [0.5, 0.4]


def test_a_trial_that_does_not_fit_beside_others_waits_and_alone_does_not() -> None:
    room = Room(100)
    with room.hold(80, lambda: False), room.hold(20, lambda: False):
        asked: list[bool] = []
        with room.hold(50, lambda: not asked.append(True)):
            assert asked
    with room.hold(500, lambda: False):
        pass


@pytest.mark.parametrize(
    ("asked", "size", "weight", "expected"),
    [
        (None, 200, None, "ENSEMBLING"),
        ("ENSEMBLING", 200, None, "ENSEMBLING"),
        ("HYPERPARAMETER_TUNING", 10, None, "HYPERPARAMETER_TUNING"),
        ("AUTO", 99, None, "ENSEMBLING"),
        ("AUTO", 100, None, "HYPERPARAMETER_TUNING"),
        ("AUTO", 200, "w", "ENSEMBLING"),
    ],
)
def test_auto_goes_by_the_size_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, size: int, weight: str | None, expected: str
) -> None:
    monkeypatch.setattr(mode, "LARGE", 100)
    objects = DirectoryObjects(tmp_path)
    objects.create_bucket("bucket")
    objects.put("bucket", "data/a.csv", b"x" * (size // 2))
    objects.put("bucket", "data/b.csv", b"x" * (size - size // 2))
    request = json.loads(json.dumps(REQUEST))
    if asked:
        request["AutoMLJobConfig"] = {"Mode": asked}
    if weight:
        request["InputDataConfig"][0]["SampleWeightAttributeName"] = weight
    assert mode.chosen(objects, TabularJob.of(request))["mode"] == expected


def test_auto_without_data_says_so(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    objects.create_bucket("bucket")
    request = {**REQUEST, "AutoMLJobConfig": {"Mode": "AUTO"}}
    with pytest.raises(DataError, match="No S3 objects"):
        mode.chosen(objects, TabularJob.of(request))


def test_a_log_that_an_earlier_run_of_the_job_has_written_stays(job: Any, tmp_path: Path) -> None:
    steps.begin(job, steps.TRAINING, "fit", {})
    (tmp_path / "log.txt").write_text("a warning\n")
    spec = READY[0].spec
    for outcome in (Outcome(result={"columns": 3}), Outcome(reason="It was stopped.")):
        steps.tell(job, "fit", told.of_pipeline(spec, outcome, tmp_path))
    [stream] = job.store.logs.streams(training_jobs.LOG_GROUP, "fit/algo-1-")
    said = [event.message for event in job.store.logs.events(training_jobs.LOG_GROUP, stream.name)]
    assert said == [f"dpp0: {spec.describe()}", "a warning", "columns=3"]
    steps.tell(job, "no such job", ["nothing"])


def test_the_log_of_a_trial_tells_what_it_reported_and_why_it_ended(tmp_path: Path) -> None:
    lines = told.of_trial({"eta": "0.1"}, 10, [0.5, 0.25], Outcome(reason="It was stopped."), tmp_path)
    assert list(lines) == ["eta=0.1", "[10] loss=0.5", "[20] loss=0.25", "It was stopped."]


def test_penalties_go_by_the_rows_that_memory_lets_a_trial_learn_from(
    job: Any, finishing: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_fewer(candidate: Any, _sizes: Any, _room: int) -> Any:
        return replace(candidate, params={**candidate.params, "max_rows": 200})

    monkeypatch.setattr(trials.memory, "fitted", on_fewer)
    assert running(job, tuning_job(job)).run()
    values = {row.name: row.state["_trial"]["values"] for row in listed(job)}
    linear = [each["trial"] for each in finishing if each["trial"]["algorithm"] == "linear-learner"]
    assert linear
    for trial in linear:
        mine = values[trial["name"]]
        assert trial["params"]["max_rows"] == 200
        assert trial["params"]["l1"] == pytest.approx(200 * float(mine["l1"]))
        assert trial["params"]["l2"] == pytest.approx(200 * float(mine["wd"]))
