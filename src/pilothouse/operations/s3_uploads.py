"""S3's multipart uploads."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.errors import S3Error
from pilothouse.objects.base import ChecksumType, Part, Upload
from pilothouse.operations import s3_conditions as conditions
from pilothouse.operations import s3_tokens
from pilothouse.operations.context import Context
from pilothouse.operations.s3_buckets import owner
from pilothouse.operations.s3_listing import coded
from pilothouse.operations.s3_objects import attributes, checksum_members, copy_source

_LONGEST_PAGE = 1000
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def create_multipart_upload(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Begin an upload."""
    kind: ChecksumType = "FULL_OBJECT" if request.get("ChecksumType") == "FULL_OBJECT" else "COMPOSITE"
    upload_id = context.objects.create_upload(
        request["Bucket"],
        request["Key"],
        attributes(request),
        checksum_algorithm=request.get("ChecksumAlgorithm"),
        checksum_type=kind,
    )
    upload = context.objects.upload_of(request["Bucket"], request["Key"], upload_id)
    return {**_named(request), "UploadId": upload_id, **_checksum_kind(upload)}


def upload_part(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a part."""
    part = context.objects.put_part(*_part(request), request["Body"], checksums=request["_checksums"])
    return {"ETag": f'"{part.etag}"', **_sums(part)}


def upload_part_copy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a part that is a range of an object."""
    info = copy_source(context, request)
    start, length = _copied(request.get("CopySourceRange"), info.size)
    with context.objects.open(info.bucket, info.key, start, length, etag=info.etag) as body:
        part = context.objects.put_part(*_part(request), body)
    return {"CopyPartResult": {"ETag": f'"{part.etag}"', "LastModified": part.modified_at, **_sums(part)}}


def complete_multipart_upload(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make the object."""
    named = request.get("MultipartUpload", {}).get("Parts", [])
    if any("PartNumber" not in part or "ETag" not in part for part in named):
        raise S3Error("MalformedXML", "Every part needs its PartNumber and ETag.", 400)
    info = context.objects.complete(
        *_upload(request),
        [(part["PartNumber"], part["ETag"].strip('"')) for part in named],
        checksums=request["_checksums"],
        replace=conditions.may_replace(request),
    )
    location = f"/{request['Bucket']}/{request['Key']}"
    return {**_named(request), "Location": location, "ETag": f'"{info.etag}"', **checksum_members(info)}


def abort_multipart_upload(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Drop an upload."""
    context.objects.abort(*_upload(request))
    return {}


def list_parts(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The parts stored so far."""
    upload = context.objects.upload_of(*_upload(request))
    after = request.get("PartNumberMarker", 0)
    limit = s3_tokens.limit(request.get("MaxParts"), "max-parts", _LONGEST_PAGE)
    parts = [part for part in context.objects.parts(*_upload(request)) if part.number > after]
    page = parts[:limit]
    return {
        **_named(request),
        **_checksum_kind(upload),
        "UploadId": upload.upload_id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": limit,
        "IsTruncated": len(parts) > limit,
        "Initiator": owner(context),
        "Owner": owner(context),
        "StorageClass": "STANDARD",
        "Parts": [_row(part) for part in page],
    }


def list_multipart_uploads(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The uploads in progress, by key."""
    if request.get("Delimiter"):
        raise S3Error("NotImplemented", "Uploads in progress are listed without a delimiter.", 501)
    limit = s3_tokens.limit(request.get("MaxUploads"), "max-uploads", _LONGEST_PAGE)
    found = _after_marker(context.objects.uploads(request["Bucket"], request.get("Prefix", "")), request)
    page, truncated = found[:limit], len(found) > limit
    return {
        "Bucket": request["Bucket"],
        "Prefix": coded(request, request.get("Prefix", "")),
        "KeyMarker": coded(request, request.get("KeyMarker", "")),
        "UploadIdMarker": request.get("UploadIdMarker", ""),
        "NextKeyMarker": coded(request, page[-1].key) if truncated and page else None,
        "NextUploadIdMarker": page[-1].upload_id if truncated and page else None,
        "MaxUploads": limit,
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": truncated,
        "Uploads": [_upload_row(context, request, upload) for upload in page],
    }


def _after_marker(uploads: list[Upload], request: dict[str, Any]) -> list[Upload]:
    key, upload_id = request.get("KeyMarker", ""), request.get("UploadIdMarker", "")
    at = next((i for i, upload in enumerate(uploads) if upload_id and upload.upload_id == upload_id), None)
    if at is not None:
        return uploads[at + 1 :]
    return [upload for upload in uploads if upload.key.encode() > key.encode()]


def _upload_row(context: Context, request: dict[str, Any], upload: Upload) -> dict[str, Any]:
    return {
        "Key": coded(request, upload.key),
        "UploadId": upload.upload_id,
        "Initiated": upload.started_at,
        "StorageClass": "STANDARD",
        "Owner": owner(context),
        "Initiator": owner(context),
        **_checksum_kind(upload),
    }


def _row(part: Part) -> dict[str, Any]:
    known = {"PartNumber": part.number, "LastModified": part.modified_at, "ETag": f'"{part.etag}"', "Size": part.size}
    return {**known, **_sums(part)}


def _copied(text: str | None, size: int) -> tuple[int, int]:
    if text is None:
        return 0, size
    match = _RANGE.fullmatch(text)
    if match is None or not int(match[1]) <= int(match[2]) < size:
        raise S3Error(
            "InvalidRange", f'The range "{text}" does not lie within the source, which has {size} bytes.', 416
        )
    return int(match[1]), int(match[2]) - int(match[1]) + 1


def _named(request: dict[str, Any]) -> dict[str, str]:
    return {"Bucket": request["Bucket"], "Key": request["Key"]}


def _upload(request: dict[str, Any]) -> tuple[str, str, str]:
    return request["Bucket"], request["Key"], request["UploadId"]


def _part(request: dict[str, Any]) -> tuple[str, str, str, int]:
    return *_upload(request), request["PartNumber"]


def _sums(part: Part) -> dict[str, str]:
    return {f"Checksum{algorithm}": value for algorithm, value in part.checksums.items()}


def _checksum_kind(upload: Upload) -> dict[str, str]:
    if upload.checksum_algorithm is None:
        return {}
    return {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}
