"""The supervisor: claims jobs, starts a process for each, and sees to it that every job comes to an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import structlog

from pilothouse import clock
from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed, LeaseLost
from pilothouse.launch.base import NURSERY_ENDED, Exit, Launcher, Process, Program
from pilothouse.store.changes import Changes
from pilothouse.store.leases import FORGIVEN, Lease, Leases
from pilothouse.store.store import Store
from pilothouse.work.failure import fail
from pilothouse.work.kinds import KINDS, TERMINAL, JobKind
from pilothouse.work.reconcilers import Reconciler, ReconcilerThread
from pilothouse.work.scratch import clear, job_directory, left, tidy
from pilothouse.work.watchdog import LEASE_TTL, STORE_AWAY

ENTRY = "pilothouse.work.main:main"
FRUITLESS = 5
"""How often a job's process may end unexpectedly without a new step recorded before the job fails."""

_POLL = 0.2
_LOOK_AGAIN = 1.0  # seconds after which a lease may have run out though nothing was written
_LAUNCH_PAUSE = 1.0
_PAUSE_AFTER_FAILURE = 1.0
_KILL_RESERVE = 1.0
_PAUSE = LEASE_TTL / 3
"""Seconds between two claims after which leases may be about to run out unheard."""

journal = structlog.get_logger()


@dataclass(frozen=True)
class Running:
    """A claimed job and its process."""

    lease: Lease
    process: Process


class Supervisor:
    """Runs up to `settings.jobs` jobs of `kinds` at once, oldest first, and `reconcilers` beside them.

    Several supervisors may work on one store. Those of one home may not run at the same time: at its start a supervisor
    takes over the jobs that an earlier one on its home, which must be dead, had claimed. Whoever made the launcher
    closes it, after `stop`.
    """

    def __init__(
        self,
        store: Store,
        leases: Leases,
        launcher: Launcher,
        settings: Settings,
        *,
        kinds: Mapping[str, JobKind] = KINDS,
        reconcilers: Sequence[Reconciler] = (),
    ) -> None:
        self._store = store
        self._leases = leases
        self._launcher = launcher
        self._settings = settings
        self._kinds = dict(kinds)
        self._owner = f"{socket.gethostname()}:{settings.home.resolve()}"
        self._running: list[Running] = []
        self._exits: dict[tuple[str, str], Exit] = {}
        self._launch_after = 0.0
        self._changes = Changes(store)
        self._look_at = 0.0
        self._held_at = clock.now()
        self._claiming = True
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)
        self._reconcilers = [ReconcilerThread(reconciler) for reconciler in reconcilers]

    def start(self) -> None:
        """Begins, in a thread of its own."""
        self._leases.release_owned(self._owner)
        self._thread.start()
        for reconciler in self._reconcilers:
            reconciler.start()

    def wake(self) -> None:
        """There is something new in the store: looks at once rather than at the next poll."""
        self._woken.set()
        for reconciler in self._reconcilers:
            reconciler.wake()

    def stop_claiming(self) -> None:
        """Starts no job any more; those that run go on."""
        self._claiming = False

    def stop(self, timeout: float = 8.0) -> None:
        """Ends job processes and reconcilers within `timeout` seconds; the jobs go on at the next start."""
        deadline = time.monotonic() + timeout
        self.stop_claiming()
        self._stopping.set()
        self._woken.set()
        for reconciler in self._reconcilers:
            reconciler.ask_to_stop(timeout)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._end_jobs(deadline)
        for reconciler in self._reconcilers:
            reconciler.join(max(0.0, deadline - time.monotonic()))
        self._changes.close()
        tidy(self._settings)

    def _loop(self) -> None:
        cleared = False
        while not self._stopping.is_set():
            try:
                cleared = cleared or self._clear_ended()
                self._settle_ended()
                if self._may_find_work():
                    self._claim()
            except Exception:  # a database that is away comes back; the loop must still be there then
                journal.exception("the supervisor could not do its round")
                self._stopping.wait(_PAUSE_AFTER_FAILURE)
            self._woken.wait(_POLL)
            self._woken.clear()

    def _clear_ended(self) -> bool:
        """Clears the scratch folders of jobs that had ended when an earlier server was killed.

        Those of jobs that the store does not know stay: another store may.
        """
        for kind in self._kinds:
            for name in left(self._settings, kind):
                resource = self._store.get(kind, name)
                if resource is not None and resource.status in TERMINAL:
                    self._clear(kind, name)
        return True

    def _clear(self, kind: str, name: str) -> None:
        try:
            clear(self._settings, kind, name)
        except OSError as error:  # space that is lost keeps no job from running
            journal.warning("the folder of an ended job could not be cleared", kind=kind, name=name, error=str(error))

    def _may_find_work(self) -> bool:
        changed, now = self._changes.any(), time.monotonic()
        if not changed and now < self._look_at:
            return False
        self._look_at = now + _LOOK_AGAIN
        return True

    def _claim(self) -> None:
        while self._may_claim():
            looked_at = clock.now()
            self._hold(looked_at)
            lease = self._leases.claim(list(self._kinds), owner=self._owner, ttl=LEASE_TTL)
            self._held_at = looked_at
            if lease is None:
                return
            self._take_on(lease)

    def _hold(self, now: float) -> None:
        """Renews the leases of live processes after a pause in which these could not: while the machine was suspended
        or the database away, or while this thread waited for a process to be started, as for a nursery that still
        loads its libraries.
        """
        for running in self._running if now - self._held_at > _PAUSE else ():
            if running.process.poll() is None:
                self._leases.renew(running.lease, LEASE_TTL)

    def _may_claim(self) -> bool:
        has_room = len(self._running) < self._settings.jobs
        return self._claiming and has_room and time.monotonic() >= self._launch_after

    def _take_on(self, lease: Lease) -> None:
        self._displace(lease)
        fruitless = self._leases.fruitless(lease) - 1  # without the claim that has just begun
        if fruitless >= FRUITLESS:
            self._give_up(lease, fruitless)
            return
        try:
            process = self._launcher.launch(self._program(lease))
        except LaunchFailed as error:
            journal.warning("a job process could not be started; trying again", name=lease.name, error=error.message)
            self._launch_after = time.monotonic() + _LAUNCH_PAUSE
            self._leases.release(lease, orderly=True)
            return
        journal.info("job claimed", kind=lease.kind, name=lease.name, attempt=lease.attempt, pid=process.pid)
        self._running.append(Running(lease, process))

    def _displace(self, lease: Lease) -> None:
        """Kills an own process whose lease was lost to others for a while, before another takes its job."""
        for running in [r for r in self._running if (r.lease.kind, r.lease.name) == (lease.kind, lease.name)]:
            running.process.kill()
            running.process.wait()
            self._running.remove(running)

    def _program(self, lease: Lease) -> Program:
        return Program(
            target=ENTRY,
            arguments={
                "kind": asdict(self._kinds[lease.kind]),
                "name": lease.name,
                "token": lease.token,
                "attempt": lease.attempt,
                "settings": self._settings.model_dump_json(),
            },
            log=job_directory(self._settings, lease.kind, lease.name) / "job.log",
            label=lease.name,
        )

    def _settle_ended(self) -> None:
        for running in list(self._running):
            outcome = running.process.poll()
            if outcome is not None:
                self._settle(running.lease, outcome)
                self._running.remove(running)

    def _settle(self, lease: Lease, outcome: Exit) -> None:
        key = (lease.kind, lease.name)
        resource = self._store.get(*key)
        if resource is None or resource.status in TERMINAL:
            self._exits.pop(key, None)
            self._clear(*key)  # its own process does, unless it was killed
        else:
            self._exits[key] = outcome
            journal.warning("a job process ended unexpectedly", kind=key[0], name=key[1], how=outcome.describe())
        is_innocent = outcome.reason == NURSERY_ENDED or outcome.code == STORE_AWAY
        self._leases.release(lease, orderly=is_innocent and lease.attempt <= FORGIVEN)

    def _give_up(self, lease: Lease, times: int) -> None:
        outcome = self._exits.pop((lease.kind, lease.name), None)
        reason = unexpected_end(times, outcome)
        journal.error("giving a job up", kind=lease.kind, name=lease.name, reason=reason)
        try:
            fail(self._store, self._kinds[lease.kind], lease, reason, self._kinds)
        except LeaseLost:
            return
        self._clear(lease.kind, lease.name)
        self._leases.release(lease)

    def _end_jobs(self, deadline: float) -> None:
        for running in self._running:
            running.process.terminate()
        for running in self._running:
            outcome = running.process.wait(max(0.0, deadline - _KILL_RESERVE - time.monotonic()))
            if outcome is None:
                running.process.kill()
                running.process.wait(_KILL_RESERVE)
            with suppress(Exception):  # a database that is away is no reason not to end the others
                self._leases.release(running.lease, orderly=True)
        self._running.clear()


def unexpected_end(times: int, last: Exit | None) -> str:
    """The FailureReason of a job whose process kept dying; without `last` the server may have died with it."""
    who = "The job process" if last else "The job process, or the server with it,"
    how = f" (last: it {last.describe()})" if last else ""
    return (
        f"{who} ended unexpectedly {times} times at the same point{how}. If the machine is short of memory, "
        "give it more or train on less data; then create the job again under a new name. The server's log says more."
    )
