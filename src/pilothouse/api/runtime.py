"""The runtime door: InvokeEndpoint. Finds a replica that answers and hands the request through."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pilothouse.api.exchange import Answer, Line, Lost, Unreachable
from pilothouse.catalog import hosting, pipelines
from pilothouse.catalog.hosting import Document
from pilothouse.errors import (
    EndpointNotFound,
    ModelError,
    OperationNotServed,
    RequestTooLarge,
    ServiceUnavailable,
    UnknownOperation,
    ValidationError,
)
from pilothouse.operations.context import Context
from pilothouse.store.resource import Resource
from pilothouse.wire import models, validate

MAX_BODY = 6 << 20
"""Largest request that InvokeEndpoint takes, in bytes."""

TIMEOUT = 60.0
"""How long a model may take to answer, in seconds."""

PATIENCE = 5.0
"""How long a request waits for a replica that is being started again, in seconds."""

_PATH = re.compile(r"/endpoints/(?P<endpoint>[^/]+)/(?P<action>[a-z-]+)/?")
_POLL = 0.1
_TRIES = 2
_ROW_AGE = 0.2  # seconds; the reconciler looks at the rows as often
_KEEP_ALIVE = 60  # seconds; less than a replica's own, so that it never closes a connection that is about to be used
_NOT_SERVED = {
    "async-invocations": "InvokeEndpointAsync",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
}
_REFUSED = {
    "TargetModel": "is for multi-model endpoints, and this is none",
    "InferenceComponentName": "is for endpoints with inference components, and this has none",
    "EnableExplanations": "is for endpoints with an ExplainerConfig, and this has none",
    "SessionId": "is for endpoints with stateful sessions, and this is none",
}
_PRINTABLE = re.compile(r"[\t -~]*")
_CONTAINER = "x-amzn-sagemaker-target-container-hostname"
_ECHOED = ("x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id")
_PASSED = ("content-type", "accept", _CONTAINER, *_ECHOED)


async def handle(request: Request, context: Context, identity: object = None) -> Response:  # noqa: ARG001
    """Answers a request to the runtime service, or raises the `RequestError` that says why not."""
    state = request.app.state
    if not hasattr(state, "runtime"):
        state.runtime = Invoker(context)
    invoker: Invoker = state.runtime
    return await invoker.handle(request)


class Invoker:
    """Answers InvokeEndpoint over connections to replicas that stay open. One for an event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lines: dict[str, Line] = {}
        self._rows: dict[str, tuple[float, Resource]] = {}
        self._in_flight: Counter[str] = Counter()

    async def handle(self, request: Request) -> Response:
        """InvokeEndpoint; `OperationNotServed` for its asynchronous and streaming relatives."""
        match = _PATH.fullmatch(request.url.path)
        if match is None or request.method != "POST":
            raise UnknownOperation(f"{request.method} {request.url.path} is not an operation of SageMaker Runtime.")
        if match["action"] != "invocations":
            raise _not_served(match["action"])
        body, settings = await _body(request), self._context.settings
        members = _members(request, match["endpoint"], body)
        call = _Call(
            endpoint=members["EndpointName"],
            body=body,
            headers={name: request.headers[name] for name in _PASSED if name in request.headers},
            target=members.get("TargetVariant"),
            container=members.get("TargetContainerHostname"),
            log=hosting.log_group_arn(settings.region, settings.account_id, members["EndpointName"]),
        )
        return await self._invoke(call)

    async def close(self) -> None:
        """Closes all connections."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            line.close()

    async def _invoke(self, call: _Call) -> Response:
        """Tries the replicas until one answers; a prediction changes nothing, so it may be asked for twice."""
        give_up = time.monotonic() + PATIENCE
        lost, tried = 0, False
        while time.monotonic() < give_up:
            row = await self._row(call, fresh=tried)
            tried = True
            for replica in self._in_turn(_replicas(row, call)):
                try:
                    return _response(await self._ask(replica["socket"], call), replica["variant"], call)
                except Unreachable:
                    continue
                except Lost as error:
                    lost += 1
                    if lost == _TRIES:
                        raise ModelError(500, "The model server ended before it answered.", call.log) from error
            await asyncio.sleep(_POLL)
        raise ServiceUnavailable(f"No model server of endpoint {call.endpoint} answers just now. Try the call again.")

    async def _row(self, call: _Call, fresh: bool) -> Resource:
        """The endpoint's row; unless it has to be `fresh`, as it was at most `_ROW_AGE` seconds ago."""
        context, now = self._context, time.monotonic()
        read, known = self._rows.get(call.endpoint, (0.0, None))
        if known is not None and not fresh and now - read < _ROW_AGE:
            return known
        self._rows.pop(call.endpoint, None)
        row: Resource | None = await run_in_threadpool(context.store.get, hosting.ENDPOINT, call.endpoint)
        if row is None or row.status not in hosting.INVOCABLE:
            raise EndpointNotFound(f"Endpoint {call.endpoint} of account {context.settings.account_id} not found.")
        self._rows[call.endpoint] = (now, row)
        return row

    def _in_turn(self, replicas: Iterable[Document]) -> list[Document]:
        return sorted(replicas, key=lambda replica: self._in_flight[replica["socket"]])

    async def _ask(self, socket: str, call: _Call) -> Answer:
        """The replica's answer; `Lost` if there is no connection to it, or none any more."""
        line = self._lines.get(socket) or self._open(socket)
        self._in_flight[socket] += 1
        try:
            return await line.post("/invocations", call.body, call.headers, TIMEOUT)
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


@dataclass(frozen=True)
class _Call:
    endpoint: str
    body: bytes
    headers: dict[str, str]
    target: str | None
    container: str | None
    log: str


def _members(request: Request, endpoint: str, body: bytes) -> dict[str, Any]:
    """What the path and the headers say, by the names of the operation's model, and held against it."""
    operation = models.operation("sagemaker-runtime", "InvokeEndpoint")
    members: dict[str, Any] = {"EndpointName": endpoint, "Body": body}
    for name, shape in operation.input_shape.members.items():
        header = shape.serialization.get("name", "")
        if shape.serialization.get("location") == "header" and header in request.headers:
            members[name] = _printable(name, request.headers[header])
    validate.check(members, operation)
    for name, reason in _REFUSED.items():
        if name in members:
            raise ValidationError(f"{name} {reason}. Leave it out.")
    return members


def _printable(name: str, value: str) -> str:
    """`value`, which goes into headers again. The model's \\p{ASCII} and \\p{Print} have no meaning in Python."""
    if not _PRINTABLE.fullmatch(value):
        raise ValidationError(f"{name} must consist of printable US-ASCII characters.")
    return value


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise _too_large()
    body = await request.body()
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"The request is larger than {MAX_BODY} bytes. Send fewer rows at a time.")


def _not_served(action: str) -> OperationNotServed | UnknownOperation:
    if action not in _NOT_SERVED:
        return UnknownOperation(f"{action} is not an operation of SageMaker Runtime.")
    return OperationNotServed(f"{_NOT_SERVED[action]} is not served by this version of Pilothouse. Use InvokeEndpoint.")


def _replicas(row: Resource, call: _Call) -> list[Document]:
    """The replicas of the variant that is to answer: the target, or one drawn by weight among those that live."""
    target = call.target
    variants = {variant["VariantName"]: variant for variant in row.state["_variants"]}
    if target is not None and target not in variants:
        raise ValidationError(f"Endpoint {row.name} has no variant {target}. It has {', '.join(variants)}.")
    for variant in variants.values() if target is None else [variants[target]]:
        _check_container(row.name, variant, call.container)
    living: dict[str, list[Document]] = {}
    for replica in row.state.get("_replicas", []):
        living.setdefault(replica["variant"], []).append(replica)
    if target is None and living:
        shares = [variants[name]["InitialVariantWeight"] for name in living]
        target = random.choices(list(living), shares if any(shares) else None)[0]
    return living.get(target or "", [])


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


def _response(answer: Answer, variant: str, call: _Call) -> Response:
    if answer.status != HTTPStatus.OK:
        raise ModelError(answer.status, answer.text, call.log)
    headers = {name: call.headers[name] for name in _ECHOED if name in call.headers}
    headers["x-amzn-invoked-production-variant"] = variant
    return Response(bytes(answer.body), headers=headers, media_type=answer.headers.get("content-type"))
