"""One replica kept alive: fetch its model, start its process, wait until it answers, start it again when it dies."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import structlog

from pilothouse import names
from pilothouse.catalog import hosting
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ConfigurationError, LaunchFailed, PilothouseError, ServiceUnavailable, StoreAway
from pilothouse.hosting import connection
from pilothouse.hosting.archives import Archives
from pilothouse.hosting.pulse import Pulse
from pilothouse.hosting.tail import Tail
from pilothouse.launch.base import NURSERY_ENDED, Exit, Launcher, Process, Program
from pilothouse.store.store import Store

START_SECONDS = 240.0
"""How long a replica may take until it answers /ping, unless its variant says otherwise."""

STEADY_SECONDS = 60.0
"""How long a replica must answer before its earlier failures are forgotten."""

STOP_SECONDS = 20.0
"""How long a replica may take to end: well beyond the time that it gives requests in flight."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_NO_ROOM = (
    "The key of a volume cannot be honoured: the model does not fit into the memory that volumes have here. "
    "Give them more (docker run --shm-size=8g)."
)

journal = structlog.get_logger()


@dataclass(frozen=True)
class Shop:
    """What keepers share: where models, sockets and logs are, and who starts processes and fetches models.

    `keyed` gives the archives of endpoints with a key for their volumes; `ConfigurationError` if none can be kept.
    """

    store: Store
    archives: Archives
    keyed: Callable[[], Archives]
    launcher: Launcher
    starter: Executor
    sockets: Path
    logs: Path
    memory_limit: int


@dataclass(frozen=True)
class Place:
    """Which replica: the `index`-th of a variant of an endpoint, and the containers that it runs, in series or not.

    `patience`: how long it may take until it answers, in seconds. `keyed`: whether its volume has a key.
    """

    endpoint: str
    variant: str
    index: int
    containers: Sequence[Document]
    direct: bool = False
    patience: float = START_SECONDS
    keyed: bool = False


@dataclass(frozen=True)
class _Run:
    process: Process
    socket: Path
    tail: Tail


class Keeper:
    """Keeps one replica running. `step()` never blocks for long; call it a few times a second."""

    def __init__(self, place: Place, shop: Shop) -> None:
        self.place = place
        self.failures = 0
        self.reason = ""
        self._hindrances = 0
        self._shop = shop
        self._definitions: list[Document] | None = None
        self._starting: Future[_Run] | None = None
        self._run: _Run | None = None
        self._began = 0.0
        self._why = ""
        self._ready_at: float | None = None
        self._pulse: Pulse | None = None
        self._retry_at = 0.0
        self._stopping = False
        self._kill_at = 0.0

    @property
    def address(self) -> Document | None:
        """Where the replica answers, as the endpoint's row says it, or None while it doesn't."""
        if self._run is None or self._ready_at is None or self._stopping:
            return None
        return {"variant": self.place.variant, "index": self.place.index, "socket": str(self._run.socket)}

    @property
    def down(self) -> bool:
        """Whether no process is left, after `stop`."""
        return self._stopping and self._starting is None and self._run is None

    def stop(self) -> None:
        """Lets the replica finish what it is doing and end; go on calling `step` until `down`.

        One that has not ended after STOP_SECONDS is killed.
        """
        if self._stopping:
            return
        self._stopping, self._kill_at = True, time.monotonic() + STOP_SECONDS
        self._forget_pulse()
        if self._run is not None:
            self._run.process.terminate()

    def kill(self) -> None:
        """Ends the replica now."""
        self.stop()
        if self._run is not None:
            self._run.process.kill()

    def step(self) -> None:
        """Looks after the replica and makes the next move, if it is time for one."""
        if self._starting is not None:
            self._await_start(self._starting)
        elif self._run is not None:
            self._watch(self._run)
        elif not self._stopping and time.monotonic() >= self._retry_at:
            self._starting = self._shop.starter.submit(self._start)

    def _start(self) -> _Run:
        """Runs in the starter's thread: a large model may take a while to come."""
        place, token = self.place, names.token()
        archives = self._shop.keyed() if place.keyed else self._shop.archives
        try:
            definitions = self._definitions = archives.fetched(place.containers)
        except ServiceUnavailable:  # what this replica ran is here; another might need what was stored since
            if self._definitions is None:
                raise
            definitions = self._definitions
        except OSError as error:
            if place.keyed and error.errno == errno.ENOSPC:  # a disk may get room, such a folder does not
                raise ConfigurationError(_NO_ROOM) from error
            raise
        log = self._shop.logs / f"{token}.log"
        path = self._shop.sockets / f"{token}.sock"
        program = Program(
            target="pilothouse.hosting.replica:serve",
            arguments={"containers": definitions, "socket": str(path), "direct": place.direct},
            log=log,
            memory_limit=self._shop.memory_limit,
            label=f"serve {place.endpoint}",
        )
        group, stream = hosting.log_group(place.endpoint), f"{place.variant}/{place.index}-{token}"
        tail = Tail(log, lambda lines: self._shop.store.logs.append(group, stream, lines))
        return _Run(self._shop.launcher.launch(program), path, tail)

    def _await_start(self, starting: Future[_Run]) -> None:
        if not starting.done():
            return
        self._starting = None
        try:
            self._run = starting.result()
        except (OSError, LaunchFailed, ServiceUnavailable) as error:
            self._hindered(str(error))
            return
        except Exception as error:
            self._failed(error.message if isinstance(error, PilothouseError) else f"{type(error).__name__}: {error}")
            return
        self._began, self._ready_at, self._hindrances, self._why = time.monotonic(), None, 0, ""
        if self._stopping:
            self._run.process.terminate()

    def _watch(self, run: _Run) -> None:
        end = run.process.poll()
        if end is not None:
            self._ended(run, end)
            return
        run.tail.follow()
        now = time.monotonic()
        if self._stopping:
            if now >= self._kill_at:
                run.process.kill()
        elif self._pulse is None or self._ready_at is None:
            self._await_ready(run, now)
        elif self._pulse.has_stopped():
            self._warn("a replica does not answer /ping any more; starting another")
            self._why = "did not answer /ping any more"
            run.process.kill()
            self._pulse = Pulse(run.socket)
        elif now - self._ready_at > STEADY_SECONDS:
            self.failures = 0

    def _await_ready(self, run: _Run, now: float) -> None:
        if connection.answers(run.socket):
            self._ready_at, self._pulse = now, Pulse(run.socket)
        elif now - self._began > self.place.patience:
            self._why = f"did not answer /ping within {self.place.patience:g} seconds"
            run.process.kill()
            self._began = now

    def _ended(self, run: _Run, end: Exit) -> None:
        self._why = self._why or f"{end.describe()}{'' if self._ready_at else ' before it answered'}"
        self._forget_pulse()
        self._ready_at = None
        try:
            run.tail.finish()
        except StoreAway:
            if not self._stopping:  # else nobody may come for the lines again
                return
        run.tail.path.unlink(missing_ok=True)
        run.socket.unlink(missing_ok=True)
        self._run = None
        if self._stopping:
            return
        if end.reason == NURSERY_ENDED:
            self._hindered(NURSERY_ENDED)
        else:
            self._failed(f"The model server {self._why}. {run.tail.last}".strip())

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self._pause(self.failures)

    def _hindered(self, why: str) -> None:
        """Waits: something for a start is lacking (disk space, the object store), and the model is not to blame."""
        self._hindrances += 1
        self._pause(self._hindrances)
        self._warn("a replica could not be started; trying again", error=why)

    def _warn(self, what: str, **more: str) -> None:
        place = self.place
        journal.warning(what, endpoint=place.endpoint, variant=place.variant, index=place.index, **more)

    def _forget_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None

    def _pause(self, times: int) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(times - 1, 10))
        self._retry_at = time.monotonic() + pause
