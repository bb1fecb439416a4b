"""S3's protocol: requests read and answers written as botocore's model of S3 describes them.

An operation is told by method, path and query; members travel in the path, the query, headers or an XML body, each
where the model says. Bodies that are an object's bytes are not handled here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.parsers import expat

from botocore.model import OperationModel, Shape

from pilothouse.errors import S3Error, UnknownOperation
from pilothouse.wire import models
from pilothouse.wire.faults import xml_text

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_DEEPEST = 16
_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
    "UploadPartCopy": "CopyPartResult",
}
"""Root elements as the real service writes them, where the model does not tell."""


@dataclass(frozen=True)
class Incoming:
    """A request without its body: bucket and key decoded and "" when absent, header names in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Outgoing:
    """An answer without its streamed body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Element:
    """An XML element: its name without the namespace, its text, its children."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]


def incoming(method: str, raw_path: bytes, raw_query: bytes, headers: Iterable[tuple[str, str]]) -> Incoming:
    """Take a path-style request apart; InvalidURI if it is not percent-encoded UTF-8.

    Some clients move x-amz-* headers into the query of a URL that they presign: such parameters are headers.
    """
    bucket, _, key = raw_path.removeprefix(b"/").partition(b"/")
    try:
        query = dict(parse_qsl(raw_query.decode("ascii"), keep_blank_values=True, errors="strict"))
        name, path = unquote_to_bytes(bucket).decode(), unquote_to_bytes(key).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI: it is not percent-encoded UTF-8.", 400) from None
    moved = {parameter.lower(): value for parameter, value in query.items()}
    moved = {parameter: value for parameter, value in moved.items() if parameter.startswith("x-amz-")}
    return Incoming(method, name, path, query, moved | {header.lower(): value for header, value in headers})


def operation(request: Incoming) -> OperationModel:
    """The operation that a request means: of those whose demands it meets, the one that demands most."""
    shape = "key" if request.key else "bucket" if request.bucket else ""
    for candidate in _candidates(request.method, shape):
        if candidate.matches(request):
            return models.operation("s3", candidate.name)
    raise UnknownOperation("The specified method is not allowed against this resource.")


def parse(model: OperationModel, request: Incoming, body: bytes = b"") -> dict[str, Any]:
    """The members of a request, by botocore's names; `body` is the XML, if the operation has any."""
    members: dict[str, Any] = {}
    shape = model.input_shape
    for name, member in shape.members.items() if shape else ():
        value = _located(member, request)
        if value is not None:
            members[name] = value
    payload = model.input_shape.serialization.get("payload") if model.input_shape else None
    if payload and body and model.input_shape.members[payload].type_name == "structure":
        members[payload] = _value(model.input_shape.members[payload], read(body))
    return members


def answer(model: OperationModel, result: Mapping[str, Any]) -> Outgoing:
    """The headers and the XML body of a result, by botocore's names; members that are None are left out."""
    shape = model.output_shape
    status = int(model.http.get("responseCode", 200))
    if shape is None:
        return Outgoing(status, {}, b"")
    present = {name: result[name] for name in shape.members if result.get(name) is not None}
    headers: dict[str, str] = {}
    for name, value in present.items():
        headers.update(_headers(shape.members[name], value))
    body = _body(model, shape, {n: v for n, v in present.items() if "location" not in shape.members[n].serialization})
    return Outgoing(status, headers, body)


def read(document: bytes) -> Element:
    """Parse an XML document; MalformedXML if it is none, or declares a document type."""
    root = Element("")
    stack = [root]

    def start(name: str, _: dict[str, str]) -> None:
        if len(stack) > _DEEPEST:
            raise _malformed()
        stack[-1].children.append(Element(name.rpartition("}")[2]))
        stack.append(stack[-1].children[-1])

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: Any) -> None:
        raise _malformed()

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: stack.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(document, True)
    except expat.ExpatError:
        raise _malformed() from None
    return root.children[0]


@dataclass(frozen=True)
class _Candidate:
    name: str
    fixed: tuple[tuple[str, str], ...]
    query: tuple[str, ...]
    headers: tuple[str, ...]

    def matches(self, request: Incoming) -> bool:
        return (
            all(request.query.get(name) == value for name, value in self.fixed)
            and all(name in request.query for name in self.query)
            and all(name in request.headers for name in self.headers)
        )


@cache
def _candidates(method: str, shape: str) -> list[_Candidate]:
    service = models.service("s3")
    found = [_candidate(service.operation_model(name)) for name in service.operation_names]
    fitting = [candidate for verb, kind, candidate in found if (verb, kind) == (method, shape)]
    return sorted(fitting, key=lambda c: (-len(c.fixed) - len(c.query) - len(c.headers), len(c.name)))


def _candidate(model: OperationModel) -> tuple[str, str, _Candidate]:
    path, _, query = model.http["requestUri"].partition("?")
    kind = "key" if "{Key+}" in path else "bucket" if path == "/{Bucket}" else "" if path == "/" else path
    shape = model.input_shape
    required = [shape.members[name].serialization for name in shape.required_members] if shape else []
    candidate = _Candidate(
        model.name,
        tuple(pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "x-id"),
        tuple(where["name"] for where in required if where.get("location") == "querystring"),
        tuple(where["name"].lower() for where in required if where.get("location") == "header"),
    )
    return model.http["method"], kind, candidate


def _located(member: Shape, request: Incoming) -> Any:
    where = member.serialization
    location, name = where.get("location"), where.get("name", "")
    if location == "uri":
        return request.bucket if name == "Bucket" else request.key
    if location == "headers":
        prefix = name.lower()
        return {k[len(prefix) :]: v for k, v in request.headers.items() if k.startswith(prefix)} or None
    if location == "header":
        text = request.headers.get(name.lower())
    elif location == "querystring" and member.type_name != "map":
        text = request.query.get(name)
    else:
        return None
    if text is None:
        return None
    return [item.strip() for item in text.split(",")] if member.type_name == "list" else _scalar(member, text)


def _value(shape: Shape, element: Element) -> Any:
    if shape.type_name != "structure":
        return _scalar(shape, element.text)
    members: dict[str, Any] = {}
    for name, member in shape.members.items():
        found = element.all(member.serialization.get("name", name))
        if member.type_name == "list":
            items = found if member.serialization.get("flattened") else [c for e in found for c in e.children]
            members[name] = [_value(member.member, item) for item in items]
        elif found:
            members[name] = _value(member, found[0])
    return members


def _scalar(shape: Shape, text: str) -> Any:
    try:
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name == "timestamp":
            return _timestamp(text)
    except (ValueError, TypeError, OverflowError):
        name = shape.serialization.get("name", shape.name)
        raise S3Error("InvalidArgument", f'"{text}" is not a valid value for {name}.', 400) from None
    return text.strip().lower() == "true" if shape.type_name == "boolean" else text


def _timestamp(text: str) -> float:
    parse_one = datetime.fromisoformat if re.match(r"\d{4}-", text) else parsedate_to_datetime
    moment = parse_one(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _headers(member: Shape, value: Any) -> Iterator[tuple[str, str]]:
    where = member.serialization
    if where.get("location") == "headers":
        yield from ((where["name"] + name, _header(text)) for name, text in value.items())
    elif where.get("location") == "header":
        text = format_datetime(_moment(value), usegmt=True) if member.type_name == "timestamp" else _text(member, value)
        yield where["name"], _header(text)


def _header(text: str) -> str:
    if all(" " <= character <= "\xff" and character != "\x7f" for character in text):
        return text
    raise S3Error("InvalidArgument", f"{text!r} cannot be sent as the value of a header.", 400)


def _body(model: OperationModel, shape: Shape, members: Mapping[str, Any]) -> bytes:
    payload = shape.serialization.get("payload")
    if payload is not None:
        inner = shape.members[payload]
        if inner.type_name != "structure" or payload not in members:
            return b""
        content, name = "".join(_children(inner, members[payload])), _ROOTS.get(model.name, inner.name)
    elif model.name == "GetBucketLocation":  # the one answer whose root element holds text
        content, name = xml_text(str(members.get("LocationConstraint", ""))), "LocationConstraint"
    elif all("location" in member.serialization for member in shape.members.values()):
        return b""
    else:
        content, name = "".join(_children(shape, members)), _ROOTS.get(model.name, shape.name)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


def _children(shape: Shape, members: Mapping[str, Any]) -> Iterator[str]:
    for name, member in shape.members.items():
        value = members.get(name)
        if value is None or "location" in member.serialization:
            continue
        yield from _elements(member.serialization.get("name", name), member, value)


def _elements(name: str, shape: Shape, value: Any) -> Iterator[str]:
    if shape.type_name == "list":
        flat = shape.serialization.get("flattened")
        inner = name if flat else shape.member.serialization.get("name", "member")
        items = "".join(text for item in value for text in _elements(inner, shape.member, item))
        yield items if flat else f"<{name}>{items}</{name}>"
    elif shape.type_name == "structure":
        yield f"<{name}>{''.join(_children(shape, value))}</{name}>"
    else:
        yield f"<{name}>{xml_text(_text(shape, value))}</{name}>"


def _text(shape: Shape, value: Any) -> str:
    if shape.type_name == "timestamp":
        return _moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value).lower() if shape.type_name == "boolean" else str(value)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _malformed() -> S3Error:
    return S3Error(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our schema.", 400
    )
