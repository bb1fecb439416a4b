"""What a request to an endpoint says, held against the service's model."""

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
_ACTIONS = ("invocations", "async-invocations")
_STREAMING = "invocations-response-stream"
_REFUSED = {
    "TargetModel": "is for multi-model endpoints, and this is none",
    "InferenceComponentName": "is for endpoints with inference components, and this has none",
    "EnableExplanations": "is for endpoints with an ExplainerConfig, and this has none",
    "SessionId": "is for endpoints with stateful sessions, and this is none",
}
_NUMBER = re.compile(r"-?[0-9]{1,18}")
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


def address(request: Request) -> tuple[str, str]:
    """The endpoint that a request names, and what it asks for: "invocations", or "async-invocations"."""
    path = request.scope["path"]
    match = _PATH.fullmatch(path)
    if match is None or request.method != "POST":
        raise UnknownOperation(f"{request.method} {path} is not an operation of SageMaker Runtime.")
    if match["action"] == _STREAMING:
        raise OperationNotServed(
            "InvokeEndpointWithResponseStream is not served by this version of Pilothouse. Use InvokeEndpoint."
        )
    if match["action"] not in _ACTIONS:
        raise UnknownOperation(f"{match['action']} is not an operation of SageMaker Runtime.")
    return match["endpoint"], match["action"]


async def read(request: Request, endpoint: str, settings: Settings) -> Call:
    """The InvokeEndpoint request."""
    body = await _body(request)
    said = members(request, "InvokeEndpoint", {"EndpointName": endpoint, "Body": body})
    for name, reason in _REFUSED.items():
        if name in said:
            raise ValidationError(f"{name} {reason}. Leave it out.")
    return Call(
        endpoint=said["EndpointName"],
        body=body,
        headers={name: request.headers[name] for name in _PASSED if name in request.headers},
        target=said.get("TargetVariant"),
        container=said.get("TargetContainerHostname"),
        log=hosting.log_group_arn(settings.region, settings.account_id, said["EndpointName"]),
    )


def members(request: Request, operation_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given` and what the headers say, by the names of the operation's model, and held against it."""
    operation = models.operation("sagemaker-runtime", operation_name)
    said = dict(given)
    for name, shape in operation.input_shape.members.items():
        header = shape.serialization.get("name", "")
        if shape.serialization.get("location") == "header" and header in request.headers:
            said[name] = _value(name, shape.type_name, request.headers[header])
    validate.check(said, operation)
    return said


def _value(name: str, kind: str, text: str) -> str | int:
    if kind != "integer":
        return _printable(name, text)
    if not _NUMBER.fullmatch(text):
        raise ValidationError(f"{name} must be a whole number.")
    return int(text)


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
