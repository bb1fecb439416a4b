"""A job, as the code that does it sees it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from pilothouse.catalog import kms
from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed, LeaseLost, StoreAway
from pilothouse.launch.base import Exit, Launcher, Process, Program
from pilothouse.launch.slots import Slots, memory_share
from pilothouse.objects.base import Objects
from pilothouse.store.leases import Lease, Leases
from pilothouse.store.steps import Steps
from pilothouse.store.store import Resource, Store
from pilothouse.work import scratch
from pilothouse.work.kinds import JobKind

FAILPOINT = "PILOTHOUSE_FAILPOINT"
STOPPED = "was stopped because the job was stopped"
OUT_OF_TIME = "was stopped because the job ran out of time"
_STOP_CACHE = 0.3
_TRIAL_POLL = 0.1
_LAUNCH_PATIENCE, _LAUNCH_PAUSE = 30.0, 0.5

Cut = Callable[[], str | None]
"""Why a program is to be ended, as a clause without a subject; None while it may go on."""


class Job:
    """One claimed job. Everything that it writes to the store is refused once the lease is lost (`LeaseLost`).

    The methods may be called from several threads.
    """

    def __init__(
        self,
        kind: JobKind,
        lease: Lease,
        *,
        store: Store,
        objects: Objects,
        launcher: Launcher,
        settings: Settings,
    ) -> None:
        self.kind = kind
        self.lease = lease
        self.store = store
        self.launcher = launcher
        self.settings = settings
        self.resource = self.refresh()
        self.objects = objects.keyed(kms.of_output(self.request))
        self._leases = Leases(store)
        self._steps = Steps(store)
        self._recorded = self._steps.recorded(lease)
        self._slots = Slots(settings.work_root / "slots", settings.slots)
        self._stop_lock = threading.Lock()
        self._stop_seen = (float("-inf"), False)
        self._journal = structlog.get_logger().bind(kind=lease.kind, name=lease.name)

    @property
    def name(self) -> str:
        """The job's name as its creator spelled it."""
        return self.resource.name

    @cached_property
    def directory(self) -> Path:
        """Scratch space that survives the process, so that a step can find there what an earlier one left.

        It is cleared when the job has ended, and gone before that if it is in memory and the machine goes down.
        `ConfigurationError` if the request names a key for its volumes that can't be honoured here.
        """
        return scratch.opened(self.settings, self.resource)

    @property
    def request(self) -> dict[str, Any]:
        """The create document, verbatim."""
        return self.resource.request

    @property
    def started_at(self) -> float:
        """When the job was created, in epoch seconds; its runtime limits count from here, over all restarts."""
        return self.resource.created_at

    def refresh(self) -> Resource:
        """Reads the job's row anew and returns it; also found in `resource`."""
        resource = self.store.get(self.lease.kind, self.lease.name)
        if resource is None:
            raise LeaseLost(f"The {self.lease.kind} {self.lease.name} was deleted.")
        self.resource = resource
        return resource

    def once(self, step: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `do()`, which is called only if no earlier run recorded a result for `step`.

        The result must be a JSON object, and comes back as JSON gives it back (tuples as lists), the first time too.
        A run that dies between `do()` and the record does the step again: `do` must bear that.
        """
        if step in self._recorded:
            return deepcopy(self._recorded[step])
        self.failpoint(step, "before")
        result: dict[str, Any] = json.loads(json.dumps(do()))
        self.failpoint(step, "unrecorded")
        self._steps.record(self.lease, step, result)
        self._recorded[step] = result
        self.failpoint(step, "after")
        return deepcopy(result)

    def recorded(self, step: str) -> bool:
        """Whether `step` has been done and recorded."""
        return step in self._recorded

    def update(self, *, status: str | None = None, state: dict[str, Any] | None = None) -> Resource | None:
        """Writes to the job's own row in one transaction; `state` is merged, a None in it removes the member."""
        resource = self.store.update(self.lease.kind, self.lease.name, status=status, state=state, lease=self.lease)
        if resource is not None:
            self.resource = resource
        return resource

    def log(self, message: str) -> None:
        """Adds a line to the job's log stream, which API clients can read, and to the process log."""
        self._journal.info(message)
        self.store.logs.append(self.kind.log_group, f"{self.name}/job", [message])

    @property
    def stop_requested(self) -> bool:
        """Whether a client asked for this job to stop; may be up to 0.3 s behind, or longer while the store is away.

        For what runs does not need the store, and if that stays away the watchdog ends this process.
        """
        with self._stop_lock:
            seen, answer = self._stop_seen
            if not answer and time.monotonic() - seen > _STOP_CACHE:
                with suppress(StoreAway):
                    answer = self._leases.stop_requested(self.lease)
                self._stop_seen = (time.monotonic(), answer)
            return answer

    def trial(self, program: Program, *, deadline: float | None = None, cut: Cut = lambda: None) -> Exit:
        """Runs `program` in a trial slot and waits for its end; call it from threads to run several side by side.

        Without a memory limit of its own the program gets a slot's equal share. Once the job is asked to stop, or at
        `deadline` (`time.monotonic()`), the program is killed, or not started, with reason STOPPED or OUT_OF_TIME; so
        it is when `cut`, which is called about ten times a second, gives a reason.
        """

        def cut_off() -> str | None:
            return self._cut_off(deadline) or cut()

        with self._slots.hold(lambda: cut_off() is not None) as slot:
            give_up_at, process = time.monotonic() + _LAUNCH_PATIENCE, None
            while process is None:
                reason = cut_off()
                if slot is None or reason is not None:
                    return Exit(reason=reason or STOPPED)
                process = self._launched(program, give_up_at)
            return self._watch(process, cut_off)

    @contextmanager
    def slot(self, give_up: Callable[[], bool]) -> Iterator[bool]:
        """Holds a trial slot for the block, for programs that are not simply killed: see `start`.

        Yields False, without a slot, once `give_up()` says so while it waits.
        """
        with self._slots.hold(give_up) as slot:
            yield slot is not None

    def start(self, program: Program) -> Process:
        """Starts `program`, by default with a slot's equal share of memory; it ends with this process."""
        give_up_at = time.monotonic() + _LAUNCH_PATIENCE
        while (process := self._launched(program, give_up_at)) is None:
            pass
        return process

    def _launched(self, program: Program, give_up_at: float) -> Process | None:
        """Starts `program`; None, after a pause, if that is not possible and it is not `give_up_at` yet.

        The machine may have no process or memory to give for a moment, for others' fault.
        """
        try:
            return self.launcher.launch(self._limited(program))
        except LaunchFailed as error:
            if time.monotonic() >= give_up_at:
                raise
            self._journal.warning("a program could not be started; trying again", error=error.message)
        time.sleep(_LAUNCH_PAUSE)
        return None

    def _watch(self, process: Process, cut_off: Cut) -> Exit:
        while True:
            end = process.wait(_TRIAL_POLL)
            if end is not None:
                return end
            reason = cut_off()
            if reason is not None:
                process.kill()
                end = process.wait()
                return Exit(end.code, end.signal, reason) if end else Exit(reason=reason)

    def _cut_off(self, deadline: float | None) -> str | None:
        if self.stop_requested:
            return STOPPED
        return OUT_OF_TIME if deadline is not None and time.monotonic() >= deadline else None

    def _limited(self, program: Program) -> Program:
        if program.memory_limit is not None:
            return program
        return replace(program, memory_limit=memory_share(self.settings))

    def failpoint(self, step: str, point: str) -> None:
        """Dies by SIGKILL here, once, if PILOTHOUSE_FAILPOINT names this point; that is how drills kill a job."""
        if f"{step}:{point}" not in os.environ.get(FAILPOINT, "").split(","):
            return
        marker = self.directory / f"failpoint-{step.replace('/', '-')}-{point}"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
