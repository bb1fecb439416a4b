"""The S3 door: buckets and objects, path style.

Operations run in threads of this door's own, so that slow uploads never hold up the other services. An object's bytes
pass through in pieces of at most a mebibyte: up to one, they are read before the operation starts and sent in one go;
beyond, the operation's thread pulls them from the connection, or the connection from the file.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, BinaryIO

from anyio import CapacityLimiter, from_thread, to_thread
from anyio.lowlevel import RunVar
from botocore.model import OperationModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pilothouse.api import patience
from pilothouse.api.gateway import refusal
from pilothouse.errors import OperationNotServed, S3Error
from pilothouse.objects.base import CHUNK
from pilothouse.objects.checksums import CONTENT_MD5, Digests, check_algorithm, check_md5
from pilothouse.operations import (
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
from pilothouse.wire import chunks, restxml
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
    "GetBucketEncryption": s3_encryption.get_bucket_encryption,
    "GetBucketLocation": s3_buckets.get_bucket_location,
    "GetObject": s3_objects.get_object,
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
    "PutBucketEncryption": s3_encryption.put_bucket_encryption,
    "PutObject": s3_objects.put_object,
    "PutObjectTagging": s3_tags.put_object_tagging,
    "UploadPart": s3_uploads.upload_part,
    "UploadPartCopy": s3_uploads.upload_part_copy,
    **s3_settings.OPERATIONS,
}
"""Every operation of this door, by its name in botocore's model."""

_LONG = ("CompleteMultipartUpload", "CopyObject", "UploadPartCopy")
"""Operations that move an object's bytes while their client waits."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_THREADS = 64
_LARGEST_XML = 8 << 20
_CHECKSUM = "x-amz-checksum-"
_NOT_CHECKSUMS = {"algorithm", "mode", "type"}
_limiter: RunVar[CapacityLimiter] = RunVar("pilothouse.api.bucket")


async def handle(request: Request, context: Context, identity: Identity) -> Response:
    """Answer a request whose signature holds. Errors are raised: `S3Error`, `OperationNotServed`, …."""
    incoming = restxml.incoming(
        request.method, request.scope["raw_path"], request.scope["query_string"], request.headers.items()
    )
    model = restxml.operation(incoming)
    operation = SERVED.get(model.name)
    if operation is None:
        raise OperationNotServed(f"{model.name} is an operation of S3 that Pilothouse does not serve.")
    body = chunks.body(request, identity)
    checksums = _checksums(incoming.headers)
    carries_object = model.name in ("PutObject", "UploadPart")
    members = restxml.parse(model, incoming, b"" if carries_object else await _document(model, body, checksums))
    s3_terms.check(context, members)
    if carries_object:
        members["Body"] = await _content(body, checksums)
    members["_checksums"] = checksums
    work = _worked(model, operation, context, members, request.method == "HEAD")
    if model.name in _LONG:
        return await patience.in_time(work, lambda error: refusal(error, request, "s3"))
    return await work


async def _worked(
    model: OperationModel, operation: Operation, context: Context, members: dict[str, Any], head: bool
) -> Response:
    return _response(model, context, *await _in_thread(_answer, operation, context, members, head))


def _answer(
    operation: Operation, context: Context, members: dict[str, Any], head: bool
) -> tuple[dict[str, Any], bytes | None]:
    """The operation's answer, and its bytes if they are few."""
    try:
        result = operation(context, members) or {}
    except OSError as error:
        if error.errno in _FULL:
            raise S3Error("InsufficientStorage", "The disk of the object store is full. Make room.", 507) from error
        raise
    stream: BinaryIO | None = result.get("Body")
    if stream is None or head or result["ContentLength"] > CHUNK:
        return result, None
    with stream:
        return result, stream.read()


def _response(model: OperationModel, context: Context, result: dict[str, Any], content: bytes | None) -> Response:
    outgoing = restxml.answer(model, {name: value for name, value in result.items() if name != "Body"})
    status = result.get("_status", outgoing.status)
    headers = {"x-amz-bucket-region": context.settings.region, **outgoing.headers}
    stream: BinaryIO | None = result.get("Body")
    if stream is None or content is not None:
        if outgoing.body:
            headers["content-type"] = "application/xml"
        return Response(content if content is not None else outgoing.body, status, headers)
    return StreamingResponse(_sent(stream), status, headers)


async def _sent(stream: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while piece := await _in_thread(stream.read, CHUNK):
            yield piece
    finally:
        stream.close()


async def _content(body: chunks.Body, checksums: dict[str, str | None]) -> bytes | Iterator[bytes]:
    """An object's bytes, which fill in `checksums` from the trailers at their end."""
    if body.length is not None and body.length > s3_objects.LARGEST_PUT:
        raise _too_large()
    arriving = _arriving(body, checksums)
    if body.length is not None and body.length <= CHUNK:
        return b"".join([piece async for piece in arriving])
    return _pulled(arriving)


async def _arriving(body: chunks.Body, checksums: dict[str, str | None]) -> AsyncIterator[bytes]:
    """`body` in pieces of about a mebibyte."""
    pieces: list[bytes] = []
    held = total = 0
    async for piece in body:
        pieces.append(piece)
        held += len(piece)
        total += len(piece)
        if total > s3_objects.LARGEST_PUT:
            raise _too_large()
        if held >= CHUNK:
            yield b"".join(pieces)
            pieces, held = [], 0
    checksums.update(_checksums(body.trailers))
    yield b"".join(pieces)


def _pulled(arriving: AsyncIterator[bytes]) -> Iterator[bytes]:
    """`arriving`, for a thread of this door to iterate."""
    while (piece := from_thread.run(_next, arriving)) is not None:
        yield piece


async def _next(arriving: AsyncIterator[bytes]) -> bytes | None:
    return await anext(arriving, None)


async def _document(model: OperationModel, body: chunks.Body, checksums: dict[str, str | None]) -> bytes:
    """The whole body of a request that carries XML or nothing, verified if the checksums in the request are its own."""
    pieces: list[bytes] = []
    total = 0
    async for piece in body:
        pieces.append(piece)
        total += len(piece)
        if total > _LARGEST_XML:
            raise S3Error("MaxMessageLengthExceeded", "Your request was too big.", 400)
    document = b"".join(pieces)
    if model.http_checksum.get("requestChecksumRequired"):
        expected = {**checksums, **_checksums(body.trailers)}
        digests = Digests(expected)
        digests.update(document)
        digests.verify(expected)
    return document


def _checksums(headers: Mapping[str, str]) -> dict[str, str | None]:
    """The checksums that headers or trailers carry or announce, as `Objects.put` takes them."""
    found: dict[str, str | None] = {}
    for announced in (headers.get("x-amz-trailer") or "").lower().split(","):
        if announced.strip().startswith(_CHECKSUM):
            found[check_algorithm(announced.strip().removeprefix(_CHECKSUM).upper())] = None
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


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, *arguments, limiter=limiter)


def _too_large() -> S3Error:
    return S3Error(
        "EntityTooLarge",
        f"Your proposed upload exceeds the maximum allowed size of {s3_objects.LARGEST_PUT} bytes.",
        400,
    )
