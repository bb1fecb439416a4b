"""A job's own view: steps that happen once, guarded writes, stop requests, and how its end is recorded."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pilothouse.config import Settings
from pilothouse.errors import DataError, LaunchFailed, LeaseLost, ServiceUnavailable, StoreAway
from pilothouse.launch.base import Exit, Program
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.store.leases import Leases
from pilothouse.store.store import Store
from pilothouse.work import job as work_job
from pilothouse.work import main as work_main
from pilothouse.work.job import OUT_OF_TIME, STOPPED, Job
from pilothouse.work.kinds import JobKind
from pilothouse.work.main import conclude
from pilothouse.work.watchdog import STORE_AWAY, Watchdog

TARGET = "toy_target_of_unit_tests"
KIND = JobKind("toy-job", f"{TARGET}:run", "/toys", end_time="ToyEndTime", secondary_status="ToySecondaryStatus")


class Trial:
    """A pretended trial that runs until it is killed, or not at all."""

    def __init__(self, program: Program, outcome: Exit | None) -> None:
        self.program = program
        self.pid = 1
        self.outcome = outcome
        self.started = threading.Event()

    def poll(self) -> Exit | None:
        return self.outcome

    def wait(self, timeout: float | None = None) -> Exit | None:
        self.started.set()
        if self.outcome is None and timeout:
            time.sleep(timeout)
        return self.outcome

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.outcome = Exit(signal=9)


class TrialLauncher:
    def __init__(self) -> None:
        self.outcome: Exit | None = Exit(code=0)
        self.refusals = 0
        self.trials: list[Trial] = []

    def launch(self, program: Program) -> Trial:
        if self.refusals:
            self.refusals -= 1
            raise LaunchFailed("The process could not be started: Resource temporarily unavailable: fork.")
        self.trials.append(Trial(program, self.outcome))
        return self.trials[-1]

    def close(self) -> None:
        pass


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, slots=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    store.insert(KIND.kind, "Toy", {"Answer": 42}, status="InProgress")
    yield store
    store.close()


@pytest.fixture
def launcher() -> TrialLauncher:
    return TrialLauncher()


@pytest.fixture
def attempt(store: Store, settings: Settings, launcher: TrialLauncher) -> Callable[[], Job]:
    """A fresh attempt at the one job there is, whoever held it before."""
    leases = Leases(store)

    def start() -> Job:
        leases.release_owned("test")
        lease = leases.claim([KIND.kind], owner="test", ttl=60)
        assert lease is not None
        objects = DirectoryObjects(settings.objects_root)
        return Job(KIND, lease, store=store, objects=objects, launcher=launcher, settings=settings)

    return start


@pytest.fixture
def job(attempt: Callable[[], Job]) -> Job:
    return attempt()


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job], None]], None]:
    """Makes a function the target of the toy kind."""

    def become(run: Callable[[Job], None]) -> None:
        module = ModuleType(TARGET)
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, TARGET, module)

    return become


def test_a_job_knows_its_row(job: Job, settings: Settings, store: Store) -> None:
    assert (job.name, job.request) == ("Toy", {"Answer": 42})
    assert job.started_at == store.get(KIND.kind, "toy").created_at
    assert job.directory == settings.work_root / "toy-job" / "toy"
    assert job.directory.is_dir()


def test_a_step_is_done_once_over_all_attempts(attempt: Callable[[], Job]) -> None:
    calls: list[int] = []

    def step() -> dict[str, Any]:
        calls.append(len(calls))
        return {"calls": len(calls)}

    first = attempt()
    assert not first.recorded("step")
    assert first.once("step", step) == {"calls": 1}
    assert first.once("step", step) == {"calls": 1}
    second = attempt()
    assert second.recorded("step")
    assert second.once("step", step) == {"calls": 1}
    assert calls == [0]


def test_a_step_that_raises_is_not_recorded(attempt: Callable[[], Job]) -> None:
    with pytest.raises(ZeroDivisionError):
        attempt().once("step", lambda: {"x": 1 / 0})
    assert attempt().once("step", lambda: {"x": 1}) == {"x": 1}


def test_a_result_is_the_same_the_first_time_and_after(attempt: Callable[[], Job]) -> None:
    first = attempt().once("step", lambda: {"pair": (1, 2)})
    assert first == attempt().once("step", lambda: {}) == {"pair": [1, 2]}


def test_changing_a_result_does_not_change_the_record(job: Job) -> None:
    job.once("step", lambda: {"list": [1]})["list"].append(2)
    assert job.once("step", lambda: {}) == {"list": [1]}


def test_steps_may_be_recorded_from_several_threads(job: Job, attempt: Callable[[], Job]) -> None:
    threads = [threading.Thread(target=job.once, args=(f"step-{i}", lambda i=i: {"i": i})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = attempt()
    assert [again.once(f"step-{i}", lambda: {})["i"] for i in range(8)] == list(range(8))


def test_an_attempt_that_lost_its_lease_can_write_nothing(attempt: Callable[[], Job]) -> None:
    old, new = attempt(), attempt()
    with pytest.raises(LeaseLost):
        old.update(state={"Note": "stale"})
    with pytest.raises(LeaseLost):
        old.once("step", lambda: {})
    new.update(state={"Note": "fresh"})
    assert new.refresh().state["Note"] == "fresh"


def test_a_deleted_job_is_a_lost_lease(job: Job, store: Store) -> None:
    store.delete(KIND.kind, "Toy")
    with pytest.raises(LeaseLost):
        job.refresh()


def test_a_log_line_goes_to_the_jobs_stream(job: Job, store: Store) -> None:
    job.log("hello")
    assert [event.message for event in store.logs.events("/toys", "Toy/job")] == ["hello"]


def test_a_stop_request_is_seen(job: Job, store: Store) -> None:
    assert not job.stop_requested
    store.request_stop(KIND.kind, "Toy")
    give_up = time.monotonic() + 60
    while not job.stop_requested:
        assert time.monotonic() < give_up


def test_a_trial_gets_a_share_of_the_memory_and_tells_how_it_ended(job: Job, launcher: TrialLauncher) -> None:
    launcher.outcome = Exit(code=3)
    assert job.trial(Program("x:y")) == Exit(code=3)
    assert (launcher.trials[0].program.memory_limit or 0) > 2**20
    job.trial(Program("x:y", memory_limit=5))
    assert launcher.trials[1].program.memory_limit == 5


def test_a_trial_is_killed_when_the_job_is_stopped(job: Job, store: Store, launcher: TrialLauncher) -> None:
    launcher.outcome = None
    ended: list[Exit] = []
    thread = threading.Thread(target=lambda: ended.append(job.trial(Program("x:y"))))
    thread.start()
    store.request_stop(KIND.kind, "Toy")
    thread.join(30)
    assert ended[0].reason == STOPPED
    assert job.trial(Program("x:y")).reason == STOPPED
    assert len(launcher.trials) <= 1


def test_a_trial_outlives_a_store_that_is_away_for_a_moment(
    job: Job, launcher: TrialLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def away(*_: object) -> bool:
        asked.append(True)
        if len(asked) > 2:
            launcher.trials[0].outcome = Exit(code=0)
        raise StoreAway

    launcher.outcome = None
    monkeypatch.setattr(Leases, "stop_requested", away)
    assert job.trial(Program("x:y")) == Exit(code=0)


def test_a_trial_is_killed_at_the_deadline(job: Job, launcher: TrialLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.outcome = None
    monkeypatch.setattr(work_job, "time", SimpleNamespace(monotonic=lambda: 100.0 * len(launcher.trials)))
    assert job.trial(Program("x:y"), deadline=50.0) == Exit(signal=9, reason=OUT_OF_TIME)
    assert job.trial(Program("x:y"), deadline=100.0) == Exit(reason=OUT_OF_TIME)
    assert len(launcher.trials) == 1


def test_a_program_that_cannot_be_started_for_a_moment_is_tried_again(
    job: Job, launcher: TrialLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_job, "_LAUNCH_PAUSE", 0.01)
    launcher.refusals = 3
    assert job.trial(Program("x:y")) == Exit(code=0)
    launcher.refusals = 3
    assert job.start(Program("x:y")).poll() == Exit(code=0)
    assert len(launcher.trials) == 2


def test_a_program_that_can_never_be_started_is_a_failure_in_the_end(
    job: Job, store: Store, launcher: TrialLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_job, "_LAUNCH_PAUSE", 0.01)
    launcher.refusals = 10**9
    store.request_stop(KIND.kind, "Toy")
    assert job.trial(Program("x:y"), cut=lambda: "was cut").reason == STOPPED
    monkeypatch.setattr(work_job, "_LAUNCH_PATIENCE", 0.05)
    with pytest.raises(LaunchFailed):
        job.start(Program("x:y"))
    assert launcher.refusals < 10**9 - 1


def test_a_trial_is_killed_for_a_reason_that_whoever_started_it_gives(job: Job, launcher: TrialLauncher) -> None:
    launcher.outcome = None
    asked: list[bool] = []

    def cut() -> str | None:
        asked.append(True)
        return "was cut" if len(asked) > 3 else None

    assert job.trial(Program("x:y"), cut=cut) == Exit(signal=9, reason="was cut")
    assert job.trial(Program("x:y"), cut=lambda: "was cut") == Exit(reason="was cut")
    assert len(launcher.trials) == 1


def test_trials_wait_for_a_slot(job: Job, launcher: TrialLauncher) -> None:
    launcher.outcome = None
    ended: list[Exit] = []
    threads = [threading.Thread(target=lambda: ended.append(job.trial(Program("x:y")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + 60
    while not (launcher.trials and launcher.trials[0].started.is_set()):
        assert time.monotonic() < give_up
    time.sleep(0.2)
    assert len(launcher.trials) == 1
    launcher.outcome = Exit(code=0)
    launcher.trials[0].outcome = Exit(code=0)
    for thread in threads:
        thread.join(30)
    assert ended == [Exit(code=0)] * 2


def test_a_failpoint_kills_once(attempt: Callable[[], Job], monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(work_job.os, "kill", lambda pid, number: killed.append(pid))
    monkeypatch.setenv("PILOTHOUSE_FAILPOINT", "step:before,step:after,other:before")
    attempt().once("step", lambda: {})
    assert killed == [os.getpid()] * 2
    attempt().once("step", lambda: {})
    assert len(killed) == 2


def test_a_target_that_returns_completes_its_job(job: Job, target: Callable[..., None]) -> None:
    target(lambda job: None)
    conclude(job)
    row = job.refresh()
    assert (row.status, row.state["ToySecondaryStatus"]) == ("Completed", "Completed")
    assert row.state["ToyEndTime"] >= row.created_at


def test_a_target_that_returns_after_a_stop_request_has_stopped(
    job: Job, store: Store, target: Callable[..., None]
) -> None:
    store.request_stop(KIND.kind, "Toy")
    target(lambda job: None)
    conclude(job)
    assert job.refresh().status == "Stopped"


def test_a_terminal_status_of_the_targets_own_is_kept(job: Job, target: Callable[..., None]) -> None:
    target(lambda job: job.update(status="Completed", state={"ToySecondaryStatus": "EarlyEnd"}))
    conclude(job)
    assert job.refresh().state == {"ToySecondaryStatus": "EarlyEnd"}


def test_a_job_that_fails_carries_its_reason(job: Job, target: Callable[..., None]) -> None:
    def run(job: Job) -> None:
        raise DataError("Row 7 is ragged. " + "x" * 2000)

    target(run)
    conclude(job)
    row = job.refresh()
    assert row.status == row.state["ToySecondaryStatus"] == "Failed"
    assert row.state["FailureReason"].startswith("Row 7 is ragged.")
    assert len(row.state["FailureReason"]) == 1024


def test_a_bug_is_an_internal_error(job: Job, target: Callable[..., None], store: Store) -> None:
    target(lambda job: {}["missing"])
    conclude(job)
    assert job.refresh().state["FailureReason"] == "InternalServerError: KeyError: 'missing'"
    assert "Traceback" in store.logs.events("/toys", "Toy/job")[0].message


def test_a_store_that_is_away_fails_no_job(job: Job, target: Callable[..., None]) -> None:
    def run(job: Job) -> None:
        raise StoreAway("The metadata store cannot be used right now.")

    target(run)
    with pytest.raises(StoreAway):
        conclude(job)
    assert job.refresh().status == "InProgress"


@pytest.mark.parametrize(("attempt_number", "pause"), [(1, 1), (7, 7), (50, 30)])
def test_a_process_that_cannot_reach_the_store_says_so_and_keeps_the_next_from_coming_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, attempt_number: int, pause: int
) -> None:
    def away(*_: object) -> None:
        raise StoreAway

    def leave(code: int) -> None:
        raise SystemExit(code)

    pauses: list[float] = []
    monkeypatch.setattr(work_main, "logs", SimpleNamespace(configure=lambda _: None))  # they are the whole process's
    monkeypatch.setattr(work_main, "_do", away)
    monkeypatch.setattr(Watchdog, "start", lambda _: None)
    monkeypatch.setattr(work_main, "os", SimpleNamespace(_exit=leave))
    monkeypatch.setattr(work_main, "time", SimpleNamespace(sleep=pauses.append))
    with pytest.raises(SystemExit) as left:
        work_main.main(asdict(KIND), "Toy", "token", attempt_number, settings.model_dump_json())
    assert (left.value.code, pauses) == (STORE_AWAY, [pause])


def test_an_object_store_that_is_away_fails_a_job_with_that_reason(job: Job, target: Callable[..., None]) -> None:
    def run(job: Job) -> None:
        raise ServiceUnavailable("The object store cannot be used.")

    target(run)
    conclude(job)
    assert job.refresh().state["FailureReason"].endswith("The object store cannot be used.")


def test_a_lost_lease_leaves_the_row_alone(
    attempt: Callable[[], Job], target: Callable[..., None], store: Store
) -> None:
    def run(job: Job) -> None:
        attempt()
        job.update(state={"Note": "stale"})

    target(run)
    with pytest.raises(LeaseLost):
        conclude(attempt())
    assert store.get(KIND.kind, "Toy").status == "InProgress"
