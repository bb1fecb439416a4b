"""The one way in: tells the services apart, verifies signatures, bounds bodies, and turns errors into answers."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from pilothouse.errors import (
    AuthenticationError,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    UnknownOperation,
    WrongScope,
)
from pilothouse.operations.context import Context
from pilothouse.wire import faults, models, multipart, sigv4
from pilothouse.wire.faults import Door
from pilothouse.wire.sigv4 import Identity, Keys, Message

Handler = Callable[[Request, Context, Identity], Awaitable[Response]]
FormHandler = Callable[[Request, Context, Keys], Awaitable[Response]]

BODY_PATIENCE = 30.0
"""How long a request's body may stand still while it is being read, in seconds."""

_DISCARDED = 128 << 20  # bytes beyond the limit that are read to tell the sender so

log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """What stands behind a door.

    `body_limit` is in bytes; such a body is read, hashed and verified before `handle` sees it. With None the body is
    left on the wire for `handle` to stream, and to verify by `chunks.body`. `form` answers uploads whose signature is
    in the body itself, and verifies it.
    """

    handle: Handler
    body_limit: int | None
    form: FormHandler | None = None


class Gateway:
    """The ASGI application of everything that is signed."""

    def __init__(self, context: Context, keys: Keys, services: Mapping[Door, Service]) -> None:
        self._context = context
        self._keys = keys
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, _patient(receive))
        request.state.request_id = str(uuid.uuid4())
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        message = message_of(request.scope)
        door = door_of(message)
        try:
            response = await self._admit(request, message, door)
        except ClientDisconnect:
            raise
        except Exception as error:
            response = refusal(error, request, door)
        response.headers["x-amzn-RequestId"] = request.state.request_id
        if door == "s3":
            response.headers["x-amz-request-id"] = request.state.request_id
        return response

    async def _admit(self, request: Request, message: Message, door: Door) -> Response:
        service, region = self._services[door], self._context.settings.region
        if service.form is not None and _is_form(message):
            return await service.form(request, self._context, self._keys)
        claimed = sigv4.claim(message)
        _check_service(message, claimed.service)
        payload = None
        if service.body_limit is not None:
            sigv4.screen(message, self._keys, region=region)  # a stranger's body is not worth its memory
            body = await _read(request, service.body_limit)
            payload = hashlib.sha256(body).hexdigest()
            request = Request(request.scope, _replay(body))
        identity = sigv4.verify(message, self._keys, region=region, payload=payload)
        if claimed.service not in _DOORS:
            raise UnknownOperation(
                f"The service '{claimed.service[:64]}' is not served here. Served: {', '.join(_DOORS)}."
            )
        return await service.handle(request, self._context, identity)


_DOORS: Mapping[str, Door] = {
    "sagemaker": "sagemaker",
    "s3": "s3",
    "sts": "sts",
    "iam": "iam",
    "logs": "logs",
    "monitoring": "cloudwatch",
}
"""The door for each service that a credential scope can name."""

_RUNTIME_PATHS = "/endpoints/"  # SageMaker's two services sign with one name


def door_of(message: Message) -> Door:
    """Where a request belongs: by its credential scope; by its looks when it carries none that can be read."""
    service = _scope_service(message)
    if message.path.startswith(_RUNTIME_PATHS) and service in ("sagemaker", ""):
        return "runtime"
    door = _DOORS.get(service or _apparent_service(message), "sagemaker")
    if door == "cloudwatch" and message.header("x-amz-target") is None:
        return "cloudwatch-query"
    return door


def _check_service(message: Message, signed_for: str) -> None:
    """`WrongScope` if a request is signed for another service than the one that its target belongs to."""
    target = message.header("x-amz-target")
    wanted = models.service_of_target(target) if target is not None else None
    if wanted is not None and wanted != models.signed(signed_for):
        name = models.service(wanted).signing_name
        raise WrongScope(f"Credential should be scoped to correct service: '{name}'.")


def _scope_service(message: Message) -> str:
    try:
        return sigv4.claim(message).service
    except AuthenticationError:
        return ""


def _apparent_service(message: Message) -> str:
    target = message.header("x-amz-target")
    if target is not None:
        return models.service_of_target(target) or "sagemaker"
    form = "x-www-form-urlencoded" in (message.header("content-type") or "")
    return "sts" if form and message.method == "POST" else "s3"


def _is_form(message: Message) -> bool:
    """Whether a request is a form with a file, and nothing outside its body says who sends it."""
    media_type = (message.header("content-type") or "").partition(";")[0].strip().lower()
    return message.method == "POST" and media_type == multipart.MEDIA_TYPE and not sigv4.is_signed(message)


def is_signed(scope: Scope) -> bool:
    """Whether a request carries any kind of authentication, good or bad."""
    return sigv4.is_signed(message_of(scope))


def message_of(scope: Scope) -> Message:
    """The parts of a request that its signature covers, undecoded."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    headers = tuple((name.decode("latin-1").lower(), _header_text(value)) for name, value in scope["headers"])
    return Message(scope["method"], _ascii(path), _ascii(scope["query_string"]), headers)


def _ascii(encoded: bytes) -> str:
    """A path or query with what a careless client left unencoded encoded."""
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in encoded)


def _header_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _read(request: Request, limit: int) -> bytes:
    """The body. One that is too large is read on for a while: a client that is still sending would not see the answer
    before its connection breaks. One that waits to be asked for its body is refused at once.
    """
    body, seen, length = bytearray(), 0, announced(request) or 0
    if length <= limit or "expect" not in request.headers:
        async for piece in request.stream():
            seen += len(piece)
            if seen <= limit:
                body += piece
            elif seen > limit + _DISCARDED:
                break
    if seen > limit or length > limit:
        raise RequestTooLarge(f"The request body is larger than {limit} bytes. Send less at a time.")
    return bytes(body)


def announced(request: Request) -> int | None:
    """How many bytes a request says it has; None if it doesn't say."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _patient(receive: Receive) -> Receive:
    async def patient() -> Event:
        try:
            async with asyncio.timeout(BODY_PATIENCE):
                return await receive()
        except TimeoutError as error:
            raise stalled() from error

    return patient


def stalled() -> RequestTimeout:
    """What to say once a body has stood still for too long."""
    return RequestTimeout(f"Nothing of the request body arrived for {BODY_PATIENCE:g} seconds. Send the request again.")


def _replay(body: bytes) -> Receive:
    async def receive() -> Event:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def refusal(error: Exception, request: Request, door: Door) -> Response:
    """The answer to a request that `error` came of, which is logged if it is not the client's."""
    request_id, path = request.state.request_id, request.scope["path"]
    if not isinstance(error, RequestError):
        log.exception("request failed", request_id=request_id, method=request.method, path=path)
    answer = faults.answer(faults.fault(error, door, request_id), door, request_id, path)
    response = Response(answer.body, answer.status, answer.headers, media_type=answer.content_type)
    if "expect" in request.headers or isinstance(error, RequestTimeout):
        # The client may still hold the body back; on a kept connection it would be taken for the next request.
        response.headers["connection"] = "close"
    return response
