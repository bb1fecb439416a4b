"""S3's operations on single objects.

Where an object's bytes come in, `request["Body"]` is anything that `Objects.put` takes and `request["_checksums"]` what
it is to verify; where they go out, the answer's Body is a stream that the caller closes.
"""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from pilothouse.errors import S3Error
from pilothouse.objects.base import Attributes, ObjectInfo
from pilothouse.objects.refusals import precondition_failed
from pilothouse.operations import s3_buckets
from pilothouse.operations import s3_conditions as conditions
from pilothouse.operations.context import Context

_HEADERS = {
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
    "Expires": "Expires",
}
_MOST_METADATA = 2048
_MOST_DELETED = 1000
_ATTEMPTS = 10


def put_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store an object."""
    what = attributes(request)
    info = context.objects.put(
        request["Bucket"],
        request["Key"],
        request["Body"],
        content_type=what.content_type,
        metadata=what.metadata,
        headers=what.headers,
        checksums=request["_checksums"],
        replace=conditions.may_replace(request),
    )
    return {"ETag": f'"{info.etag}"', "Size": None, **checksum_members(info)}


def get_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """An object, or a range of it. A replacement between looking and opening is simply looked at again."""
    for _ in range(_ATTEMPTS):
        info, answer = _looked_at(context, request)
        if answer["_status"] == 304:
            return answer
        start = conditions.span(request.get("Range"), info.size) or conditions.Span(0, info.size)
        try:
            body = context.objects.open(request["Bucket"], request["Key"], *start, etag=info.etag)
        except S3Error as error:
            if error.code != "PreconditionFailed":
                raise
            continue
        return {**answer, "Body": body}
    raise S3Error("OperationAborted", "The object is being replaced all the time. Please try again.", 409)


def head_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """What is known of an object."""
    return _looked_at(context, request)[1]


def get_object_tagging(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Objects carry no tags; `aws s3 cp` asks before it copies."""
    context.objects.head(request["Bucket"], request["Key"])
    return {"TagSet": []}


def delete_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove an object."""
    context.objects.delete(request["Bucket"], request["Key"])
    return {}


def delete_objects(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove up to 1000 objects; what could not be removed is told, not raised."""
    wanted = request.get("Delete", {}).get("Objects", [])
    if not 1 <= len(wanted) <= _MOST_DELETED or any("Key" not in item for item in wanted):
        raise S3Error("MalformedXML", f"Name between 1 and {_MOST_DELETED} objects to delete.", 400)
    s3_buckets.require(context, request["Bucket"])
    outcomes = [(item["Key"], _deleted(context, request["Bucket"], item["Key"])) for item in wanted]
    quiet = request["Delete"].get("Quiet", False)
    return {
        "Deleted": [] if quiet else [{"Key": key} for key, error in outcomes if error is None],
        "Errors": [{"Key": k, "Code": e.code, "Message": e.message} for k, e in outcomes if e is not None],
    }


def copy_object(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a copy of an object, with its attributes or new ones."""
    info = copy_source(context, request)
    replacing = request.get("MetadataDirective", "COPY") == "REPLACE"
    if (info.bucket, info.key) == (request["Bucket"], request["Key"]) and not replacing:
        raise S3Error("InvalidRequest", "An object can be copied to itself only to change its metadata.", 400)
    what = attributes(request) if replacing else Attributes(info.content_type, info.metadata, info.headers)
    algorithms = [request["ChecksumAlgorithm"]] if "ChecksumAlgorithm" in request else list(info.checksums)
    with context.objects.open(info.bucket, info.key, etag=info.etag) as body:
        copy = context.objects.put(
            request["Bucket"],
            request["Key"],
            body,
            content_type=what.content_type,
            metadata=what.metadata,
            headers=what.headers,
            checksums=dict.fromkeys(algorithms),
            replace=conditions.may_replace(request),
        )
    return {
        "CopyObjectResult": {"ETag": f'"{copy.etag}"', "LastModified": copy.modified_at, **checksum_members(copy)},
    }


def copy_source(context: Context, request: dict[str, Any]) -> ObjectInfo:
    """The object that x-amz-copy-source names, if the conditions on it hold."""
    text = unquote(request["CopySource"].partition("?versionId=")[0]).removeprefix("/")
    bucket, _, key = text.partition("/")
    if not (bucket and key):
        raise S3Error(
            "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.", 400
        )
    info = context.objects.head(bucket, key)
    if conditions.is_unmodified(info, request, "CopySourceIf"):
        raise precondition_failed()
    return info


def attributes(request: dict[str, Any]) -> Attributes:
    """What a write says of the object beside its bytes."""
    metadata = request.get("Metadata", {})
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MOST_METADATA:
        raise S3Error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.", 400)
    given = {_HEADERS[name]: request[name] for name in _HEADERS if request.get(name) is not None}
    if "Expires" in given:
        given["Expires"] = formatdate(given["Expires"], usegmt=True)
    if encoding := given.pop("Content-Encoding", None):
        kept = [item.strip() for item in encoding.split(",") if item.strip() != "aws-chunked"]
        given.update({"Content-Encoding": ",".join(kept)} if kept else {})
    return Attributes(request.get("ContentType"), metadata, given)


def checksum_members(info: ObjectInfo) -> dict[str, str]:
    """The members that tell an object's checksums, and of which kind they are."""
    if not info.checksums:
        return {}
    whole = not any("-" in value for value in info.checksums.values())
    members = {f"Checksum{algorithm}": value for algorithm, value in info.checksums.items()}
    return {**members, "ChecksumType": "FULL_OBJECT" if whole else "COMPOSITE"}


def _looked_at(context: Context, request: dict[str, Any]) -> tuple[ObjectInfo, dict[str, Any]]:
    info = context.objects.head(request["Bucket"], request["Key"])
    answer = {"ETag": f'"{info.etag}"', "LastModified": info.modified_at, "AcceptRanges": "bytes", "_status": 200}
    if conditions.is_unmodified(info, request):
        return info, {**answer, "_status": 304}
    if request.get("PartNumber", 1) != 1 or (request.get("PartNumber") and "-" in info.etag):
        raise S3Error("InvalidPartNumber", "Single parts of an object cannot be read. Ask for a Range.", 416)
    span = conditions.span(request.get("Range"), info.size)
    return info, {**answer, **_described(info, request), **_extent(info, span)}


def _extent(info: ObjectInfo, span: conditions.Span | None) -> dict[str, Any]:
    if span is None:
        return {"ContentLength": info.size}
    last = span.start + span.length - 1
    return {"ContentLength": span.length, "ContentRange": f"bytes {span.start}-{last}/{info.size}", "_status": 206}


def _described(info: ObjectInfo, request: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {name: info.headers.get(header) for name, header in _HEADERS.items()}
    if known["Expires"]:
        known["Expires"] = parsedate_to_datetime(known["Expires"]).timestamp()
    known["ContentType"] = info.content_type
    known |= {name: request[f"Response{name}"] for name in known if request.get(f"Response{name}") is not None}
    checksums = checksum_members(info) if request.get("ChecksumMode") == "ENABLED" and not request.get("Range") else {}
    return {**known, "Metadata": dict(info.metadata), **checksums}


def _deleted(context: Context, bucket: str, key: str) -> S3Error | None:
    try:
        context.objects.delete(bucket, key)
    except S3Error as error:
        return error
    return None
