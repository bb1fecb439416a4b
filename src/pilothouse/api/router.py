"""From a verified request to the operation that answers it, for the services that speak JSON 1.1 or query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pilothouse.errors import MissingAction, OperationNotServed, UnknownOperation
from pilothouse.operations.context import Context
from pilothouse.operations.table import SERVED, Operation
from pilothouse.wire import json11, models, query, validate
from pilothouse.wire.sigv4 import Identity


async def json(request: Request, context: Context, identity: Identity) -> Response:
    """Answer a JSON 1.1 request: POST with the operation in X-Amz-Target."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or media_type not in json11.MEDIA_TYPES:
        raise UnknownOperation(
            f"Operations are called by POST with Content-Type {json11.CONTENT_TYPE}, not by {request.method} with "
            f"'{media_type[:64]}'."
        )
    service = models.signed(identity.service)
    name = models.operation_of_target(service, request.headers.get("x-amz-target", ""))
    operation, function = _served(service, name)
    body = await request.body()

    def work() -> bytes:
        return json11.serialise(_run(function, context, json11.parse(body, operation), operation), operation)

    return Response(await run_in_threadpool(work), media_type=json11.CONTENT_TYPE)


async def form(request: Request, context: Context, identity: Identity) -> Response:
    """Answer a query-protocol request: a form with the operation in Action."""
    fields = query.form(await request.body() or request.scope["query_string"])
    name = fields.get("Action")
    if not name:
        raise MissingAction
    operation, function = _served(models.signed(identity.service), name)
    version = operation.service_model.api_version
    if fields.get("Version", version) != version:
        raise UnknownOperation(f"Could not find operation {name} for version {fields['Version'][:64]}. Use {version}.")
    request_id = request.state.request_id

    def work() -> bytes:
        answer = _run(function, context, query.parse(fields, operation), operation)
        return query.serialise(answer, operation, request_id)

    return Response(await run_in_threadpool(work), media_type=query.CONTENT_TYPE)


def _run(
    function: Operation, context: Context, request: dict[str, Any], operation: OperationModel
) -> Mapping[str, Any] | None:
    validate.check(request, operation)
    return function(context, request)


def _served(service: str, name: str) -> tuple[OperationModel, Operation]:
    operation = models.operation(service, name)
    function: Callable[[Context, dict[str, Any]], dict[str, Any] | None] | None = SERVED.get(service, {}).get(name)
    if function is None:
        raise OperationNotServed(
            f"{name} is an operation of {operation.service_model.service_id} that this version of Pilothouse does not "
            "serve yet."
        )
    return operation, function
