"""The S3 door: buckets and objects.

Operations run in threads of this door's own, so that slow uploads never hold up the other services. An object's bytes
pass through in pieces of at most a mebibyte: up to one, they are read before the operation starts and sent in one go;
beyond, the operation's thread reads them from the socket, or the kernel from the file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, BinaryIO

from botocore.model import OperationModel
from starlette.requests import Request
from starlette.responses import Response

from pilothouse.api import content, direct_body, patience
from pilothouse.api.gateway import BODY_PATIENCE, announced, refusal, stalled
from pilothouse.api.pace import Pace
from pilothouse.api.zero_copy import FileResponse
from pilothouse.errors import OperationNotServed, S3Error
from pilothouse.objects.base import CHUNK
from pilothouse.objects.checksums import CONTENT_MD5, Digests, check_algorithm, check_md5
from pilothouse.operations import (
    s3_acls,
    s3_attributes,
    s3_buckets,
    s3_encryption,
    s3_listing,
    s3_objects,
    s3_settings,
    s3_tags,
    s3_terms,
    s3_uploads,
)
from pilothouse.operations.context import Context
from pilothouse.wire import chunks, restxml, virtual_hosts
from pilothouse.wire.sigv4 import Identity

Operation = Callable[[Context, dict[str, Any]], dict[str, Any] | None]

SERVED: Mapping[str, Operation] = {
    "AbortMultipartUpload": s3_uploads.abort_multipart_upload,
    "CompleteMultipartUpload": s3_uploads.complete_multipart_upload,
    "CopyObject": s3_objects.copy_object,
    "CreateBucket": s3_buckets.create_bucket,
    "CreateMultipartUpload": s3_uploads.create_multipart_upload,
    "DeleteBucket": s3_buckets.delete_bucket,
    "DeleteBucketEncryption": s3_encryption.delete_bucket_encryption,
    "DeleteObject": s3_objects.delete_object,
    "DeleteObjectTagging": s3_tags.delete_object_tagging,
    "DeleteObjects": s3_objects.delete_objects,
    "GetBucketAcl": s3_acls.get_bucket_acl,
    "GetBucketEncryption": s3_encryption.get_bucket_encryption,
    "GetBucketLocation": s3_buckets.get_bucket_location,
    "GetObject": s3_objects.get_object,
    "GetObjectAcl": s3_acls.get_object_acl,
    "GetObjectAttributes": s3_attributes.get_object_attributes,
    "GetObjectTagging": s3_tags.get_object_tagging,
    "HeadBucket": s3_buckets.head_bucket,
    "HeadObject": s3_objects.head_object,
    "ListBuckets": s3_buckets.list_buckets,
    "ListMultipartUploads": s3_uploads.list_multipart_uploads,
    "ListObjectVersions": s3_listing.list_object_versions,
    "ListObjects": s3_listing.list_objects,
    "ListObjectsV2": s3_listing.list_objects_v2,
    "ListParts": s3_uploads.list_parts,
    "PutBucketAcl": s3_acls.put_bucket_acl,
    "PutBucketEncryption": s3_encryption.put_bucket_encryption,
    "PutObject": s3_objects.put_object,
    "PutObjectAcl": s3_acls.put_object_acl,
    "PutObjectTagging": s3_tags.put_object_tagging,
    "UploadPart": s3_uploads.upload_part,
    "UploadPartCopy": s3_uploads.upload_part_copy,
    **s3_settings.OPERATIONS,
}
"""Every operation of this door, by its name in botocore's model."""

_LONG = ("CompleteMultipartUpload", "CopyObject", "UploadPartCopy")
"""Operations that move an object's bytes while their client waits, and looks for an error in an answer of status 200.

Of tags that are set, which moves them too, clients take any 200 for done, and a document without a root for a failure;
those taken away are answered by a 204, which has no body.
"""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SMALL, _LARGEST_XML = 64 << 10, 8 << 20
_CHECKSUM = "x-amz-checksum-"
_NOT_CHECKSUMS = {"algorithm", "mode", "type"}


async def handle(request: Request, context: Context, identity: Identity) -> Response:
    """Answer a request whose signature holds. Errors are raised: `S3Error`, `OperationNotServed`, …."""
    incoming = asked(request, context)
    model = restxml.operation(incoming)
    operation = SERVED.get(model.name)
    if operation is None:
        raise OperationNotServed(f"{model.name} is an operation of S3 that Pilothouse does not serve.")
    body = chunks.Body(request.headers, identity)
    checksums = checksums_of(incoming.headers)
    carries_object = model.name in ("PutObject", "UploadPart")
    document = b"" if carries_object else await _document(request, model, body, checksums)
    members: dict[str, Any] = await _off_loop(len(document), restxml.parse, model, incoming, document)
    s3_terms.check(context, members)
    if carries_object:
        members["Body"] = await _content(request, body, checksums)
    members["_checksums"] = checksums
    members["_if_range"] = incoming.headers.get("if-range")  # which the model has not got
    work = _worked(model, operation, context, members, request.method == "HEAD")
    if model.name in _LONG:
        return await patience.in_time(work, lambda error: refusal(error, request, "s3"))
    return await work


def asked(request: Request, context: Context) -> restxml.Incoming:
    """A request without its body; the bucket is in the path, or in the host's name."""
    names = virtual_hosts.own_names(context.settings.host, context.settings.host_names or "")
    in_host = virtual_hosts.bucket_of(request.headers.get("host", ""), names)
    raw_path, raw_query = request.scope["raw_path"], request.scope["query_string"]
    return restxml.incoming(request.method, raw_path, raw_query, request.headers.items(), in_host)


async def _off_loop(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` makes of `size` bytes: of many in a thread, as the event loop could do nothing else meanwhile."""
    return function(*arguments) if size <= _SMALL else await content.in_thread(function, *arguments)


async def _worked(
    model: OperationModel, operation: Operation, context: Context, members: dict[str, Any], head: bool
) -> Response:
    in_thread = content.storing.run if isinstance(members.get("Body"), Generator) else content.in_thread
    response: Response = await in_thread(_answered, model, operation, context, members, head)
    return response


def _answered(
    model: OperationModel, operation: Operation, context: Context, members: dict[str, Any], head: bool
) -> Response:
    return _response(model, context, *performed(operation, context, members, head))


def performed(
    operation: Operation, context: Context, members: dict[str, Any], head: bool = False
) -> tuple[dict[str, Any], bytes | None]:
    """The operation's answer, and its bytes if they are few."""
    try:
        result = operation(context, members) or {}
    except OSError as error:
        if error.errno in _FULL:
            raise S3Error("InsufficientStorage", "The disk of the object store is full. Make room.", 507) from error
        raise
    finally:
        if isinstance(body := members.get("Body"), Generator):
            body.close()
    stream: BinaryIO | None = result.get("Body")
    if stream is None or head or result["ContentLength"] > CHUNK:
        return result, None
    with stream:
        return result, stream.read()


def _response(model: OperationModel, context: Context, result: dict[str, Any], few: bytes | None) -> Response:
    outgoing = restxml.answer(model, {name: value for name, value in result.items() if name != "Body"})
    status = result.get("_status", outgoing.status)
    headers = {"x-amz-bucket-region": context.settings.region, **outgoing.headers}
    stream: BinaryIO | None = result.get("Body")
    if stream is None or few is not None:
        if outgoing.body:
            headers["content-type"] = "application/xml"
        return Response(few if few is not None else outgoing.body, status, headers)
    return FileResponse(stream, status, headers)


def _whole(body: chunks.Body, raw: bytes, checksums: dict[str, str | None]) -> bytes:
    """What a body that has come carries; fills in `checksums` from the trailers at its end."""
    found = b"".join(body.content([raw]))
    checksums.update(checksums_of(body.trailers))
    return found


def _pieces(
    body: chunks.Body, arriving: Generator[bytes, None, None], checksums: dict[str, str | None]
) -> Generator[bytes, None, None]:
    """The same of a body that comes in pieces, for a thread to iterate."""
    with closing(arriving):
        yield from content.bounded(body.content(arriving), s3_objects.LARGEST_PUT)
    checksums.update(checksums_of(body.trailers))


async def _content(
    request: Request, body: chunks.Body, checksums: dict[str, str | None]
) -> bytes | Generator[bytes, None, None]:
    """An object's bytes."""
    if body.length is not None and body.length > s3_objects.LARGEST_PUT:
        raise content.too_large(s3_objects.LARGEST_PUT)
    length = announced(request)
    if length is not None and length <= CHUNK:
        return _whole(body, await request.body(), checksums)
    rest = None if length is None else direct_body.rest(request, length)
    if rest is not None:
        return _pieces(body, rest.pieces(BODY_PATIENCE, stalled, Pace(content.storing.crowded)), checksums)
    return _pieces(body, content.pulled(content.portions(request.stream())), checksums)


async def _document(
    request: Request, model: OperationModel, body: chunks.Body, checksums: dict[str, str | None]
) -> bytes:
    """The whole body of a request that carries XML or nothing, verified if the checksums in the request are its own."""
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > _LARGEST_XML:
            raise S3Error("MaxMessageLengthExceeded", "Your request was too big.", 400)
    document: bytes = await _off_loop(len(raw), _verified, model, body, bytes(raw), dict(checksums))
    return document


def _verified(model: OperationModel, body: chunks.Body, raw: bytes, expected: dict[str, str | None]) -> bytes:
    document = _whole(body, raw, expected)
    if model.http_checksum.get("requestChecksumRequired"):
        digests = Digests(expected)
        digests.update(document)
        digests.verify(expected)
    return document


def checksums_of(headers: Mapping[str, str]) -> dict[str, str | None]:
    """The checksums that headers or trailers carry or announce, as `Objects.put` takes them."""
    found: dict[str, str | None] = {}
    for trailer in (headers.get("x-amz-trailer") or "").lower().split(","):
        if trailer.strip().startswith(_CHECKSUM):
            found[check_algorithm(trailer.strip().removeprefix(_CHECKSUM).upper())] = None
    for asked in ("x-amz-sdk-checksum-algorithm", f"{_CHECKSUM}algorithm"):
        if algorithm := headers.get(asked):
            found[check_algorithm(algorithm.upper())] = None
    for name, value in headers.items():
        suffix = name.removeprefix(_CHECKSUM)
        if suffix != name and suffix not in _NOT_CHECKSUMS:
            found[check_algorithm(suffix.upper())] = value
    if md5 := headers.get("content-md5"):
        found[CONTENT_MD5] = check_md5(md5)
    return found
