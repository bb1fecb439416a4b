"""S3's protocol: requests read and answers written as botocore's model of S3 describes them.

An operation is told by method, path and query; members travel in the path, the query, headers or an XML body, each
where the model says. Bodies that are an object's bytes are not handled here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_MOST_ELEMENTS = 200_000  # 10,000 parts with all that may be told of each are half as many
_MOST_ATTRIBUTES = 20_000  # and declarations of namespaces: two in each of those parts
_XML_PIECE = 16 << 10  # bytes; a tag of so many or fewer is taken, one of more than twice as many never
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}
_WRONG = (ValueError, TypeError, LookupError, OverflowError)
_HEADER_VALUE = re.compile("[ -~\x80-\xff]*")
_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
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

_OLD_ROOTS = {"CreateBucketConstraint": "CreateBucketConfiguration"}
"""Root elements that clients older than the model write, and S3 takes, by what the model calls them."""

_UNKNOWN_WORDS = {
    "x-amz-checksum-algorithm": "InvalidRequest",
    "x-amz-checksum-type": "InvalidRequest",
    "x-amz-storage-class": "InvalidStorageClass",
}
"""S3's codes for a word that the model's enum has not got, by header; of all others it is InvalidArgument."""

_FREE_WORDS = ("x-amz-acl", "x-amz-checksum-mode", "x-amz-sdk-checksum-algorithm", "x-amz-server-side-encryption")
"""Headers with any word: hints of SDKs, some in small letters, and those that are judged where they are read."""

_MAY_BE_EMPTY = ("max-keys", "x-amz-acl", "x-amz-storage-class")
"""What S3 takes as not said where it is empty. Who sends an empty word for encryption, say, would believe in it."""

_CONDITIONS = ("if-modified-since", "if-unmodified-since")
"""Headers that count as not sent where they are no date (RFC 9110, 13.1.3 and 13.1.4)."""

_JUDGED = ("BucketLocationConstraint", "ServerSideEncryption")
"""Shapes of words in documents that are judged where they are read, and have errors of their own."""


@dataclass(frozen=True)
class Incoming:
    """A request without its body: bucket and key decoded and "" when absent, header names in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


Writer = Callable[[Any], str]


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


def incoming(
    method: str, raw_path: bytes, raw_query: bytes, headers: Iterable[tuple[str, str]], host_bucket: str = ""
) -> Incoming:
    """Take a request apart; InvalidURI if it is not percent-encoded UTF-8.

    The path begins with the bucket, unless the host does: then `host_bucket` is that, and the whole path the key.
    Some clients move x-amz-* headers into the query of a URL that they presign: such parameters are headers.
    """
    whole = raw_path.removeprefix(b"/")
    bucket, _, key = (host_bucket.encode(), b"", whole) if host_bucket else whole.partition(b"/")
    try:
        query = _query(raw_query) if raw_query else {}
        name, path = unquote_to_bytes(bucket).decode(), unquote_to_bytes(key).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI: it is not percent-encoded UTF-8.", 400) from None
    moved = {parameter.lower(): value for parameter, value in query.items()}
    found = {parameter: value for parameter, value in moved.items() if parameter.startswith("x-amz-")}
    return Incoming(method, name, path, query, found | _joined(headers))


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers by name; some clients send each item of a list in a header of its own."""
    joined: dict[str, str] = {}
    for header, value in headers:
        name = header.lower()
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _query(raw: bytes) -> dict[str, str]:
    return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict"))


def operation(request: Incoming) -> OperationModel:
    """The operation that a request means: of those whose demands it meets, the one that demands most."""
    shape = "key" if request.key else "bucket" if request.bucket else ""
    for candidate in _candidates(request.method, shape):
        if candidate.matches(request):
            return models.operation("s3", candidate.name)
    raise UnknownOperation("The specified method is not allowed against this resource.")


def parse(model: OperationModel, request: Incoming, body: bytes = b"") -> dict[str, Any]:
    """The members of a request, by botocore's names; `body` is the XML, if the operation has any.

    MalformedXML for a document that lacks what the model requires, has another root, or is required and not there.
    """
    shape = model.input_shape
    if shape is None:
        return {}
    members = _outside_body(shape, request)
    payload = shape.serialization.get("payload")
    if payload and (body or payload in shape.required_members) and shape.members[payload].type_name == "structure":
        members[payload] = _document(shape.members[payload], read(body))
    return members


def answer(model: OperationModel, result: Mapping[str, Any]) -> Outgoing:
    """The headers and the XML body of a result, by botocore's names; members that are None are left out."""
    shape = model.output_shape
    status = int(model.http.get("responseCode", 200))
    if shape is None:
        return Outgoing(status, {}, b"")
    members = shape.members
    outside, inside = _outside(shape), {}
    headers: dict[str, str] = {}
    for name, value in result.items():
        if value is None or name not in members:
            continue
        if name in outside:
            headers.update(_headers(members[name], value))
        else:
            inside[name] = value
    return Outgoing(status, headers, _body(model, shape, inside))


def read(document: bytes) -> Element:
    """Parse an XML document; MalformedXML if it is none, declares a document type, or has more than any client says."""
    root = Element("")
    stack = [root]
    texts: list[list[str]] = [[]]
    count = attributes = 0

    def start(name: str, given: dict[str, str]) -> None:
        nonlocal count, attributes
        count += 1
        attributes += len(given)
        if len(stack) > _DEEPEST or count > _MOST_ELEMENTS or attributes > _MOST_ATTRIBUTES:
            raise _malformed()
        stack[-1].children.append(Element(name.rpartition("}")[2]))
        stack.append(stack[-1].children[-1])
        texts.append([])

    def declare(*_: Any) -> None:
        nonlocal attributes
        attributes += 1
        if attributes > _MOST_ATTRIBUTES:
            raise _malformed()

    def end(_: str) -> None:
        stack.pop().text = "".join(texts.pop())

    def text(data: str) -> None:
        texts[-1].append(data)

    def refuse(*_: Any) -> None:
        raise _malformed()

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text, parser.buffer_size = True, 1 << 20  # else each line of a text is a piece to be copied behind it
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler, parser.StartNamespaceDeclHandler = refuse, declare
    try:
        fed = 0
        while len(document) - fed > _XML_PIECE:  # in pieces, as nothing is heard of a tag's attributes before its end
            parser.Parse(document[fed : fed + _XML_PIECE], False)
            fed += _XML_PIECE
            if fed - parser.CurrentByteIndex >= _XML_PIECE:
                raise _malformed()
        parser.Parse(document[fed:], True)
    except (expat.ExpatError, LookupError, ValueError):  # the latter two are of an encoding that it says it has
        raise _malformed() from None
    return root.children[0]


@dataclass(frozen=True)
class _Candidate:
    name: str
    fixed: frozenset[tuple[str, str]]
    query: frozenset[str]
    headers: frozenset[str]

    def matches(self, request: Incoming) -> bool:
        return (
            self.query <= request.query.keys()
            and self.headers <= request.headers.keys()
            and self.fixed <= request.query.items()
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
    fixed = frozenset(pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "x-id")
    headers = [] if fixed else [where["name"].lower() for where in required if where.get("location") == "header"]
    candidate = _Candidate(
        model.name,
        fixed,
        frozenset(where["name"] for where in required if where.get("location") == "querystring"),
        frozenset(headers),
    )
    return model.http["method"], kind, candidate


def _outside_body(shape: Shape, request: Incoming) -> dict[str, Any]:
    """The members that lie outside the body, of some forty that may: those that the request has are looked up."""
    places = _places(shape)
    members: dict[str, Any] = {name: getattr(request, part) for name, part in places.path}
    for found, known in ((request.headers, places.headers), (request.query, places.query)):
        for place in known.keys() & found.keys():
            name, member = known[place]
            if not found[place] and place in _MAY_BE_EMPTY:
                continue
            try:
                members[name] = _given(member, found[place])
            except S3Error:
                if place not in _CONDITIONS:
                    raise
    for name, prefix in places.prefixes:
        if named := {k[len(prefix) :]: v for k, v in request.headers.items() if k.startswith(prefix)}:
            members[name] = named
    return members


@dataclass
class _Places:
    """Where the members of a shape lie, by what the request calls them."""

    path: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    query: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    prefixes: list[tuple[str, str]] = field(default_factory=list)


@cache
def _places(shape: Shape) -> _Places:
    places = _Places()
    for name, member in shape.members.items():
        where = member.serialization
        location, called = where.get("location"), where.get("name", "")
        if location == "uri":
            places.path.append((name, "bucket" if called == "Bucket" else "key"))
        elif location == "headers":
            places.prefixes.append((name, called.lower()))
        elif location == "header":
            places.headers[called.lower()] = name, member
        elif location == "querystring" and member.type_name != "map":
            places.query[called] = name, member
    return places


def _given(member: Shape, text: str) -> Any:
    name = member.serialization["name"]
    if member.type_name == "list":
        return [_known(member.member, name, item.strip()) for item in text.split(",")]
    if member.type_name == "string":
        return _known(member, name, text)
    try:
        value, limits = _scalar(member, text), member.metadata
    except _WRONG:
        raise S3Error("InvalidArgument", f'"{text[:64]}" is not a valid value for {name}.', 400) from None
    if not limits.get("min", value) <= value <= limits.get("max", value):
        message = f"Argument {name} must be an integer between {limits['min']} and {limits['max']}"
        raise S3Error("InvalidArgument", message, 400)
    return value


def _known(shape: Shape, name: str, text: str) -> str:
    """A text, if it is one of the shape's words or `name` may have others."""
    if not _is_word(shape, text) and name not in _FREE_WORDS:
        message = f'"{text[:64]}" is not a valid value for {name}. Use one of: {", ".join(shape.enum)}.'
        raise S3Error(_UNKNOWN_WORDS.get(name, "InvalidArgument"), message, 400)
    return text


def _is_word(shape: Shape, text: str) -> bool:
    return shape.type_name != "string" or not shape.enum or text in shape.enum


def _document(shape: Shape, root: Element) -> Any:
    name = _OLD_ROOTS.get(root.name, root.name)
    if name not in (shape.serialization["name"], shape.name):  # the latter from early SDKs for JavaScript, v3
        raise _malformed()
    return _value(shape, root)


def _value(shape: Shape, element: Element) -> Any:
    if shape.type_name != "structure":
        if not _is_word(shape, element.text) and shape.name not in _JUDGED:
            raise _malformed()
        try:
            return _scalar(shape, element.text)
        except _WRONG:
            raise _malformed() from None
    members: dict[str, Any] = {}
    required = shape.required_members
    for name, member in shape.members.items():
        where = member.serialization
        found = element.all(where.get("name", name))
        if not found:
            if name in required and not where.get("xmlAttribute"):  # attributes are not read
                raise _malformed()
        elif member.type_name == "list":
            items = found if where.get("flattened") else [c for e in found for c in e.children]
            members[name] = [_value(member.member, item) for item in items]
        else:
            members[name] = _value(member, found[0])
    return members


def _scalar(shape: Shape, text: str) -> Any:
    """The value that a text stands for; one of `_WRONG` if there is none."""
    if shape.type_name in ("integer", "long"):
        return _integer(text)
    if shape.type_name == "timestamp":
        return _timestamp(text)
    return _BOOLEANS[text.strip().lower()] if shape.type_name == "boolean" else text


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def _timestamp(text: str) -> float:
    parse_one = datetime.fromisoformat if re.match(r"\d{4}-", text) else parsedate_to_datetime
    moment = parse_one(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()  # or OverflowError


def _headers(member: Shape, value: Any) -> Iterator[tuple[str, str]]:
    where = member.serialization
    if where.get("location") == "headers":
        yield from ((where["name"] + name, header_value(text)) for name, text in value.items())
    elif where.get("location") == "header":
        text = format_datetime(_moment(value), usegmt=True) if member.type_name == "timestamp" else _text(member, value)
        yield where["name"], header_value(text)


def header_value(text: str) -> str:
    """`text` if it can be sent as the value of a header; InvalidArgument if not."""
    if _HEADER_VALUE.fullmatch(text):
        return text
    raise S3Error("InvalidArgument", f"{text!r} cannot be sent as the value of a header.", 400)


def _body(model: OperationModel, shape: Shape, members: Mapping[str, Any]) -> bytes:
    payload = shape.serialization.get("payload")
    if payload is not None:
        inner = shape.members[payload]
        if inner.type_name != "structure" or payload not in members:
            return b""
        root = _writer(_ROOTS.get(model.name, inner.name), inner, NAMESPACE)(members[payload])
    elif model.name == "GetBucketLocation":  # the one answer whose root element holds text
        region = xml_text(str(members.get("LocationConstraint", "")))
        root = f'<LocationConstraint xmlns="{NAMESPACE}">{region}</LocationConstraint>'
    elif len(_outside(shape)) == len(shape.members):
        return b""
    else:
        root = _writer(_ROOTS.get(model.name, shape.name), shape, NAMESPACE)(members)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}'.encode()


@cache
def _outside(shape: Shape) -> frozenset[str]:
    """The members that lie outside the body."""
    return frozenset(name for name, member in shape.members.items() if "location" in member.serialization)


@cache
def _writer(name: str, shape: Shape, namespace: str = "") -> Writer:
    """What writes a value of that shape as an element : of a flattened list, as several. Made once."""
    if shape.type_name == "list":
        flat = shape.serialization.get("flattened")
        item = _writer(name if flat else shape.member.serialization.get("name", "member"), shape.member)
        if flat:
            return lambda value: "".join(map(item, value))
        return lambda value: f"<{name}>{''.join(map(item, value))}</{name}>"
    if shape.type_name == "structure":
        return _structure_writer(name, shape, namespace)
    text = _TEXTS.get(shape.type_name, str)
    return lambda value: f"<{name}>{xml_text(text(value))}</{name}>"


def _structure_writer(name: str, shape: Shape, namespace: str) -> Writer:
    attributes, children = [], []
    for member_name, member in shape.members.items():
        where = member.serialization
        if where.get("xmlAttribute"):
            attributes.append((member_name, where["name"]))
        elif "location" not in where:
            children.append((member_name, _writer(where.get("name", member_name), member)))
    declared = shape.serialization.get("xmlNamespace") if attributes else None
    opening = f'<{name} xmlns="{namespace}"' if namespace else f"<{name}"
    if declared:
        opening += f' xmlns:{declared["prefix"]}="{declared["uri"]}"'

    def write(value: Mapping[str, Any]) -> str:
        inner = "".join([child(value[key]) for key, child in children if value.get(key) is not None])
        given = "".join([f' {wire}="{xml_text(value[key])}"' for key, wire in attributes])
        return f"{opening}{given}>{inner}</{name}>"

    return write


def _text(shape: Shape, value: Any) -> str:
    return _TEXTS.get(shape.type_name, str)(value)


def _timestamp_text(seconds: float) -> str:
    return _moment(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _boolean_text(value: bool) -> str:
    return str(value).lower()


_TEXTS: Mapping[str, Callable[[Any], str]] = {"timestamp": _timestamp_text, "boolean": _boolean_text}


def _malformed() -> S3Error:
    return S3Error(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our schema.", 400
    )
