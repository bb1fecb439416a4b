"""Errors on the wire: one table from error class to AWS's code and status, and the bytes that each protocol wants."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from pilothouse import errors
from pilothouse.errors import ModelError, PilothouseError, RequestTimeout, RequestTimeSkewed, S3Error, WrongScope
from pilothouse.wire import models

Door = Literal["sagemaker", "runtime", "logs", "sts", "iam", "cloudwatch", "cloudwatch-query", "s3"]
"""Where a request came in. Each has its own spelling of the same error; CloudWatch speaks both JSON and query."""

_QUERY: Mapping[Door, str] = {"sts": "sts", "iam": "iam", "cloudwatch-query": "cloudwatch"}
"""The service behind each door that speaks the query protocol."""

_IN_XML = "\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
_NOT_IN_XML = re.compile(f"[^{_IN_XML}]")
_NOT_AS_IT_IS = re.compile(f"[&<>\r]|[^{_IN_XML}]")

INTERNAL = "We encountered an internal error. Please try again; the server's log tells more under request id {}."


@dataclass(frozen=True)
class Fault:
    """An error as a client sees it."""

    code: str
    status: int
    message: str
    members: Mapping[str, str | int] = field(default_factory=dict)
    """Further members of the error, by their names on the wire."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer in the making."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """One error's (code, status) at each door. Logs' codes are those of the control plane unless they differ."""

    json: tuple[str, int]
    query: tuple[str, int]
    runtime: tuple[str, int]
    s3: tuple[str, int]
    logs: tuple[str, int] | None = None

    def at(self, door: Door) -> tuple[str, int]:
        if door in _QUERY or door == "cloudwatch":
            return self.query
        if door == "runtime":
            return self.runtime
        if door == "s3":
            return self.s3
        return self.logs or self.json if door == "logs" else self.json


_INTERNAL = _Row(("InternalFailure", 500), ("InternalFailure", 500), ("InternalFailure", 500), ("InternalError", 500))

_TABLE: dict[type[PilothouseError], _Row] = {
    errors.PilothouseError: _INTERNAL,
    errors.RequestError: _Row(
        ("ValidationException", 400), ("ValidationError", 400), ("ValidationError", 400), ("InvalidRequest", 400)
    ),
    errors.ValidationError: _Row(
        ("ValidationException", 400),
        ("ValidationError", 400),
        ("ValidationError", 400),
        ("InvalidArgument", 400),
        logs=("InvalidParameterException", 400),
    ),
    errors.SerializationError: _Row(
        ("SerializationException", 400), ("MalformedInput", 400), ("ValidationError", 400), ("MalformedXML", 400)
    ),
    errors.RequestTooLarge: _Row(
        ("RequestEntityTooLargeException", 413),
        ("RequestEntityTooLarge", 413),
        ("RequestEntityTooLargeException", 413),
        ("EntityTooLarge", 400),
    ),
    RequestTimeout: _Row(
        ("RequestTimeoutException", 408),
        ("RequestTimeout", 408),
        ("RequestTimeoutException", 408),
        ("RequestTimeout", 400),
    ),
    errors.ResourceNotFound: _Row(
        ("ResourceNotFound", 400),
        ("NoSuchEntity", 404),
        ("ValidationError", 400),
        ("NoSuchKey", 404),
        logs=("ResourceNotFoundException", 400),
    ),
    errors.ResourceInUse: _Row(
        ("ResourceInUse", 400), ("EntityAlreadyExists", 409), ("ValidationError", 400), ("OperationAborted", 409)
    ),
    errors.ResourceLimitExceeded: _Row(
        ("ResourceLimitExceeded", 400),
        ("LimitExceeded", 409),
        ("ServiceUnavailable", 503),
        ("SlowDown", 503),
        logs=("LimitExceededException", 400),
    ),
    errors.Throttled: _Row(
        ("ThrottlingException", 400), ("Throttling", 400), ("ThrottlingException", 400), ("SlowDown", 503)
    ),
    errors.UnknownOperation: _Row(
        ("UnknownOperationException", 400),
        ("InvalidAction", 400),
        ("UnknownOperationException", 404),
        ("MethodNotAllowed", 405),
    ),
    errors.MissingAction: _Row(
        ("UnknownOperationException", 400),
        ("MissingAction", 400),
        ("UnknownOperationException", 404),
        ("MethodNotAllowed", 405),
    ),
    errors.OperationNotServed: _Row(
        ("UnsupportedOperationException", 400),
        ("UnsupportedOperation", 400),
        ("UnsupportedOperationException", 400),
        ("NotImplemented", 501),
    ),
    errors.EndpointNotFound: _Row(
        ("ValidationException", 400), ("ValidationError", 400), ("ValidationError", 400), ("InvalidRequest", 400)
    ),
    errors.ModelError: _Row(("ModelError", 424), ("ModelError", 424), ("ModelError", 424), ("InternalError", 500)),
    errors.ServiceUnavailable: _Row(
        ("ServiceUnavailable", 503),
        ("ServiceUnavailable", 503),
        ("ServiceUnavailable", 503),
        ("ServiceUnavailable", 503),
        logs=("ServiceUnavailableException", 503),
    ),
    errors.AuthenticationError: _Row(
        ("AccessDeniedException", 400), ("AccessDenied", 403), ("AccessDeniedException", 403), ("AccessDenied", 403)
    ),
    errors.MissingAuthentication: _Row(
        ("MissingAuthenticationTokenException", 400),
        ("MissingAuthenticationToken", 403),
        ("MissingAuthenticationTokenException", 403),
        ("AccessDenied", 403),
    ),
    errors.IncompleteSignature: _Row(
        ("IncompleteSignatureException", 400),
        ("IncompleteSignature", 400),
        ("IncompleteSignatureException", 403),
        ("AuthorizationHeaderMalformed", 400),
    ),
    errors.UnknownAccessKey: _Row(
        ("UnrecognizedClientException", 400),
        ("InvalidClientTokenId", 403),
        ("UnrecognizedClientException", 403),
        ("InvalidAccessKeyId", 403),
    ),
    errors.SignatureMismatch: _Row(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        ("InvalidSignatureException", 403),
        ("SignatureDoesNotMatch", 403),
    ),
    errors.WrongScope: _Row(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        ("InvalidSignatureException", 403),
        ("AuthorizationHeaderMalformed", 400),
    ),
    RequestTimeSkewed: _Row(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        ("InvalidSignatureException", 403),
        ("RequestTimeTooSkewed", 403),
    ),
    errors.JobFailed: _INTERNAL,
    errors.LeaseLost: _INTERNAL,
    errors.ConfigurationError: _INTERNAL,
}
"""Every class of the tree is found here by its nearest listed ancestor. S3's own errors carry code and status."""


def fault(error: Exception, door: Door, request_id: str) -> Fault:
    """What a client at `door` is told about `error`; of errors that are not the caller's, only the request id."""
    if isinstance(error, S3Error) and door == "s3":
        return Fault(error.code, error.status, error.message, error.members)
    row = _row(type(error))
    code, status = row.at(door)
    if not isinstance(error, PilothouseError) or row is _INTERNAL:
        return Fault(code, status, INTERNAL.format(request_id))
    return Fault(code, status, error.message, _members(error))


def _row(error_class: type[Exception]) -> _Row:
    for ancestor in error_class.__mro__:
        if issubclass(ancestor, PilothouseError):
            return _TABLE.get(ancestor) or _row(ancestor.__bases__[0])
    return _INTERNAL


def _members(error: PilothouseError) -> Mapping[str, str | int]:
    if isinstance(error, ModelError):
        return {
            "OriginalStatusCode": error.original_status,
            "OriginalMessage": error.original_message,
            "LogStreamArn": error.log_stream_arn,
        }
    if isinstance(error, RequestTimeSkewed):
        return {"RequestTime": error.request_time, "ServerTime": error.server_time}
    if isinstance(error, WrongScope) and error.region:
        return {"Region": error.region}
    return {}


def answer(error: Fault, door: Door, request_id: str, resource: str = "") -> Answer:
    """`error` in the form that clients of `door` parse. `resource` is the path that S3 repeats."""
    if door == "s3":
        return _s3(error, request_id, resource)
    if door in _QUERY:
        return _query(error, _QUERY[door], request_id)
    if door == "runtime":
        return _runtime(error)
    return _json(error)


def _json(error: Fault) -> Answer:
    # Modelled exceptions have a member Message, the common ones come with message; clients read either.
    body = {"__type": error.code, "message": error.message, "Message": error.message}
    return Answer(error.status, "application/x-amz-json-1.1", json.dumps(body).encode())


def _runtime(error: Fault) -> Answer:
    body = {"Message": error.message, **error.members}
    return Answer(error.status, "application/json", json.dumps(body).encode(), {"x-amzn-ErrorType": error.code})


def _query(error: Fault, service: str, request_id: str) -> Answer:
    side = "Receiver" if error.status >= 500 else "Sender"
    detail = _elements({"Type": side, "Code": error.code, "Message": error.message})
    namespace = models.service(service).metadata["xmlNamespace"]
    text = (
        f'<ErrorResponse xmlns="{namespace}"><Error>{detail}</Error><RequestId>{request_id}</RequestId></ErrorResponse>'
    )
    return Answer(error.status, "text/xml", text.encode())


def _s3(error: Fault, request_id: str, resource: str) -> Answer:
    members = {
        "Code": error.code,
        "Message": error.message,
        **error.members,
        "Resource": resource,
        "RequestId": request_id,
    }
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{_elements(members)}</Error>'
    return Answer(error.status, "application/xml", text.encode())


def _elements(members: Mapping[str, str | int]) -> str:
    return "".join(f"<{name}>{xml_text(str(value))}</{name}>" for name, value in members.items())


def xml_text(text: str) -> str:
    """`text` escaped for XML 1.0; characters that no XML document may hold become U+FFFD.

    A carriage return is written by its number, as parsers take one that stands there itself for the end of a line.
    """
    if _NOT_AS_IT_IS.search(text) is None:  # most texts, and a listing has thousands
        return text
    return escape(_NOT_IN_XML.sub("�", text), quote=False).replace("\r", "&#13;")
