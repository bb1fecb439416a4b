"""kill -9 of a trial, a job process, the nursery and the server at every point in turn: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pilothouse.config import Settings
from pilothouse.store.store import Resource, Store

pytestmark = pytest.mark.slow

TOYS = Path(__file__).parent / "toys"
KIND = "toy-job"
STEPS = ["one", "trial-1", "trial-2", "last"]
POINTS = [f"{step}:{point}" for step in STEPS for point in ("enter", "during", "done", "recorded")]
POINTS = [point for point in POINTS if "trial" in point or "during" not in point]
PATIENCE = 120


class ToyServer:
    """The toy server on one home, started again whenever it was killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.drill = uuid.uuid4().hex
        self.process: subprocess.Popen[str] | None = None
        self.starts = 0
        settings = Settings(home=home)
        self.store = Store(settings.database, region=settings.region, account=settings.account_id)

    def start(self, jobs: int = 2) -> None:
        environment = {**os.environ, "PYTHONPATH": str(TOYS), "TOY_DRILL": self.drill, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(TOYS / "toy_server.py"), str(self.home), str(jobs)]
        with (self.home.parent / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.log()
        self.starts += 1

    def keep_alive(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            self._hang_up()
            self.start()

    def stop(self) -> float:
        """SIGTERM; the seconds it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE)
        self._hang_up()
        return time.monotonic() - started

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()

    def log(self) -> str:
        return (self.home.parent / "server.log").read_text()

    def create(self, name: str, folder: Path, **request: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.store.insert(KIND, name, {"folder": str(folder), **request}, status="InProgress")

    def job(self, name: str) -> Resource:
        job = self.store.get(KIND, name)
        assert job is not None
        return job

    def finished(self, name: str) -> Resource:
        """The job once it has ended; a dead server is started again meanwhile."""

        def ended() -> bool:
            self.keep_alive()
            return self.job(name).status in ("Completed", "Failed", "Stopped")

        eventually(ended, self.log)
        return self.job(name)

    def processes(self) -> list[psutil.Process]:
        """All that descends from any start of this server, wherever it has gone."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TOY_DRILL") == self.drill and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def eventually(true: Callable[[], Any], log: Callable[[], str] = str) -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < give_up, f"it has not happened\n{log()[-4000:]}"
        time.sleep(0.05)
    return answer


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ToyServer]:
    server = ToyServer(tmp_path / "home")
    server.start()
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.stop()
    eventually(lambda: not server.processes())
    server.store.close()


@pytest.mark.parametrize("victim", ["job", "nursery", "server"])
def test_a_job_survives_a_kill_at_every_point(server: ToyServer, tmp_path: Path, victim: str) -> None:
    kills = [{"at": point, "victim": victim} for point in POINTS]
    server.create("drill", tmp_path / "traces", steps=STEPS, kills=kills)
    job = server.finished("drill")
    assert job.status == "Completed", job.state

    struck = {path.name for path in (tmp_path / "traces").glob("struck-*")}
    assert struck == {f"struck-{point.replace(':', '-')}" for point in POINTS}
    # A kill between the side effect and its record makes a step run again; nothing else does.
    assert Counter(lines(tmp_path / "traces" / "effects")) == dict.fromkeys(STEPS, 2)
    assert len(lines(tmp_path / "traces" / "attempts")) == len(POINTS) + 1
    assert server.starts == (len(POINTS) + 1 if victim == "server" else 1)
    eventually(lambda: len(server.processes()) == 3)  # the server and its two nurseries


def test_a_killed_trial_is_told_to_the_job_which_goes_on(server: ToyServer, tmp_path: Path) -> None:
    kills = [{"at": "trial-1:during", "victim": "trial"}]
    server.create("drill", tmp_path / "traces", steps=STEPS, kills=kills)
    assert server.finished("drill").status == "Completed"
    assert len(lines(tmp_path / "traces" / "attempts")) == 1
    assert len(lines(tmp_path / "traces" / "trials")) == 2


def test_a_failpoint_kills_the_job_once_at_its_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ToyServer
) -> None:
    server.stop()
    points = [f"{step}:{point}" for step in ("one", "last") for point in ("before", "unrecorded", "after")]
    monkeypatch.setenv("PILOTHOUSE_FAILPOINT", ",".join(points))
    server.start()
    server.create("drill", tmp_path / "traces", steps=STEPS)
    assert server.finished("drill").status == "Completed"
    assert len(lines(tmp_path / "traces" / "attempts")) == len(points) + 1
    assert Counter(lines(tmp_path / "traces" / "effects")) == {"one": 2, "trial-1": 1, "trial-2": 1, "last": 2}


def test_jobs_resume_after_an_orderly_stop_which_is_quick(server: ToyServer, tmp_path: Path) -> None:
    server.create("job", tmp_path / "traces", steps=["one"], behaviour="wait")
    eventually(lambda: lines(tmp_path / "traces" / "attempts"))
    assert server.stop() < 10
    assert server.processes() == []
    assert server.job("job").status == "InProgress"
    (tmp_path / "traces" / "go").touch()
    server.start()
    assert server.finished("job").status == "Completed"


def test_a_trial_under_way_ends_with_an_orderly_stop(server: ToyServer, tmp_path: Path) -> None:
    server.create("job", tmp_path / "traces", behaviour="long trial")
    eventually(lambda: len(server.processes()) == 5)
    server.stop()
    assert server.processes() == []
    server.start()
    assert server.store.request_stop(KIND, "job") is not None
    assert server.finished("job").status == "Stopped"
    assert lines(tmp_path / "traces" / "trials") == ["was stopped because the job was stopped"]


def test_more_jobs_than_fit_run_in_order(server: ToyServer, tmp_path: Path) -> None:
    server.stop()
    server.start(jobs=1)
    for number in range(4):
        server.create(f"job-{number}", tmp_path / f"traces-{number}", steps=["one"])
    ended = [server.finished(f"job-{number}") for number in range(4)]
    assert [job.status for job in ended] == ["Completed"] * 4
    times = [job.state["EndTime"] for job in ended]
    assert times == sorted(times)


def test_a_finished_job_leaves_its_log_and_no_scratch(server: ToyServer, tmp_path: Path) -> None:
    server.create("Job", tmp_path / "traces", steps=STEPS)
    job = server.finished("Job")
    assert job.state["ToySecondaryStatus"] == "Completed"
    messages = [event.message for event in server.store.logs.events("/toy/jobs", "Job/job")]
    assert messages == ["all steps are done"]
    folder = server.home / "work" / KIND / "job"
    eventually(lambda: [path.name for path in folder.iterdir()] == ["job.log"])


def test_a_job_that_cannot_go_on_fails_with_its_reason(server: ToyServer, tmp_path: Path) -> None:
    server.create("broken", tmp_path / "traces", behaviour="fail")
    state = server.finished("broken").state
    assert state["FailureReason"].startswith("The toy is broken.")
    assert len(state["FailureReason"]) == 1024
    assert state["ToySecondaryStatus"] == "Failed"
    assert state["EndTime"] > 0


def test_a_bug_fails_the_job_with_the_traceback_in_its_log(server: ToyServer, tmp_path: Path) -> None:
    server.create("buggy", tmp_path / "traces", behaviour="crash")
    assert server.finished("buggy").state["FailureReason"] == "InternalServerError: KeyError: 'a bug'"
    messages = [event.message for event in server.store.logs.events("/toy/jobs", "buggy/job")]
    assert "Traceback" in messages[0]


def test_a_job_that_dies_again_and_again_fails(server: ToyServer, tmp_path: Path) -> None:
    server.create("doomed", tmp_path / "traces", behaviour="die")
    reason = server.finished("doomed").state["FailureReason"]
    assert "ended unexpectedly 5 times at the same point (last: it was killed by signal 9 (SIGKILL))" in reason
    assert len(lines(tmp_path / "traces" / "attempts")) == 5


def test_a_job_stopped_before_it_starts_ends_stopped(server: ToyServer, tmp_path: Path) -> None:
    server.stop()
    server.create("job", tmp_path / "traces", behaviour="wait")
    assert server.store.request_stop(KIND, "job") is not None
    server.start()
    assert server.finished("job").status == "Stopped"


def test_a_job_whose_lease_is_taken_away_ends_and_writes_no_more(server: ToyServer, tmp_path: Path) -> None:
    server.create("job", tmp_path / "traces", behaviour="wait", steps=["one"])
    first = int(eventually(lambda: lines(tmp_path / "traces" / "attempts"))[0])
    os.kill(first, signal.SIGSTOP)  # as on a machine that hangs, for longer than the lease holds
    eventually(lambda: len(lines(tmp_path / "traces" / "attempts")) == 2)
    (tmp_path / "traces" / "go").touch()
    assert server.finished("job").status == "Completed"
    eventually(lambda: not psutil.pid_exists(first))
    assert lines(tmp_path / "traces" / "effects") == ["one"]
