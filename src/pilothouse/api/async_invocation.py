"""InvokeEndpointAsync at the runtime door: from headers to a row, and back to headers."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pilothouse.api import invocation
from pilothouse.operations.async_invocations import invoke_endpoint_async
from pilothouse.operations.context import Context
from pilothouse.wire import models


async def handle(request: Request, endpoint: str, context: Context) -> Response:
    """Accepts a request; its answer comes later, at the address that the response names."""
    body = await request.body()
    given = {"EndpointName": endpoint} | ({"Body": body} if body else {})
    said = invocation.members(request, "InvokeEndpointAsync", given)
    answer = await run_in_threadpool(invoke_endpoint_async, context, said)
    shape = models.operation("sagemaker-runtime", "InvokeEndpointAsync").output_shape
    places = {name: member.serialization.get("name") for name, member in shape.members.items()}
    headers = {header: answer[name] for name, header in places.items() if header}
    return JSONResponse({name: answer[name] for name, header in places.items() if not header}, 202, headers)
