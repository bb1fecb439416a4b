"""The supervisor over a real store and a launcher that only pretends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse import clock, volumes
from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed, StoreAway
from pilothouse.hosting.sockets import runtime_folder
from pilothouse.launch.base import NURSERY_ENDED, Exit, Program
from pilothouse.store.leases import Lease, Leases
from pilothouse.store.store import Store
from pilothouse.work.kinds import JobKind
from pilothouse.work.supervisor import FRUITLESS, Supervisor, unexpected_end
from pilothouse.work.watchdog import LEASE_TTL, STORE_AWAY

KIND = "toy-job"
CHILD = "toy-child"
KINDS = {
    KIND: JobKind(KIND, "toys:run", "/toys", secondary_status="ToySecondaryStatus", children=(CHILD, "candidate")),
    CHILD: JobKind(CHILD, "toys:run", "/toys", end_time="ChildEndTime"),
}
PATIENCE = 120


class PretendedProcess:
    """Runs until the test, or the supervisor, ends it."""

    def __init__(self, program: Program, pid: int) -> None:
        self.program = program
        self.pid = pid
        self.terminated = False
        self.stubborn = False
        self._exit: Exit | None = None
        self._ended = threading.Event()

    def end(self, outcome: Exit) -> None:
        self._exit = outcome
        self._ended.set()

    def poll(self) -> Exit | None:
        return self._exit

    def wait(self, timeout: float | None = None) -> Exit | None:
        self._ended.wait(timeout)
        return self._exit

    def terminate(self) -> None:
        self.terminated = True
        if not self.stubborn:
            self.end(Exit(code=143))

    def kill(self) -> None:
        self.end(Exit(signal=9))

    @property
    def name(self) -> str:
        return self.program.arguments["name"]

    @property
    def lease(self) -> Lease:
        arguments = self.program.arguments
        return Lease(KIND, arguments["name"], arguments["token"], arguments["attempt"])


class PretendingLauncher:
    """Remembers what it was asked to launch."""

    def __init__(self) -> None:
        self.processes: list[PretendedProcess] = []
        self.refusals = 0
        self.dies_at_once = False

    def launch(self, program: Program) -> PretendedProcess:
        if self.refusals:
            self.refusals -= 1
            raise LaunchFailed("Not now.")
        process = PretendedProcess(program, 1000 + len(self.processes))
        self.processes.append(process)
        if self.dies_at_once:
            process.end(Exit(signal=9))
        return process

    def close(self) -> None:
        pass


def eventually(true: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < give_up, "it has not happened"
        time.sleep(0.01)
    return answer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, jobs=2, slots=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def launcher() -> PretendingLauncher:
    return PretendingLauncher()


@pytest.fixture
def supervise(store: Store, settings: Settings, launcher: PretendingLauncher) -> Iterator[Callable[..., Supervisor]]:
    started: list[Supervisor] = []

    def start(**options: Any) -> Supervisor:
        supervisor = Supervisor(store, Leases(store), launcher, settings, kinds=KINDS, **options)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop(5)


def add(store: Store, *names: str) -> None:
    for name in names:
        store.insert(KIND, name, {}, status="InProgress")


def finish(store: Store, process: PretendedProcess, status: str = "Completed") -> None:
    store.update(KIND, process.name, status=status, lease=process.lease)
    process.end(Exit(code=0))


def test_jobs_start_in_the_order_of_their_creation_and_no_more_than_fit(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "first", "second", "third", "fourth")
    supervise()
    eventually(lambda: len(launcher.processes) == 2)
    assert [process.name for process in launcher.processes] == ["first", "second"]
    finish(store, launcher.processes[1])
    eventually(lambda: len(launcher.processes) == 3)
    finish(store, launcher.processes[0])
    eventually(lambda: len(launcher.processes) == 4)
    assert [process.name for process in launcher.processes] == ["first", "second", "third", "fourth"]


def test_a_job_process_gets_all_that_it_needs(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, settings: Settings
) -> None:
    add(store, "Mixed-Case")
    supervise()
    process = eventually(lambda: launcher.processes)[0]
    arguments = process.program.arguments
    assert process.program.target == "pilothouse.work.main:main"
    assert process.program.log == settings.work_root / KIND / "mixed-case" / "job.log"
    assert JobKind(**arguments["kind"]) == KINDS[KIND]
    assert Settings(**json.loads(arguments["settings"])) == settings
    assert Leases(store).renew(process.lease, 15)


def test_a_new_job_is_claimed_when_the_supervisor_is_woken(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    supervisor = supervise()
    add(store, "new")
    supervisor.wake()
    eventually(lambda: launcher.processes)


def test_a_job_that_another_process_created_is_claimed(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    supervise()
    add(store, "new")
    eventually(lambda: launcher.processes)


def test_a_lease_that_ran_out_is_noticed_though_nobody_writes(
    store: Store,
    supervise: Callable[..., Supervisor],
    launcher: PretendingLauncher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(store, "job")
    ends = threading.Event()
    monkeypatch.setattr(store.database, "now", lambda _connection: time.time() + 3600 * ends.is_set())
    assert Leases(store).claim([KIND], owner="another server", ttl=600) is not None
    supervise()
    time.sleep(0.5)
    assert not launcher.processes
    ends.set()
    eventually(lambda: launcher.processes)


def test_a_job_whose_server_died_with_it_names_the_server_in_its_reason() -> None:
    assert unexpected_end(5, None).startswith("The job process, or the server with it, ended unexpectedly 5 times")
    assert unexpected_end(5, Exit(signal=9)).startswith(
        "The job process ended unexpectedly 5 times at the same point ("
    )


def test_a_job_whose_process_dies_is_started_again_at_once(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "job")
    supervise()
    eventually(lambda: launcher.processes)[0].end(Exit(signal=9))
    eventually(lambda: len(launcher.processes) == 2)
    attempts = [process.program.arguments["attempt"] for process in launcher.processes]
    assert attempts == [1, 2]
    assert not Leases(store).renew(launcher.processes[0].lease, 15)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that leases are measured by so many seconds on."""
    moved: list[float] = []
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + sum(moved))
    return moved.append


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[Lease | None]:
    """What each look for a job has found."""
    claim, found = Leases.claim, list[Lease | None]()

    def looked(self: Leases, *arguments: Any, **options: Any) -> Lease | None:
        found.append(claim(self, *arguments, **options))
        return found[-1]

    monkeypatch.setattr(Leases, "claim", looked)
    return found


def test_a_launch_that_takes_longer_than_a_lease_starts_one_process(
    store: Store,
    supervise: Callable[..., Supervisor],
    launcher: PretendingLauncher,
    later: Callable[[float], None],
    rounds: list[Lease | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch = launcher.launch

    def slowly(program: Program) -> PretendedProcess:
        later(4 * LEASE_TTL)
        return launch(program)

    monkeypatch.setattr(launcher, "launch", slowly)
    add(store, "job")
    supervise()
    eventually(lambda: rounds.count(None) > 2)
    assert [process.lease.attempt for process in launcher.processes] == [1]
    assert Leases(store).renew(launcher.processes[0].lease, LEASE_TTL)


def test_a_machine_that_was_suspended_goes_on_with_the_processes_that_it_had(
    store: Store,
    supervise: Callable[..., Supervisor],
    launcher: PretendingLauncher,
    later: Callable[[float], None],
    rounds: list[Lease | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Leases.claim

    def suspended_after_the_second(self: Leases, *arguments: Any, **options: Any) -> Lease | None:
        found = looked(self, *arguments, **options)
        if len(rounds) == 2:
            later(4 * LEASE_TTL)
        return found

    monkeypatch.setattr(Leases, "claim", suspended_after_the_second)
    add(store, "job")
    supervise()
    eventually(lambda: len(rounds) > 4)
    assert [process.lease.attempt for process in launcher.processes] == [1]
    assert launcher.processes[0].poll() is None


def test_a_renewal_that_fails_after_a_pause_is_tried_again_before_jobs_are_looked_for(
    store: Store,
    supervise: Callable[..., Supervisor],
    launcher: PretendingLauncher,
    later: Callable[[float], None],
    rounds: list[Lease | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pilothouse.work.supervisor._PAUSE_AFTER_FAILURE", 0.01)
    renewed, failures = Leases.renew, iter([True, True])

    def away_at_first(self: Leases, *arguments: Any) -> bool:
        if next(failures, False):
            raise StoreAway("The metadata store cannot be used right now.")
        return renewed(self, *arguments)

    add(store, "job")
    supervise()
    eventually(lambda: rounds.count(None) > 1)
    monkeypatch.setattr(Leases, "renew", away_at_first)
    later(4 * LEASE_TTL)
    before = len(rounds)
    eventually(lambda: len(rounds) > before + 2)
    assert next(failures, None) is None
    assert [process.lease.attempt for process in launcher.processes] == [1]


def test_a_database_that_was_away_for_longer_than_a_lease_costs_no_process(
    store: Store,
    supervise: Callable[..., Supervisor],
    launcher: PretendingLauncher,
    later: Callable[[float], None],
    rounds: list[Lease | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pilothouse.work.supervisor._PAUSE_AFTER_FAILURE", 0.01)
    add(store, "job")
    supervise()
    eventually(lambda: rounds.count(None) > 1)
    looked, outage = Leases.claim, iter(range(8))

    def away(self: Leases, *arguments: Any, **options: Any) -> Lease | None:
        if next(outage, None) is not None:
            later(LEASE_TTL / 4)
            raise StoreAway("The metadata store cannot be used right now.")
        return looked(self, *arguments, **options)

    monkeypatch.setattr(Leases, "claim", away)
    before = len(rounds)
    eventually(lambda: len(rounds) > before + 2)
    assert next(outage, None) is None
    assert [process.lease.attempt for process in launcher.processes] == [1]


def test_a_job_that_has_ended_is_not_started_again(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "job")
    supervise()
    finish(store, eventually(lambda: launcher.processes)[0])
    time.sleep(0.6)
    assert len(launcher.processes) == 1


def test_what_ended_jobs_have_left_is_cleared_whoever_was_killed_before(
    store: Store, settings: Settings, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "ended", "alive")
    store.update(KIND, "ended", status="Completed")
    left = {name: settings.work_root / KIND / name / "scratch" for name in ("ended", "unknown", "alive")}
    for path in left.values():
        path.parent.mkdir(parents=True)
        path.with_name("job.log").touch()
        path.touch()
    sockets = runtime_folder(left["ended"].parent)
    supervise()
    [process] = eventually(lambda: launcher.processes)
    assert [name for name, path in left.items() if path.exists()] == ["unknown", "alive"]
    assert all(path.with_name("job.log").exists() for path in left.values())
    assert not sockets.exists()
    store.update(KIND, "alive", status="Completed", lease=process.lease)
    process.end(Exit(signal=9))
    eventually(lambda: not left["alive"].exists())


def test_volumes_in_memory_of_jobs_that_ended_are_cleared_too(
    store: Store,
    settings: Settings,
    supervise: Callable[..., Supervisor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = tmp_path / "shm"
    monkeypatch.setattr(volumes, "_DEFAULT", memory)
    monkeypatch.setattr(volumes, "kept_by", lambda folder: volumes.MEMORY if folder == memory else None)
    add(store, "ended", "unended")
    store.update(KIND, "ended", status="Completed")
    ended, unended = (volumes.Volumes(settings).root / KIND / name for name in ("ended", "unended"))
    for folder in (ended, unended):
        folder.mkdir(parents=True)
        (folder / "log.txt").touch()
    supervise()
    eventually(lambda: not ended.exists())
    assert unended.exists()


def test_a_job_that_keeps_dying_at_the_same_point_fails_with_a_reason(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    launcher.dies_at_once = True
    add(store, "doomed")
    supervise()
    eventually(lambda: store.get(KIND, "doomed").status == "Failed")
    assert len(launcher.processes) == FRUITLESS
    state = store.get(KIND, "doomed").state
    assert "ended unexpectedly 5 times at the same point" in state["FailureReason"]
    assert "signal 9 (SIGKILL)" in state["FailureReason"]
    assert state["ToySecondaryStatus"] == "Failed"
    assert state["EndTime"] > 0


def test_what_a_job_that_is_given_up_had_under_way_fails_with_it(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    launcher.dies_at_once = True
    add(store, "doomed")
    for name, status in (("done", "Completed"), ("running", "InProgress"), ("stopping", "Stopping")):
        store.insert(CHILD, name, {}, status=status, parent=(KIND, "doomed"))
    store.insert("candidate", "part", {}, status="InProgress", parent=(KIND, "doomed"))
    supervise()
    eventually(lambda: store.get("candidate", "part").status == "Failed")
    assert store.get("candidate", "part").state["ObjectiveStatus"] == "Failed"
    eventually(lambda: store.get(CHILD, "stopping").status == "Failed")
    running, done = store.get(CHILD, "running"), store.get(CHILD, "done")
    assert (running.status, done.status) == ("Failed", "Completed")
    assert running.state["FailureReason"].startswith("InternalServerError: The toy-job doomed failed before this one")
    assert running.state["ChildEndTime"] > 0
    assert done.state == {}


def test_a_launch_that_fails_is_tried_again_and_is_not_held_against_the_job(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse.work.supervisor._LAUNCH_PAUSE", 0.01)
    launcher.refusals = FRUITLESS + 2
    add(store, "job")
    supervise()
    eventually(lambda: launcher.processes)
    assert store.get(KIND, "job").status == "InProgress"


def test_stop_ends_the_processes_and_releases_their_jobs(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "one", "two")
    supervisor = supervise()
    eventually(lambda: len(launcher.processes) == 2)
    launcher.processes[1].stubborn = True
    supervisor.stop(1.5)
    assert all(process.terminated for process in launcher.processes)
    assert [process.poll() for process in launcher.processes] == [Exit(code=143), Exit(signal=9)]
    assert Leases(store).claim([KIND], owner="other", ttl=15)
    assert Leases(store).claim([KIND], owner="other", ttl=15)


def test_many_orderly_stops_are_not_held_against_a_job(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    add(store, "job")
    for round_number in range(FRUITLESS + 2):
        supervisor = supervise()
        eventually(lambda: len(launcher.processes) == round_number + 1)  # noqa: B023
        supervisor.stop(5)
    assert store.get(KIND, "job").status == "InProgress"


@pytest.mark.parametrize("end", [Exit(signal=9, reason=NURSERY_ENDED), Exit(code=STORE_AWAY)], ids=["nursery", "store"])
def test_what_is_no_fault_of_a_job_is_not_held_against_it_for_a_long_while(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, end: Exit
) -> None:
    add(store, "job")
    supervise()
    for times in range(FRUITLESS + 2):
        eventually(lambda n=times: len(launcher.processes) > n)
        launcher.processes[-1].end(end)
    eventually(lambda: len(launcher.processes) == FRUITLESS + 3)
    assert store.leases.fruitless(launcher.processes[-1].lease) == 1


def test_no_job_is_claimed_after_stop_claiming(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    supervise().stop_claiming()
    add(store, "late")
    time.sleep(0.6)
    assert not launcher.processes


def test_a_new_supervisor_takes_over_what_a_dead_one_on_its_home_had_claimed(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, settings: Settings
) -> None:
    add(store, "job")
    dead = Supervisor(store, Leases(store), launcher, settings, kinds=KINDS)
    assert Leases(store).claim([KIND], owner=dead._owner, ttl=3600)
    supervise()
    eventually(lambda: launcher.processes)


def test_two_supervisors_share_the_jobs(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, tmp_path: Path
) -> None:
    add(store, *(f"job-{i}" for i in range(4)))
    elsewhere = Settings(home=tmp_path / "elsewhere", jobs=2, slots=1)
    other = Supervisor(store, Leases(store), launcher, elsewhere, kinds=KINDS)
    supervise()
    other.start()
    eventually(lambda: len(launcher.processes) == 4)
    other.stop(5)
    assert len({process.name for process in launcher.processes[:4]}) == 4


def test_the_supervisor_survives_a_store_that_is_away(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, failures = Leases.claim, [OSError("away")] * 3

    def flaky(self: Leases, *arguments: Any, **options: Any) -> Lease | None:
        if failures:
            raise failures.pop()
        return claim(self, *arguments, **options)

    monkeypatch.setattr(Leases, "claim", flaky)
    supervise()
    add(store, "job")
    eventually(lambda: launcher.processes)
    assert not failures


class Ticks:
    """A reconciler that counts, and fails now and then."""

    def __init__(self) -> None:
        self.ticks = 0
        self.stopped: list[float] = []
        self.threads: set[int] = set()
        self.hold = threading.Event()
        self.hold.set()

    def tick(self) -> None:
        self.threads.add(threading.get_ident())
        self.ticks += 1
        self.hold.wait()
        if self.ticks == 1:
            raise ValueError("a bad start")

    def stop(self, timeout: float) -> None:
        self.threads.add(threading.get_ident())
        self.stopped.append(timeout)


def test_a_reconciler_ticks_again_after_an_error_and_is_stopped_once(supervise: Callable[..., Supervisor]) -> None:
    reconciler = Ticks()
    supervisor = supervise(reconcilers=[reconciler])
    eventually(lambda: reconciler.ticks > 1)
    supervisor.stop(5)
    supervisor.stop(5)
    assert reconciler.stopped == [5]
    assert len(reconciler.threads) == 1


def test_a_reconciler_that_takes_long_does_not_hold_up_jobs(
    store: Store, supervise: Callable[..., Supervisor], launcher: PretendingLauncher
) -> None:
    reconciler = Ticks()
    reconciler.hold.clear()
    supervise(reconcilers=[reconciler])
    add(store, "job")
    eventually(lambda: launcher.processes)
    reconciler.hold.set()
