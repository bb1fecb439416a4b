"""S3's operations on single objects.

Where an object's bytes come in, `request["Body"]` is anything that `Objects.put` takes and `request["_checksums"]` what
it is to verify; where they go out, the answer's Body is a stream that the caller closes.
"""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from pilothouse.errors import S3Error
from pilothouse.objects.base import Attributes, ObjectInfo
from pilothouse.objects.refusals import precondition_failed
from pilothouse.operations import s3_buckets, s3_encryption, s3_tags, s3_terms
from pilothouse.operations import s3_conditions as conditions
from pilothouse.operations.context import Context

_HEADERS = {
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
    "Expires": "Expires",
}
LARGEST_PUT = 5 << 30
"""Bytes that one request may store."""

_MOST_METADATA = 2048
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110
_MOST_DELETED = 1000
_ATTEMPTS = 10


def put_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store an object."""
    what = attributes(request)
    info = s3_encryption.writer(context, request).put(
        request["Bucket"],
        request["Key"],
        request["Body"],
        content_type=what.content_type,
        metadata=what.metadata,
        headers=what.headers,
        tags=what.tags,
        checksums=request["_checksums"],
        **conditions.on_write(request),
    )
    encryption = s3_encryption.members(context, info.encryption)
    return {"ETag": f'"{info.etag}"', "Size": None, **checksum_members(info), **encryption}


def get_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """An object, or a range of it. A replacement between looking and opening is simply looked at again."""
    for _ in range(_ATTEMPTS):
        info, span, answer = _looked_at(context, request)
        if answer["_status"] == 304:
            return answer
        extent = span or conditions.Span(0, info.size)
        try:
            body = context.objects.open(request["Bucket"], request["Key"], *extent, etag=info.etag)
        except S3Error as error:
            if error.code != "PreconditionFailed":
                raise
            continue
        return {**answer, "Body": body}
    raise S3Error("OperationAborted", "The object is being replaced all the time. Please try again.", 409)


def head_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """What is known of an object."""
    return _looked_at(context, request)[2]


def delete_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove an object."""
    if_match = conditions.on_write(request)["if_match"]
    context.objects.delete(request["Bucket"], request["Key"], if_match=if_match)
    return {}


def delete_objects(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove up to 1000 objects; what could not be removed is told, not raised."""
    wanted = request["Delete"]["Objects"]
    if len(wanted) > _MOST_DELETED:
        raise S3Error("MalformedXML", f"Name at most {_MOST_DELETED} objects to delete.", 400)
    s3_buckets.require(context, request["Bucket"])
    outcomes = [(item["Key"], _deleted(context, request["Bucket"], item)) for item in wanted]
    quiet = request["Delete"].get("Quiet", False)
    return {
        "Deleted": [] if quiet else [{"Key": key} for key, error in outcomes if error is None],
        "Errors": [{"Key": k, "Code": e.code, "Message": e.message} for k, e in outcomes if e is not None],
    }


def copy_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a copy of an object, with its attributes or new ones."""
    info = copy_source(context, request)
    replacing = request.get("MetadataDirective", "COPY") == "REPLACE"
    changing = replacing or request.get("StorageClass") or request.get("ServerSideEncryption")
    if (info.bucket, info.key) == (request["Bucket"], request["Key"]) and not changing:
        raise S3Error("InvalidRequest", "An object can be copied to itself only to change its metadata.", 400)
    if info.size > LARGEST_PUT:
        raise S3Error(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST_PUT}",
            400,
        )
    what = attributes(request) if replacing else Attributes(info.content_type, info.metadata, info.headers)
    if request.get("TaggingDirective") == "REPLACE":
        tags = s3_tags.of_header(request.get("Tagging"))
    else:
        tags = context.objects.tags(info.bucket, info.key) if info.tagged else {}
    algorithms = [request["ChecksumAlgorithm"]] if "ChecksumAlgorithm" in request else list(info.checksums)
    target = s3_encryption.writer(context, request, info.encryption)
    with context.objects.open(info.bucket, info.key, etag=info.etag) as body:
        copy = target.put(
            request["Bucket"],
            request["Key"],
            body,
            content_type=what.content_type,
            metadata=what.metadata,
            headers=what.headers,
            tags=tags,
            checksums=dict.fromkeys(algorithms),
            **conditions.on_write(request),
        )
    return {
        "CopyObjectResult": {"ETag": f'"{copy.etag}"', "LastModified": copy.modified_at, **checksum_members(copy)},
        **s3_encryption.members(context, copy.encryption),
    }


def copy_source(context: Context, request: dict[str, Any]) -> ObjectInfo:
    """The object that x-amz-copy-source names, if the conditions on it hold."""
    address, _, version = request["CopySource"].partition("?versionId=")
    s3_terms.check_version(version)
    bucket, _, key = unquote(address).removeprefix("/").partition("/")
    if not (bucket and key):
        raise S3Error(
            "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.", 400
        )
    info = context.objects.head(bucket, key)
    if conditions.is_unmodified(info, request, "CopySourceIf"):
        raise precondition_failed("x-amz-copy-source-If-None-Match")
    return info


def attributes(request: dict[str, Any]) -> Attributes:
    """What a write says of the object beside its bytes."""
    metadata = request.get("Metadata", {})
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MOST_METADATA:
        raise S3Error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.", 400)
    for name in metadata:
        if not _TOKEN.fullmatch(name):
            raise S3Error("InvalidArgument", f"{name!r} cannot be part of the name of a header.", 400)
    given = {_HEADERS[name]: request[name] for name in _HEADERS if request.get(name) is not None}
    if "Expires" in given:
        given["Expires"] = formatdate(given["Expires"], usegmt=True)
    if encoding := given.pop("Content-Encoding", None):
        kept = [item.strip() for item in encoding.split(",") if item.strip() != "aws-chunked"]
        given.update({"Content-Encoding": ",".join(kept)} if kept else {})
    return Attributes(request.get("ContentType"), metadata, given, s3_tags.of_header(request.get("Tagging")))


def checksum_members(info: ObjectInfo) -> dict[str, str]:
    """The members that tell an object's checksums, and of which kind they are."""
    if not info.checksums:
        return {}
    whole = not any("-" in value for value in info.checksums.values())
    members = {f"Checksum{algorithm}": value for algorithm, value in info.checksums.items()}
    return {**members, "ChecksumType": "FULL_OBJECT" if whole else "COMPOSITE"}


def _looked_at(context: Context, request: dict[str, Any]) -> tuple[ObjectInfo, conditions.Span | None, dict[str, Any]]:
    """An object, the part of it that is asked for (None for the whole), and the answer but for the bytes."""
    info = context.objects.head(request["Bucket"], request["Key"])
    answer = {"ETag": f'"{info.etag}"', "LastModified": info.modified_at, "AcceptRanges": "bytes", "_status": 200}
    if conditions.is_unmodified(info, request):
        return info, None, {**answer, "_status": 304}
    if "PartNumber" in request:
        span, count = _part(context, info, request)
        answer["PartsCount"] = count
    elif conditions.is_named(info, request.get("_if_range")):
        span = conditions.span(request.get("Range"), info.size)
    else:
        span = None
    answer |= s3_encryption.members(context, info.encryption)
    return info, span, {**answer, **_described(info, request, span), **_extent(info, span)}


def _part(context: Context, info: ObjectInfo, request: dict[str, Any]) -> tuple[conditions.Span | None, int | None]:
    """Where the part of that number lies in an object, and how many there are; an object that came whole is part 1."""
    if request.get("Range"):
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter", 400)
    number = request["PartNumber"]
    parts = context.objects.made_of(info.bucket, info.key) if "-" in info.etag else []
    if not parts and number == 1:
        return conditions.Span(0, info.size) if info.size else None, None
    start = 0
    for part in parts:
        if part.number == number:
            return conditions.Span(start, part.size), len(parts)
        start += part.size
    raise S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable", 416)


def _extent(info: ObjectInfo, span: conditions.Span | None) -> dict[str, Any]:
    if span is None:
        return {"ContentLength": info.size}
    last = span.start + span.length - 1
    return {"ContentLength": span.length, "ContentRange": f"bytes {span.start}-{last}/{info.size}", "_status": 206}


def _described(info: ObjectInfo, request: dict[str, Any], span: conditions.Span | None) -> dict[str, Any]:
    known: dict[str, Any] = {name: info.headers.get(header) for name, header in _HEADERS.items()}
    if known["Expires"]:
        known["Expires"] = parsedate_to_datetime(known["Expires"]).timestamp()
    known["ContentType"] = info.content_type
    known |= {name: request[f"Response{name}"] for name in known if request.get(f"Response{name}") is not None}
    checksums = checksum_members(info) if request.get("ChecksumMode") == "ENABLED" and span is None else {}
    return {**known, "Metadata": dict(info.metadata), "TagCount": info.tagged or None, **checksums}


def _deleted(context: Context, bucket: str, item: dict[str, Any]) -> S3Error | None:
    try:
        s3_terms.check_version(item.get("VersionId"))
        if "LastModifiedTime" in item or "Size" in item:
            raise S3Error("NotImplemented", "A condition on time or size is not served. Use the ETag.", 501)
        etag = item.get("ETag")
        context.objects.delete(bucket, item["Key"], if_match=None if etag is None else etag.strip('"'))
    except S3Error as error:
        return error
    return None
