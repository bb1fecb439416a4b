"""The story of a training job whose process is killed: told again it ends as it would have ended."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.catalog import training_jobs
from pilothouse.config import Settings
from pilothouse.contract.channels import Checkpoints
from pilothouse.errors import ServiceUnavailable, StoreAway
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.s3 import RemoteObjects
from pilothouse.store.resource import Resource
from pilothouse.store.store import Store
from pilothouse.training.job import Training
from pilothouse.training.outcome import Outcome
from pilothouse.training.record import Record
from pilothouse.training.runs import Runs

REQUEST = {
    "TrainingJobName": "one",
    "AlgorithmSpecification": {"TrainingImage": "pilothouse/script:1", "TrainingInputMode": "File"},
    "HyperParameters": {"sagemaker_program": "t.py", "sagemaker_submit_directory": "s3://data/s.tar.gz"},
    "OutputDataConfig": {"S3OutputPath": "s3://gone/out"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    """What a training needs of a job: a leased row in a real store, and objects."""
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    store.insert("training-job", "one", REQUEST, status="InProgress", state=training_jobs.first_state(0.0))
    lease = store.leases.claim(["training-job"], owner="test", ttl=60)
    objects = DirectoryObjects(tmp_path / "objects")
    yield SimpleNamespace(store=store, lease=lease, objects=objects, settings=settings, log=lambda message: None)
    store.close()


def with_source(job: Any, tmp_path: Path) -> None:
    """Lets the job's source archive be there."""
    (tmp_path / "t.py").touch()
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "t.py", "t.py")
    job.objects.create_bucket("data")
    job.objects.upload(tmp_path / "source.tar.gz", "s3://data/s.tar.gz")


def told(job: Any, directory: Path, status: str = "Completed") -> Resource:
    """Tells the story of a job whose program has ended, with `status`; its row then."""
    row = job.store.get("training-job", "one")
    model = directory / "algo-1" / "ml" / "model"
    if not directory.exists():
        model.mkdir(parents=True)
        (model / "weights").write_text("learnt")
        (directory / "row").write_text(str(row.seq))
        (directory / "outcome.json").write_text(json.dumps(asdict(Outcome(status, status))))
    Training(job, "one", directory, once=lambda _, do: do(), stopped=lambda: False).run()
    ended: Resource = job.store.get("training-job", "one")
    return ended


def test_a_job_fails_for_its_own_reason_though_it_is_killed_before_it_says_so(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Record, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            told(job, tmp_path / "job")
    row = told(job, tmp_path / "job")
    assert row.state["FailureReason"] == 'ClientError: The specified bucket does not exist: "gone".'
    assert not (tmp_path / "job" / "algo-1").exists()


def test_a_store_that_is_away_fails_no_job(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreAway("The metadata store cannot be used right now.")

    job.objects.create_bucket("gone")
    with monkeypatch.context() as patched:
        patched.setattr(Training, "_upload", away)
        with pytest.raises(StoreAway):
            told(job, tmp_path / "job")
    assert job.store.get("training-job", "one").status == "InProgress"
    assert told(job, tmp_path / "job").status == "Completed"


def test_an_object_store_that_is_away_is_the_reason_that_a_job_failed(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    job.objects = RemoteObjects("http://127.0.0.1:1", "us-east-1")
    row = told(job, tmp_path / "job")
    assert row.status == "Failed"
    assert "The object store at http://127.0.0.1:1 cannot be used: " in row.state["FailureReason"]


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has a RetryStrategy. Comes before `job`."""
    monkeypatch.setitem(REQUEST, "RetryStrategy", {"MaximumRetryAttempts": 1})


@pytest.mark.usefixtures("retried")
def test_an_object_store_that_was_away_is_what_retries_are_for(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, failures = Training._upload, iter([True])

    def away_at_first(self: Training, outcome: Outcome) -> dict[str, Any]:
        if next(failures, False):
            raise ServiceUnavailable("The object store cannot be used.")
        return upload(self, outcome)

    monkeypatch.setattr("pilothouse.training.job._RETRY_PAUSE", 0.0)
    monkeypatch.setattr(Training, "_upload", away_at_first)
    job.objects.create_bucket("gone")
    assert told(job, tmp_path / "job").status == "Completed"


@pytest.mark.usefixtures("retried")
def test_a_bucket_that_is_not_there_is_the_clients_fault_which_no_retry_cures(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    upload = Training._upload

    def counted(self: Training, outcome: Outcome) -> dict[str, Any]:
        tries.append(1)
        return upload(self, outcome)

    monkeypatch.setattr(Training, "_upload", counted)
    row = told(job, tmp_path / "job")
    assert row.state["FailureReason"] == 'ClientError: The specified bucket does not exist: "gone".'
    assert len(tries) == 1


def test_what_the_program_made_is_uploaded_by_whoever_goes_on(job: Any, tmp_path: Path) -> None:
    job.objects.create_bucket("gone")
    row = told(job, tmp_path / "job")
    assert row.status == "Completed"
    assert [info.key for info in job.objects.walk("gone")] == ["out/one/output/model.tar.gz"]


def test_what_a_stopped_program_saved_is_uploaded_by_whoever_goes_on(job: Any, tmp_path: Path) -> None:
    job.objects.create_bucket("gone")
    job.store.request_stop("training-job", "one")
    assert told(job, tmp_path / "job", "Stopped").status == "Stopped"
    assert [info.key for info in job.objects.walk("gone")] == ["out/one/output/model.tar.gz"]


def test_what_a_killed_program_has_measured_is_kept_if_it_is_not_to_begin_again(job: Any, tmp_path: Path) -> None:
    directory, heard = tmp_path / "job", [0.1]
    run = directory / "run-1" / "algo-1"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text('[1.0, "acc", 0.5]\n[2.0, "acc", 0.75]\n[3.0, "ac')
    (directory / "row").write_text(str(job.store.get("training-job", "one").seq))
    job.store.request_stop("training-job", "one")
    Training(
        job,
        "one",
        directory,
        once=lambda _, do: do(),
        stopped=lambda: False,
        on_begin=heard.clear,
        on_point=lambda _name, value, _at: heard.append(value),
        closing=lambda: {"_heard": list(heard)},
    ).run()
    row = job.store.get("training-job", "one")
    assert row.status == "Stopped"
    assert row.state["FinalMetricDataList"] == [{"MetricName": "acc", "Value": 0.75, "Timestamp": 2.0}]
    assert row.state["_heard"] == [0.5, 0.75]


def test_a_job_that_is_to_stop_begins_no_program(job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runs, "run", lambda *_: pytest.fail("It was begun."))
    job.store.request_stop("training-job", "one")
    Training(job, "one", tmp_path / "job", once=lambda _, do: do(), stopped=lambda: False).run()
    assert job.store.get("training-job", "one").status == "Stopped"


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has two hosts, and keeps checkpoints. Comes before `job`."""
    monkeypatch.setitem(REQUEST, "CheckpointConfig", {"S3Uri": "s3://kept/checkpoints"})
    monkeypatch.setitem(
        REQUEST, "ResourceConfig", {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    )


@pytest.mark.usefixtures("keeping")
def test_what_one_host_has_restored_is_not_sent_back_over_what_another_has_made_since(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(_self: Runs, _stop_asked: Any, checkpoints: Sequence[Checkpoints], _on_point: Any) -> Outcome:
        (tmp_path / "job" / "algo-1" / "ml" / "checkpoints" / "step").write_text("2")
        assert [each.push() for each in checkpoints] == [1, 0]
        return Outcome("Completed", "Completed")

    monkeypatch.setattr(Runs, "run", ran)
    with_source(job, tmp_path)
    job.objects.create_bucket("kept")
    (tmp_path / "step").write_text("1")
    job.objects.upload(tmp_path / "step", "s3://kept/checkpoints/step")
    Training(job, "one", tmp_path / "job", once=lambda _, do: do(), stopped=lambda: False).run()
    with job.objects.open("kept", "checkpoints/step") as stream:
        assert stream.read() == b"2"


def test_what_an_earlier_release_left_of_a_run_is_uploaded_though_not_every_program_said_how_it_ended(
    job: Any, tmp_path: Path
) -> None:
    job.objects.create_bucket("gone")
    directory, recorded = tmp_path / "job", asdict(Outcome("Failed", "Failed", "AlgorithmError: The keeper is gone."))
    data = directory / "algo-1" / "ml" / "output" / "data"
    for folder in (data, directory / "run-1" / "algo-1"):
        folder.mkdir(parents=True)
    (data / "word").write_text("said")
    (directory / "row").write_text(str(job.store.get("training-job", "one").seq))
    (directory / "trained").touch()
    once: Any = lambda step, do: recorded if step == "train" else do()  # noqa: E731
    Training(job, "one", directory, once=once, stopped=lambda: False).run()
    row = job.store.get("training-job", "one")
    assert (row.status, row.state["FailureReason"]) == ("Failed", recorded["reason"])
    assert [info.key for info in job.objects.walk("gone")] == ["out/one/output/output.tar.gz"]
    assert "Interrupted" not in json.dumps(row.state)


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_job_whose_program_has_run_fails_in_words_if_all_that_it_left_was_in_memory_and_is_gone(
    job: Any, tmp_path: Path, uploaded: bool
) -> None:
    job.objects.create_bucket("gone")
    with_source(job, tmp_path)
    recorded: dict[str, Any] = {"train": asdict(Outcome("Completed", "Completed"))}
    if uploaded:
        recorded["upload"] = {"model": True}
    training = Training(
        job, "one", tmp_path / "job", once=lambda step, do: recorded.get(step) or do(), stopped=lambda: False
    )
    training.run()
    row = job.store.get("training-job", "one")
    if uploaded:
        assert row.status == "Completed"
        return
    assert row.status == "Failed"
    assert "is gone before it could be uploaded" in row.state["FailureReason"]
    assert list(job.objects.walk("gone")) == []
