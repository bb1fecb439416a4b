"""The runtime door: InvokeEndpoint, which finds a replica that answers and hands the request through, and others."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pilothouse import clock, names
from pilothouse.api import async_invocation, invocation
from pilothouse.api.capture import Recorder
from pilothouse.api.content import Threads
from pilothouse.api.exchange import Answer, Line, Lost, Unreachable
from pilothouse.api.invocation import Call
from pilothouse.api.shadows import Shadows
from pilothouse.catalog import hosting, pipelines, routing
from pilothouse.catalog.data_capture import Capture, Exchange
from pilothouse.catalog.hosting import Document
from pilothouse.errors import (
    EndpointNotFound,
    ModelError,
    ServiceUnavailable,
    StoreAway,
    Throttled,
    ValidationError,
)
from pilothouse.operations.context import Context
from pilothouse.store.resource import Resource

TIMEOUT = 60.0
"""How long a request may take, in seconds, whoever answers it."""

PATIENCE = 5.0
"""How long a request waits for a replica, in seconds: from its start, and again when it has lost one."""

_POLL = 0.1
_TRIES = 2
_ROW_AGE = 0.2  # seconds; the reconciler looks at the rows as often
_STORE_PATIENCE = 2.0  # seconds for reading a row that is known as it was
_KEEP_ALIVE = 60  # seconds; less than a replica's own, so that it never closes a connection that is about to be used
_ECHOED = (invocation.ATTRIBUTES, invocation.INFERENCE_ID)

_reading = Threads(8, "endpoint-row")
"""Threads of this door's own, as slow calls at other doors may take all that those share."""


async def handle(request: Request, context: Context, identity: object = None) -> Response:  # noqa: ARG001
    """Answers a request to the runtime service, or raises the `RequestError` that says why not."""
    endpoint, action = invocation.address(request)
    if action == "async-invocations":
        return await async_invocation.handle(request, endpoint, context)
    state = request.app.state
    if not hasattr(state, "runtime"):
        state.runtime = Invoker(context)
    invoker: Invoker = state.runtime
    return await invoker.handle(request, endpoint)


class Invoker:
    """Answers InvokeEndpoint over connections to replicas that stay open. One for an event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lines: dict[str, Line] = {}
        self._rows: dict[str, tuple[float, Resource]] = {}
        self._in_flight: Counter[str] = Counter()
        self._admitted: Counter[tuple[str, str]] = Counter()
        self._recorder = Recorder(context)
        self._shadows = Shadows(context, self._ask_any, self._capture)

    async def handle(self, request: Request, endpoint: str) -> Response:
        """InvokeEndpoint."""
        return await self._invoke(await invocation.read(request, endpoint, self._context.settings))

    async def close(self) -> None:
        """Closes all connections, and stores what was captured."""
        self._shadows.close()
        lines, self._lines = self._lines, {}
        for line in lines.values():
            line.close()
        await run_in_threadpool(self._recorder.close)

    async def _invoke(self, call: Call) -> Response:
        """Tries the replicas until one answers; a prediction changes nothing, so it may be asked for twice."""
        began = time.monotonic()
        give_up, late = began + PATIENCE, began + TIMEOUT
        lost: list[str] = []
        tried = False
        while time.monotonic() < give_up:
            row = await self._row(call, fresh=tried)
            tried = True
            side = routing.side(row.state, call.target)
            replicas = _replicas(row.name, side, call)
            with self._admission(row.name, side, replicas):
                for replica in self._in_turn(replicas, lost):
                    try:
                        answer = await self._ask(replica["socket"], call, late - time.monotonic())
                        self._shadows.offer(row, side, call)
                        return self._answered(row, replica["variant"], call, answer)
                    except Unreachable:
                        continue
                    except Lost as error:
                        lost.append(replica["socket"])
                        if len(lost) == _TRIES:
                            raise ModelError(500, "The model server ended before it answered.", call.log) from error
                        give_up = min(time.monotonic() + PATIENCE, late)
                        break  # what the row says of the others may be as old
                else:
                    await asyncio.sleep(_POLL)
        raise ServiceUnavailable(f"No model server of endpoint {call.endpoint} answers just now. Try the call again.")

    async def _row(self, call: Call, fresh: bool) -> Resource:
        """The endpoint's row; unless it has to be `fresh`, as it was at most two or three `_ROW_AGE` ago.

        While the store is away, as it last was: replicas answer without it.
        """
        context, now, key = self._context, time.monotonic(), names.name_key(call.endpoint)
        read, known = self._rows.get(key, (0.0, None))
        if known is not None and not fresh and now - read < _ROW_AGE:
            return known
        if known is not None and not fresh and now - read < 2 * _ROW_AGE:
            self._rows[key] = (now, known)  # who comes meanwhile need not read it too
        row = await self._read(call.endpoint, known)
        if known is not None and row is known:
            _, latest = self._rows.get(key, (0.0, known))  # another call may have read it since
            self._rows[key] = (time.monotonic(), latest)
            return latest
        self._rows.pop(key, None)
        if row is None or row.status not in hosting.INVOCABLE:
            raise EndpointNotFound(f"Endpoint {call.endpoint} of account {context.settings.account_id} not found.")
        if hosting.ASYNC in row.state:
            raise ValidationError(f"Endpoint {row.name} has an AsyncInferenceConfig. Call it by InvokeEndpointAsync.")
        self._rows[key] = (now, row)
        return row

    async def _read(self, endpoint: str, known: Resource | None) -> Resource | None:
        """An endpoint's row as it is; if the store does not say so in time, as it is `known`."""
        try:
            async with asyncio.timeout(None if known is None else _STORE_PATIENCE):
                row: Resource | None = await _reading.run(self._context.store.get, hosting.ENDPOINT, endpoint)
        except (StoreAway, TimeoutError):
            if known is None:
                raise
            return known
        return row

    @contextmanager
    def _admission(self, endpoint: str, side: Document, replicas: list[Document]) -> Iterator[None]:
        """Counts a request to a variant; `Throttled` if it is serverless and as many are under way as it takes."""
        name = replicas[0]["variant"] if replicas else ""
        limit = next((hosting.concurrency(v) for v in side["variants"] if v["VariantName"] == name), None)
        key = (endpoint, name)
        if limit is not None and self._admitted[key] >= limit:
            raise Throttled(f"Rate exceeded: variant {name} of endpoint {endpoint} takes {limit} requests at a time.")
        self._admitted[key] += 1
        try:
            yield
        finally:
            self._admitted[key] -= 1
            if not self._admitted[key]:
                del self._admitted[key]

    def _answered(self, row: Resource, variant: str, call: Call, answer: Answer) -> Response:
        """The response to a request that a model server has answered, and its record if it is to be captured."""
        response = _response(answer, variant, call)
        self._capture(row, variant, call, answer)
        return response

    def _capture(self, row: Resource, variant: str, call: Call, answer: Answer) -> None:
        """Records what a variant was asked and answered, if it is to be captured."""
        capture = Capture.of(row.state.get("_capture"))
        if capture is not None and random.random() * 100 < capture.percentage:
            exchange = Exchange(
                endpoint=row.name,
                variant=variant,
                at=clock.now(),
                body=call.body,
                content_type=call.headers.get("content-type"),
                answer=bytes(answer.body),
                answer_type=answer.headers.get("content-type"),
                custom_attributes=call.headers.get(invocation.ATTRIBUTES),
                inference_id=call.headers.get(invocation.INFERENCE_ID),
            )
            self._recorder.offer(capture, exchange)

    def _in_turn(self, replicas: Iterable[Document], lost: list[str]) -> list[Document]:
        """The least busy first, and last those that a connection was lost to."""
        return sorted(replicas, key=lambda r: (r["socket"] in lost, self._in_flight[r["socket"]]))

    async def _ask_any(self, replicas: list[Document], call: Call) -> Answer:
        """The answer of the least busy replica; no other is tried."""
        for replica in self._in_turn(replicas, []):
            return await self._ask(replica["socket"], call, TIMEOUT)
        raise Unreachable("No model server of the variant answers just now.")

    async def _ask(self, socket: str, call: Call, seconds: float) -> Answer:
        """The replica's answer; `Lost` if there is no connection to it, or none any more.

        `ModelError` if it takes more than `seconds`, what is left of the request's time.
        """
        line = self._lines.get(socket) or self._open(socket)
        self._in_flight[socket] += 1
        try:
            return await line.post("/invocations", call.body, call.headers, seconds)
        except TimeoutError as error:
            message = f"Your invocation timed out: the model server did not answer within {TIMEOUT:g} seconds."
            raise ModelError(0, message, call.log) from error
        finally:
            self._in_flight[socket] -= 1

    def _open(self, socket: str) -> Line:
        for gone in [path for path in self._lines if not Path(path).exists()]:
            self._in_flight.pop(gone, None)
            self._lines.pop(gone).close()
        self._lines[socket] = Line(socket, _KEEP_ALIVE)
        return self._lines[socket]


def _replicas(endpoint: str, side: Document, call: Call) -> list[Document]:
    """The replicas of the variant that is to answer: the target, or one drawn by weight among those that live."""
    target = call.target
    variants = routing.production(side)
    if target is not None and target not in variants:
        raise ValidationError(f"Endpoint {endpoint} has no variant {target}. It has {', '.join(variants)}.")
    for variant in variants.values() if target is None else [variants[target]]:
        _check_container(endpoint, variant, call.container)
    return routing.living(side, target)


def _check_container(endpoint: str, variant: Document, container: str | None) -> None:
    """`ValidationError` if a request names a container that a variant hasn't, or none where it must."""
    if not hosting.is_direct(variant):
        if container is not None:
            raise ValidationError(
                "TargetContainerHostname is for models with InferenceExecutionConfig Mode Direct, and endpoint "
                f"{endpoint} serves another. Leave it out."
            )
        return
    names = pipelines.names(variant["Containers"])
    if container not in names:
        found = f"has no container {container}" if container else "has containers that are called one by one"
        raise ValidationError(f"Endpoint {endpoint} {found}. Set TargetContainerHostname to one of {', '.join(names)}.")


def _response(answer: Answer, variant: str, call: Call) -> Response:
    if answer.status != HTTPStatus.OK:
        raise ModelError(answer.status, answer.text, call.log)
    headers = {name: call.headers[name] for name in _ECHOED if name in call.headers}
    headers["x-amzn-invoked-production-variant"] = variant
    return Response(bytes(answer.body), headers=headers, media_type=answer.headers.get("content-type"))
