"""What an InvokeEndpoint request says, held against the service's model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pilothouse.catalog import hosting
from pilothouse.config import Settings
from pilothouse.errors import OperationNotServed, RequestTooLarge, UnknownOperation, ValidationError
from pilothouse.wire import models, validate

MAX_BODY = 6 << 20
"""Largest request that InvokeEndpoint takes, in bytes."""

ATTRIBUTES, INFERENCE_ID = "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id"
"""The headers that come back in an answer."""

_PATH = re.compile(r"/endpoints/(?P<endpoint>[^/]+)/(?P<action>[a-z-]+)/?")
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
_PASSED = ("content-type", "accept", _CONTAINER, ATTRIBUTES, INFERENCE_ID)


@dataclass(frozen=True)
class Call:
    """A request to an endpoint: its `body`, and the `headers` that the model server gets.

    `target` is the variant and `container` the container that it names, and `log` the ARN of the endpoint's log group.
    """

    endpoint: str
    body: bytes
    headers: dict[str, str]
    target: str | None
    container: str | None
    log: str


async def read(request: Request, settings: Settings) -> Call:
    """The call; `OperationNotServed` for InvokeEndpoint's asynchronous and streaming relatives."""
    path = request.scope["path"]
    match = _PATH.fullmatch(path)
    if match is None or request.method != "POST":
        raise UnknownOperation(f"{request.method} {path} is not an operation of SageMaker Runtime.")
    if match["action"] != "invocations":
        raise _not_served(match["action"])
    body = await _body(request)
    members = _members(request, match["endpoint"], body)
    return Call(
        endpoint=members["EndpointName"],
        body=body,
        headers={name: request.headers[name] for name in _PASSED if name in request.headers},
        target=members.get("TargetVariant"),
        container=members.get("TargetContainerHostname"),
        log=hosting.log_group_arn(settings.region, settings.account_id, members["EndpointName"]),
    )


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
