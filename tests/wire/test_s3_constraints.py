"""Every constraint of the S3 operations served: each is broken in a request that is valid otherwise."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

import pytest
from botocore.model import OperationModel, Shape

from pilothouse.api import bucket
from pilothouse.wire import models
from tests.wire.conftest import Api, said, signed
from tests.wire.test_every_constraint import Gone, Place, least, members, with_value

BUCKET, KEY = "constrained", "key"
WRONG = {"integer": "x", "long": "x", "boolean": "maybe", "timestamp": "never"}
USUAL = {"Bucket": BUCKET, "Key": KEY, "CopySource": f"{BUCKET}/{KEY}", "PartNumber": 1, "ObjectAttributes": ["ETag"]}

FREE = {
    "Content-Length": "HTTP's own",
    "If-Modified-Since": "a date that is none is no condition (RFC 9110, 13.1.3)",
    "If-Unmodified-Since": "a date that is none is no condition (RFC 9110, 13.1.4)",
    "x-amz-checksum-mode": "a hint, in any case",
    "uploadId missing": "the request is another operation's",
    "partNumber missing": "the request is another operation's",
    "x-amz-copy-source missing": "the request is another operation's",
    "Delete.Objects.0.Key of 0": "told of the object alone",
    "CreateBucketConfiguration.Tags.0.Key of 0": "a new bucket's tags are not served at all",
}
"""What may be wrong, or missing, and why."""

CODES = {
    "ACL": "AccessControlListNotSupported",
    "AccessControlPolicy": "AccessControlListNotSupported MalformedXML",
    "ChecksumAlgorithm": "InvalidRequest",
    "ChecksumType": "InvalidRequest",
    "LocationConstraint": "IllegalLocationConstraintException",
    "SSEAlgorithm": "InvalidEncryptionAlgorithmError",
    "ServerSideEncryption": "InvalidEncryptionAlgorithmError",
    "StorageClass": "InvalidStorageClass",
    "TagSet.0.Key": "InvalidTag",
}
"""The codes of members that have their own."""


@dataclass(frozen=True)
class Case:
    """A value of one member, or none, in a request that is valid otherwise."""

    operation: OperationModel
    path: Place
    value: Any

    @property
    def where(self) -> str:
        """What the member is called in the request: by its header, its parameter, or its path in the document."""
        called = self._member.serialization
        return ".".join(map(str, self.path)) if self.in_document else str(called["name"])

    @property
    def fault(self) -> str:
        return "missing" if self.value is Gone else self.value or "of 0"

    @property
    def is_free(self) -> bool:
        return bool(FREE.keys() & {self.where, f"{self.where} {self.fault}"})

    @property
    def in_document(self) -> bool:
        return "location" not in self._member.serialization

    @property
    def _member(self) -> Shape:
        return self.operation.input_shape.members[self.path[0]]

    @property
    def codes(self) -> list[str]:
        """Those of S3 that fit."""
        path = f".{'.'.join(map(str, self.path))}."
        own = [codes for part, codes in CODES.items() if f".{part}." in path and self.value is not Gone]
        return own[0].split() if own else ["MalformedXML" if self.in_document else "InvalidArgument"]

    @property
    def valid(self) -> dict[str, Any]:
        """The request with a value that is right."""
        shape = self.operation.input_shape
        request = {**filled(shape), **{name: value for name, value in USUAL.items() if name in shape.required_members}}
        for end in range(1, len(self.path) + 1):
            inside = shape
            for step in self.path[:end]:
                inside = inside.member if isinstance(step, int) else inside.members[step]
            if end < len(self.path) or self.path[0] not in USUAL:
                request = with_value(request, self.path[:end], filled(inside))
        return request


def cases(operation: OperationModel) -> list[Case]:
    """All that one member alone can have wrong."""
    shape = operation.input_shape
    return [] if shape is None else [case for case in below(operation, shape, ()) if not case.is_free]


def below(operation: OperationModel, shape: Shape, path: Place) -> Iterator[Case]:
    """All that is below `path`, but attributes of elements, which are not read."""
    for name in getattr(shape, "required_members", ()):
        where = shape.members[name].serialization
        if where.get("location") != "uri" and "xmlAttribute" not in where:
            yield Case(operation, (*path, name), Gone)
    for step, member in members(shape):
        if "xmlAttribute" in member.serialization:
            continue
        place = (*path, step)
        for value in wrong(member):
            yield Case(operation, place, value)
        yield from below(operation, member, place)


def wrong(shape: Shape) -> Iterator[str]:
    if shape.type_name in WRONG:
        yield WRONG[shape.type_name]
    if shape.type_name == "string" and shape.enum:
        yield "BOGUS"
    for limit, by in (("min", -1), ("max", 1)):
        if shape.type_name in ("integer", "long") and limit in shape.metadata:
            yield str(shape.metadata[limit] + by)
        if (
            shape.type_name == "string"
            and shape.metadata.get(limit, 0)
            and shape.serialization.get("location") != "uri"
        ):
            yield "a" * (shape.metadata[limit] + by)


def filled(shape: Shape) -> Any:
    """A value that satisfies `shape`, with an item in each list."""
    if shape.type_name == "structure":
        return {name: filled(shape.members[name]) for name in shape.required_members}
    return [filled(shape.member)] if shape.type_name == "list" else least(shape)


@dataclass
class Parts:
    """A request, by where its members lie."""

    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def written(operation: OperationModel, request: dict[str, Any]) -> Parts:
    path, _, fixed = operation.http["requestUri"].partition("?")
    parts = Parts(path.replace("{Bucket}", BUCKET).replace("{Key+}", KEY))
    parts.query += [(name, value) for name, _, value in (pair.partition("=") for pair in fixed.split("&")) if name]
    for name, value in request.items():
        member = operation.input_shape.members[name]
        where = member.serialization
        if where.get("location") == "querystring":
            parts.query.append((where["name"], str(value)))
        elif where.get("location") == "header":
            parts.headers[where["name"]] = ",".join(value) if isinstance(value, list) else str(value)
        elif member.type_name == "structure":
            parts.body = element(member, where["name"], value).encode()
    return parts


def element(shape: Shape, name: str, value: Any) -> str:
    if "xmlAttribute" in shape.serialization:
        return ""
    if isinstance(value, dict):
        named = ((shape.members[key], key, inner) for key, inner in value.items())
        return (
            f"<{name}>{''.join(element(one, one.serialization.get('name', key), v) for one, key, v in named)}</{name}>"
        )
    if isinstance(value, list):
        flat = shape.serialization.get("flattened")
        inside = name if flat else shape.member.serialization.get("name", "member")
        items = "".join(element(shape.member, inside, item) for item in value)
        return items if flat else f"<{name}>{items}</{name}>"
    text = {"timestamp": "2026-01-01T00:00:00Z", "boolean": "true"}.get(shape.type_name)
    return f"<{name}>{escape(value if isinstance(value, str) else text or str(value))}</{name}>"


@pytest.fixture(scope="module")
def s3(api: Api) -> Any:
    client = api.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key=KEY, Body=b"content")
    return client


def answered(api: Api, operation: OperationModel, request: dict[str, Any], upload: str) -> tuple[int, str]:
    """The status and the text of what is said to a request."""
    if "UploadId" in request:
        request = {**request, "UploadId": upload}
    parts = written(operation, request)
    if parts.body:
        digest = hashlib.md5(parts.body, usedforsecurity=False).digest()
        parts.headers["Content-MD5"] = base64.b64encode(digest).decode()
    where = f"{parts.path}?{urlencode(parts.query, quote_via=quote)}" if parts.query else parts.path
    answer = said(api, signed(api, operation.http["method"], where, parts.headers, parts.body))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize("name", sorted(bucket.SERVED))
def test_whatever_breaks_a_constraint_is_refused_in_s3s_form(api: Api, s3: Any, name: str) -> None:
    operation = models.operation("s3", name)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"]
    for case in cases(operation):
        status, text = answered(api, operation, with_value(case.valid, case.path, case.value), upload)
        told = (case.where, case.fault, status, text)
        assert status == 400, told
        if operation.http["method"] != "HEAD":
            assert text.partition("<Code>")[2].partition("</Code>")[0] in case.codes, told
            if case.codes == ["InvalidArgument"]:
                assert case.where in text or "attribute name" in text, told


@pytest.mark.parametrize("name", sorted(bucket.SERVED))
def test_the_document_of_a_case_is_wrong_in_nothing_else(api: Api, s3: Any, name: str) -> None:
    assert s3
    operation = models.operation("s3", name)
    for case in cases(operation):
        if case.in_document:
            _, text = answered(api, operation, case.valid, "u")
            assert "validate against our schema" not in text, (case.where, text)


def test_there_are_a_hundred_constraints() -> None:
    found = [case for name in bucket.SERVED for case in cases(models.operation("s3", name))]
    assert len(found) > 100
    assert {case.fault for case in found} >= {"missing", *WRONG.values(), "BOGUS", "0", "10001"}
