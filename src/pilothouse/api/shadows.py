"""Shadow variants: they get copies of requests behind the requests' backs, and what comes of it changes no answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus

import structlog
from starlette.concurrency import run_in_threadpool

from pilothouse.api.exchange import Answer, Lost
from pilothouse.api.invocation import Call
from pilothouse.catalog import hosting, routing
from pilothouse.catalog.hosting import Document
from pilothouse.catalog.routing import Shadow
from pilothouse.errors import PilothouseError
from pilothouse.operations.context import Context
from pilothouse.store.resource import Resource

MOST_HELD = 64 << 20
"""Most bytes of copies that are under way; a request beyond them is not copied."""

MOST_COPIES = 64
"""Most copies that are under way."""

LOG_STREAM = "shadow"
"""The stream of an endpoint's log group that tells of copies that were not answered."""

_TELL = 5.0  # seconds between two lines about one endpoint
_SHOWN = 500  # characters of an answer in such a line

Ask = Callable[[list[Document], Call], Awaitable[Answer]]
Capture = Callable[[Resource, str, Call, Answer], None]

log = structlog.get_logger()


class Shadows:
    """Copies requests, from one event loop. `ask` gets an answer from one of some replicas, `capture` records it."""

    def __init__(self, context: Context, ask: Ask, capture: Capture) -> None:
        self._context, self._ask, self._capture = context, ask, capture
        self._under_way: set[asyncio.Task[None]] = set()
        self._held = 0
        self._failed: Counter[str] = Counter()
        self._tell_at: dict[str, float] = {}

    def offer(self, row: Resource, side: Document, call: Call) -> None:
        """Copies a request to the shadow of the side that answers it, if it has one and is drawn. Never waits."""
        shadow = routing.shadow(side)
        if shadow is None or random.random() >= shadow.share:
            return
        if len(self._under_way) >= MOST_COPIES or self._held + len(call.body) > MOST_HELD:
            self._start(self._tell(row.name, "too many copies are under way"))
        else:
            self._held += len(call.body)
            self._start(self._copy(row, shadow, call))

    def close(self) -> None:
        """Lets go of the copies that are under way."""
        for task in self._under_way:
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _copy(self, row: Resource, shadow: Shadow, call: Call) -> None:
        try:
            answer = await self._ask(shadow.replicas, call)
            if answer.status == HTTPStatus.OK:
                self._capture(row, shadow.name, call, answer)
                return
            told = f"it answered {answer.status}, {answer.text[:_SHOWN]}"
        except (Lost, PilothouseError) as error:
            told = str(error)
        finally:
            self._held -= len(call.body)
        await self._tell(row.name, told)

    async def _tell(self, endpoint: str, what: str) -> None:
        """Counts a copy that was not answered; every few seconds a line in the endpoint's log says how many."""
        self._failed[endpoint] += 1
        if time.monotonic() < self._tell_at.get(endpoint, 0.0):
            return
        self._tell_at[endpoint] = time.monotonic() + _TELL
        line = f"{self._failed.pop(endpoint)} copies of requests were not answered by the shadow. The last one: {what}"
        try:
            logs = self._context.store.logs
            await run_in_threadpool(logs.append, hosting.log_group(endpoint), LOG_STREAM, [line])
        except PilothouseError as error:
            log.warning("an endpoint's log could not be written", endpoint=endpoint, line=line, error=error.message)
