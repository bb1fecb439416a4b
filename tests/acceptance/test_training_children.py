"""Training jobs as trials of another job, as a search runs them: rows with a parent, several at once, on its lease."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pilothouse import composition
from pilothouse.catalog.training_jobs import KIND, first_state
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import LeaseLost
from pilothouse.launch.local import LocalLauncher
from pilothouse.objects.base import Encryption
from pilothouse.training.job import Training
from pilothouse.training.outcome import Outcome
from pilothouse.work.job import Job
from pilothouse.work.kinds import JobKind

pytestmark = pytest.mark.slow

SCRIPT = """
import argparse, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int)
given = parser.parse_args()
for epoch in range(given.epochs):
    print(f"epoch={epoch} loss={given.lr / (epoch + 1)}")
    time.sleep(0.02)
"""


class Search:
    """A parent job with its launcher, in this process."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, slots=2, stop_grace=1)
        self.back = composition.back(self.settings)
        self.back.store.migrate()
        self.back.objects.create_bucket("search")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            member = tarfile.TarInfo("train.py")
            member.size = len(SCRIPT)
            tar.addfile(member, io.BytesIO(SCRIPT.encode()))
        self.back.objects.put("search", "source.tar.gz", out.getvalue())
        self.back.store.insert("parent", "tune", {}, status="InProgress")
        lease = self.back.leases.claim(["parent"], owner="test", ttl=600)
        assert lease is not None
        self.launcher = LocalLauncher(self.settings, ["pilothouse.training.program"])
        kind = JobKind("parent", target="none:none", log_group="/none")
        self.job = Job(
            kind,
            lease,
            store=self.back.store,
            objects=self.back.objects,
            launcher=self.launcher,
            settings=self.settings,
        )

    def close(self) -> None:
        self.launcher.close()
        self.back.store.close()

    def trial(
        self,
        name: str,
        epochs: int,
        *,
        stopped: Callable[[], bool] = lambda: False,
        on_point: Callable[[str, float, float], None] | None = None,
    ) -> Outcome | None:
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": "pilothouse/script:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://search/source.tar.gz",
                "lr": "1.0",
                "epochs": str(epochs),
            },
            "OutputDataConfig": {"S3OutputPath": "s3://search/out", "KmsKeyId": "alias/ours"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }
        state = first_state(now())
        self.back.store.insert(KIND, name, request, status="InProgress", state=state, parent=("parent", "tune"))
        return Training(
            self.job,
            name,
            self.job.directory / name,
            once=lambda _, do: do(),  # the terminal row is a trial's record
            stopped=stopped,
            on_point=on_point,
            threads=1,
        ).run()

    def row(self, name: str) -> Any:
        return self.back.store.get(KIND, name)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    search = Search(tmp_path_factory.mktemp("search"))
    yield search
    search.close()


def test_trials_run_side_by_side_and_leave_their_rows_and_nothing_else(search: Search) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda i: search.trial(f"side-{i}", epochs=i + 1), range(6)))
    for i, outcome in enumerate(outcomes):
        assert outcome is not None
        assert (outcome.status, outcome.metrics["loss"][0]) == ("Completed", pytest.approx(1 / (i + 1)))
        row = search.row(f"side-{i}")
        assert (row.status, row.state["FinalMetricDataList"][0]["Value"]) == ("Completed", pytest.approx(1 / (i + 1)))
        model = search.back.objects.head("search", f"out/side-{i}/output/model.tar.gz")
        assert (model.size > 0, model.encryption) == (True, Encryption("aws:kms", "alias/ours"))
        assert [path.name for path in (search.job.directory / f"side-{i}").iterdir() if path.is_dir()] == []


def test_each_point_is_heard_while_the_trial_runs(search: Search) -> None:
    heard: list[tuple[str, float, float]] = []
    halfway = threading.Event()

    def hear(name: str, value: float, at: float) -> None:
        heard.append((name, value, at))
        if len(heard) >= 5:
            halfway.set()

    outcome = search.trial("heard", 20_000, stopped=halfway.is_set, on_point=hear)
    assert outcome is not None
    assert outcome.status == "Stopped"
    assert [value for _, value, _ in heard[:4]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert heard[0][2] <= heard[3][2] <= now()
    assert len(heard) < 20_000


def test_a_trial_can_be_stopped_by_its_own_name(search: Search) -> None:
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(search.trial, "named", 20_000)
        other = pool.submit(search.trial, "unnamed", 20)
        give_up = time.monotonic() + 300
        while search.row("named") is None or search.row("named").state["SecondaryStatus"] != "Training":
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert search.back.store.request_stop(KIND, "named") is not None
        outcome = running.result(120)
        assert outcome is not None
        assert outcome.status == search.row("named").status == "Stopped"
        assert other.result(120).status == "Completed"  # type: ignore[union-attr]


def test_a_trial_writes_no_more_once_its_parents_lease_is_lost(tmp_path: Path) -> None:
    search = Search(tmp_path)
    try:
        search.back.leases.release(search.job.lease)
        assert search.back.leases.claim(["parent"], owner="another", ttl=600) is not None
        with pytest.raises(LeaseLost):
            search.trial("late", 1)
        assert search.row("late").status == "InProgress"
    finally:
        search.close()
