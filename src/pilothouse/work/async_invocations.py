"""The reconciler of asynchronous invocations: every accepted request gets its output, or its failure, in S3.

A row that is there has still to be answered, whoever died meanwhile: what is stored a second time is the same object.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import structlog

from pilothouse.catalog import async_inference, endpoint_updates, hosting, routing
from pilothouse.catalog.async_inference import EXPIRES, INVOCATION, LOST, Invocation
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import InvocationFailed, S3Error
from pilothouse.hosting import async_answers
from pilothouse.hosting.exchange import Lost, Unreachable
from pilothouse.objects.base import Objects
from pilothouse.store.changes import Changes
from pilothouse.store.store import Resource, Store
from pilothouse.work.endpoint_rows import EndpointRows

MOST = 32
"""Requests that are under way at once, whatever configurations allow."""

_REFUSALS = 4
"""Places for refusals alone, which need not wait for slow answers."""

TRIES = 3
"""How many model servers may end with the same request in hand."""

LOG_STREAM = "async-invocations"
"""The stream of an endpoint's log group that tells of failures."""

_ROUND, _POLL = 1.0, 0.05
_LOOK_AGAIN = 5.0  # seconds after which requests may have waited too long though nothing was written
_REPLICA_PAUSE, _STORAGE_PAUSE = 0.5, 10.0
_PAGE = 100
_DELETED = "The endpoint was deleted before it had processed the request."
_EXPIRED = "The request waited longer than its RequestTTLSeconds allows."
_ENDED = f"The model server ended before it answered, {TRIES} times in a row."


@dataclass(frozen=True)
class _UnderWay:
    endpoint: str
    socket: str
    future: Future[None]


class AsyncInvocations:
    """Call `tick` a few times a second from one thread, and `stop` from the same one at the end."""

    def __init__(self, store: Store, objects: Objects, settings: Settings) -> None:
        self._store, self._objects, self._settings = store, objects, settings
        self._scratch = settings.work_root / "async-invocations"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._rows = EndpointRows(store)
        self._changes = Changes(store)
        self._pool = ThreadPoolExecutor(MOST + _REFUSALS, thread_name_prefix="async-invocation")
        self._under_way: dict[int, _UnderWay] = {}
        self._later: dict[int, float] = {}
        self._look_at = 0.0
        self._stopping = False
        self._log = structlog.get_logger()

    def tick(self) -> None:
        """Gives requests to replicas that are free; for up to a second, while some are under way."""
        over = time.monotonic() + _ROUND
        while True:
            if self._may_find_work():
                self._dispatch()
            if not self._under_way or time.monotonic() > over:
                return
            wait([one.future for one in self._under_way.values()], _POLL, FIRST_COMPLETED)

    def stop(self, timeout: float) -> None:  # noqa: ARG002
        """Lets go: what is under way ends with the replicas, and is done again at the next start."""
        self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._changes.close()
        self._rows.close()

    def _may_find_work(self) -> bool:
        changed, ended, at = self._changes.any(), self._settle(), time.monotonic()
        due = [seq for seq, until in self._later.items() if at >= until]
        for seq in due:
            del self._later[seq]
        return changed or ended or bool(due) or at >= self._look_at

    def _settle(self) -> bool:
        """Lets go of requests that have ended; whether there are any."""
        ended = [seq for seq, one in self._under_way.items() if one.future.done()]
        for seq in ended:
            one = self._under_way.pop(seq)
            error = one.future.exception()
            if isinstance(error, (Lost, Unreachable)):  # another replica may answer soon
                self._later[seq] = time.monotonic() + _REPLICA_PAUSE
            elif error is not None:  # the store or the object store is away; it comes back
                self._later[seq] = time.monotonic() + _STORAGE_PAUSE
                self._log.error("an asynchronous invocation has to wait", endpoint=one.endpoint, exc_info=error)
        return bool(ended)

    def _dispatch(self) -> None:
        late = time.monotonic() >= self._look_at
        if late:
            self._look_at = time.monotonic() + _LOOK_AGAIN
        if self._store.find(INVOCATION, limit=1):
            if late:
                self._refuse_late()
            busy = Counter(one.endpoint for one in self._under_way.values())
            for endpoint in sorted(self._rows.all().values(), key=lambda row: busy[row.name]):
                self._serve(endpoint)

    def _refuse_late(self) -> None:
        """Refuses those that have waited too long, wherever they stand."""
        for row in self._all():
            if row.state[EXPIRES] >= now():  # nor have those behind it
                return
            if len(self._under_way) >= MOST + _REFUSALS:
                self._look_at = 0.0  # goes on when there is room
                return
            if row.seq not in self._under_way and row.parent is not None:
                self._submit(row, row.parent[1], why=_EXPIRED)

    def _all(self) -> Iterator[Resource]:
        """All requests, those first that expire first."""
        after = None
        while page := self._store.find(INVOCATION, sort="name", after=after, limit=_PAGE):
            yield from page
            after = page[-1].cursor("name")

    def _serve(self, endpoint: Resource) -> None:
        """Gives the requests that have waited longest to the replicas of an endpoint, or refuses them."""
        if endpoint.status == hosting.DELETING:
            for row in self._waiting(endpoint, MOST + _REFUSALS, MOST + _REFUSALS):
                self._submit(row, endpoint.name, why=_DELETED)
        elif endpoint.status in hosting.INVOCABLE:
            limit = async_inference.concurrency(endpoint.state.get(hosting.ASYNC))
            for row in self._waiting(endpoint, limit * _replicas(endpoint)):
                socket = self._chosen(endpoint, limit)
                if socket is not None:
                    self._submit(row, endpoint.name, socket)

    def _waiting(self, endpoint: Resource, most: int, places: int = MOST) -> list[Resource]:
        """The oldest requests that can be begun now, if no more than `most` of the endpoint's, and `places` of all, may
        be under way.
        """
        begun = sum(one.endpoint == endpoint.name for one in self._under_way.values())
        room = min(most - begun, places - len(self._under_way))
        if room <= 0:
            return []
        passed_over = len(self._under_way) + len(self._later)
        rows = self._store.find(INVOCATION, parent=(hosting.ENDPOINT, endpoint.name), limit=room + passed_over)
        return [row for row in rows if row.seq not in self._under_way and row.seq not in self._later][:room]

    def _chosen(self, endpoint: Resource, limit: int) -> str | None:
        """The socket of the replica to ask next, which has less than `limit` requests; None if there is none."""
        busy = Counter(one.socket for one in self._under_way.values())
        sockets = [replica["socket"] for replica in routing.living(routing.side(endpoint.state))]
        socket = min(sockets, key=lambda path: busy[path], default=None)
        return socket if socket is not None and busy[socket] < limit else None

    def _submit(self, row: Resource, endpoint: str, socket: str = "", why: str | None = None) -> None:
        future = self._pool.submit(self._process, row, endpoint, socket, why)
        self._under_way[row.seq] = _UnderWay(endpoint, socket, future)

    def _process(self, row: Resource, endpoint: str, socket: str, why: str | None) -> None:
        """Runs in a thread: brings a request to its end, and only then forgets it."""
        invocation = Invocation.of(row.request)
        try:
            if why is not None or row.state[EXPIRES] < now():
                raise InvocationFailed(why or _EXPIRED)
            self._answer(row, invocation, endpoint, socket)
        except InvocationFailed as failure:
            self._fail(invocation, endpoint, failure.message)
        self._store.delete(INVOCATION, row.name)

    def _answer(self, row: Resource, invocation: Invocation, endpoint: str, socket: str) -> None:
        log = hosting.log_group_arn(self._settings.region, self._settings.account_id, endpoint)
        try:
            async_answers.answer(invocation, Path(socket), self._objects, self._scratch, log)
        except Lost as error:
            times = row.state.get(LOST, 0) + 1
            if self._stopping:  # then it was no fault of the request's
                raise
            if times >= TRIES:
                raise InvocationFailed(_ENDED) from error
            self._store.update(INVOCATION, row.name, state={LOST: times})
            raise

    def _fail(self, invocation: Invocation, endpoint: str, why: str) -> None:
        """Stores and logs why there is no answer; where it can't be stored for good, the log alone has it."""
        lines = [f"{invocation.inference_id}: {why}"]
        try:
            async_answers.fail(invocation, why, self._objects)
        except S3Error as error:
            if error.status >= 500:
                raise
            lines.append(
                f"{invocation.inference_id}: This could not be stored at {invocation.failure}: {error.message}"
            )
        self._store.logs.append(hosting.log_group(endpoint), LOG_STREAM, lines)


def _replicas(endpoint: Resource) -> int:
    """How many replicas have a share of an endpoint's requests."""
    beside = (endpoint.state.get(endpoint_updates.SHIFT) or {}).get("replicas", [])
    return len(endpoint.state.get("_replicas", [])) + len(beside)
