"""Asynchronous invocations: accepted here, answered by the reconciler of the server that hosts the endpoint."""

from __future__ import annotations

import base64
import re
import uuid

from pilothouse import clock
from pilothouse.catalog import async_inference, hosting
from pilothouse.catalog.hosting import Document
from pilothouse.errors import EndpointNotFound, ResourceNotFound, S3Error, ValidationError
from pilothouse.objects import keys, uri
from pilothouse.objects.uri import S3Uri
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def invoke_endpoint_async(context: Context, request: Document) -> Document:
    """InvokeEndpointAsync. The request is durable when this answers, and is answered or refused in S3 later."""
    endpoint = _endpoint(context, request["EndpointName"])
    config = endpoint.state.get(hosting.ASYNC)
    if config is None:
        raise ValidationError(f"Endpoint {endpoint.name} has no AsyncInferenceConfig. Call it by InvokeEndpoint.")
    _check_input(request)
    number = str(uuid.uuid4())
    accepted = _accepted(request, config, number)
    expires = clock.now() + request.get("RequestTTLSeconds", async_inference.DEFAULT_TTL)
    try:
        context.store.insert(
            async_inference.INVOCATION,
            f"{int(expires):011d}-{number}",  # in the order of their names the first to expire come first
            accepted,
            status=async_inference.WAITING,
            state={async_inference.EXPIRES: expires},
            parent=(hosting.ENDPOINT, endpoint.name),
        )
    except ResourceNotFound as error:
        raise _not_found(context, endpoint.name) from error
    context.wake()
    return {name: accepted[name] for name in ("InferenceId", "OutputLocation", "FailureLocation")}


def _endpoint(context: Context, name: str) -> Resource:
    row = context.store.get(hosting.ENDPOINT, name)
    if row is None or row.status not in hosting.INVOCABLE:
        raise _not_found(context, name)
    return row


def _not_found(context: Context, name: str) -> EndpointNotFound:
    return EndpointNotFound(f"Endpoint {name} of account {context.settings.account_id} not found.")


def _check_input(request: Document) -> None:
    """`ValidationError` unless the input is either an object or in the request."""
    if ("InputLocation" in request) == bool(request.get("Body")):
        raise ValidationError("Give the input either as InputLocation or as Body.")
    if "InputLocation" in request and not uri.parse(request["InputLocation"]).key:
        raise ValidationError(f"InputLocation {request['InputLocation']} names a bucket. Name an object in it.")


def _accepted(request: Document, config: Document, number: str) -> Document:
    """What the row keeps of a request: `number` is its id if it brings none, and names its files if that can't.

    The answer goes to S3OutputPath, a failure to S3FailurePath or, without one, beside the answers.
    """
    output = config["OutputConfig"]
    answers = uri.parse(output["S3OutputPath"])
    failures = uri.parse(output.get("S3FailurePath") or output["S3OutputPath"])
    below, inference_id = request.get("S3OutputPathExtension", ""), request.get("InferenceId", number)
    stem = inference_id if _FILE_NAME.fullmatch(inference_id) else number
    name = request.get("Filename", f"{stem}.out")
    accepted = {
        **request,
        "InferenceId": inference_id,
        "OutputLocation": _address(answers.join(below, name)),
        "FailureLocation": _address(failures.join(below, f"{name.removesuffix('.out')}-error.out")),
        "KmsKeyId": output.get("KmsKeyId", ""),
    }
    return accepted | ({"Body": base64.b64encode(request["Body"]).decode()} if "Body" in request else {})


def _address(place: S3Uri) -> str:
    """`place` as it is told, in a header; `ValidationError` if that can't be, or no object could be there."""
    try:
        keys.check_key(place.key)
    except S3Error as error:
        raise ValidationError(f"The answer cannot be stored at {place}: {error.message}") from error
    if not (address := str(place)).isascii() or not address.isprintable():
        raise ValidationError(f"The answer cannot be stored at {place}: A header can tell of ASCII characters only.")
    return address
