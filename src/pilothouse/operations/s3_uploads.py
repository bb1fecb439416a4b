"""S3's multipart uploads."""

from __future__ import annotations

import re
from typing import Any

from pilothouse.errors import S3Error
from pilothouse.objects.base import ChecksumType, Part, Upload
from pilothouse.objects.checksums import is_linear
from pilothouse.operations import s3_conditions as conditions
from pilothouse.operations import s3_encryption, s3_tokens
from pilothouse.operations.context import Context
from pilothouse.operations.s3_buckets import owner
from pilothouse.operations.s3_listing import coded
from pilothouse.operations.s3_objects import attributes, checksum_members, copy_source

_LONGEST_PAGE = 1000
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)


def create_multipart_upload(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Begin an upload."""
    objects = s3_encryption.writer(context, request)
    upload_id = objects.create_upload(
        request["Bucket"],
        request["Key"],
        attributes(request),
        checksum_algorithm=request.get("ChecksumAlgorithm"),
        checksum_type=_type(request.get("ChecksumAlgorithm"), request.get("ChecksumType")),
    )
    upload = context.objects.upload_of(request["Bucket"], request["Key"], upload_id)
    told = s3_encryption.members(context, upload.encryption or s3_encryption.wanted(request))
    return {**_named(request), "UploadId": upload_id, **_checksum_kind(upload), **told}


def upload_part(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a part."""
    part = context.objects.put_part(*_part(request), request["Body"], checksums=request["_checksums"])
    return {"ETag": f'"{part.etag}"', **_sums(part), **s3_encryption.members(context, part.encryption)}


def upload_part_copy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Store a part that is a range of an object."""
    info = copy_source(context, request)
    start, length = _copied(request.get("CopySourceRange"), info.size)
    with context.objects.open(info.bucket, info.key, start, length, etag=info.etag) as body:
        part = context.objects.put_part(*_part(request), body)
    copied = {"ETag": f'"{part.etag}"', "LastModified": part.modified_at, **_sums(part)}
    return {"CopyPartResult": copied, **s3_encryption.members(context, part.encryption)}


def complete_multipart_upload(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make the object."""
    named = request.get("MultipartUpload", {}).get("Parts", [])
    if any("PartNumber" not in part or "ETag" not in part for part in named):
        raise S3Error("MalformedXML", "Every part needs its PartNumber and ETag.", 400)
    _check_parts(context, request, named)
    info = context.objects.complete(
        *_upload(request),
        [(part["PartNumber"], part["ETag"].strip('"')) for part in named],
        checksums=request["_checksums"],
        **conditions.on_write(request),
    )
    location = f"/{request['Bucket']}/{request['Key']}"
    told = {**checksum_members(info), **s3_encryption.members(context, info.encryption)}
    return {**_named(request), "Location": location, "ETag": f'"{info.etag}"', **told}


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
    """The uploads in progress, by key; those that share what comes before a delimiter as one entry."""
    limit = s3_tokens.limit(request.get("MaxUploads"), "max-uploads", _LONGEST_PAGE)
    uploads = _after_marker(context.objects.uploads(request["Bucket"], request.get("Prefix", "")), request)
    found = _rolled(uploads, request)
    page, truncated = found[:limit], len(found) > limit
    last = page[-1] if truncated and page else None
    return {
        "Bucket": request["Bucket"],
        "Prefix": coded(request, request.get("Prefix", "")),
        "KeyMarker": coded(request, request.get("KeyMarker", "")),
        "UploadIdMarker": request.get("UploadIdMarker", ""),
        "Delimiter": coded(request, request.get("Delimiter")),
        "NextKeyMarker": coded(request, last.key if isinstance(last, Upload) else last),
        "NextUploadIdMarker": last.upload_id if isinstance(last, Upload) else None,
        "MaxUploads": limit,
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": truncated,
        "Uploads": [_upload_row(context, request, item) for item in page if isinstance(item, Upload)],
        "CommonPrefixes": [{"Prefix": coded(request, item)} for item in page if isinstance(item, str)],
    }


def _type(algorithm: str | None, asked: str | None) -> ChecksumType:
    """What the checksum of an object made of parts is to be made from."""
    if algorithm is None:
        if asked is not None:
            raise S3Error("InvalidRequest", "A checksum type needs a checksum algorithm beside it.", 400)
        return "COMPOSITE"
    whole = asked == "FULL_OBJECT" or algorithm == "CRC64NVME"
    if whole and asked == "COMPOSITE":
        raise S3Error("InvalidRequest", f"{asked} checksums cannot be of the kind {algorithm}.", 400)
    if whole and not is_linear(algorithm):
        raise S3Error(
            "InvalidRequest",
            f"The FULL_OBJECT checksum type cannot be used with the {algorithm.lower()} checksum algorithm.",
            400,
        )
    return "FULL_OBJECT" if whole else "COMPOSITE"


def _check_parts(context: Context, request: dict[str, Any], named: list[dict[str, Any]]) -> None:
    """Hold the parts' checksums and the size, if the request tells any, against what is stored."""
    told = {part["PartNumber"]: _told(part) for part in named}
    size = request.get("MpuObjectSize")
    if size is None and not any(told.values()):
        return
    try:
        stored = {part.number: part for part in context.objects.parts(*_upload(request)) if part.number in told}
    except S3Error as error:
        if error.code != "NoSuchUpload":  # it may have been completed before
            raise
        return
    for number, part in stored.items():
        if any(part.checksums.get(name, value) != value for name, value in told[number].items()):
            raise S3Error("InvalidPart", f"The checksum of part {number} is not that of the part uploaded.", 400)
    if size is not None and len(stored) == len(told) and sum(part.size for part in stored.values()) != size:
        raise S3Error("InvalidRequest", "The provided 'x-amz-mp-object-size' header is not the object's size.", 400)


def _told(part: dict[str, Any]) -> dict[str, str]:
    return {name.removeprefix("Checksum"): text for name, text in part.items() if name.startswith("Checksum")}


def _rolled(uploads: list[Upload], request: dict[str, Any]) -> list[Upload | str]:
    """The entries of a listing: uploads, and prefixes that stand for several."""
    delimiter, start = request.get("Delimiter", ""), len(request.get("Prefix", ""))
    entries: list[Upload | str] = []
    for upload in uploads:
        at = upload.key.find(delimiter, start) if delimiter else -1
        prefix = upload.key[: at + len(delimiter)]
        if at < 0:
            entries.append(upload)
        elif prefix.encode() > request.get("KeyMarker", "").encode() and entries[-1:] != [prefix]:
            entries.append(prefix)
    return entries


def _after_marker(uploads: list[Upload], request: dict[str, Any]) -> list[Upload]:
    """What follows the marker; if its upload has ended, and nothing tells its place any more, all others of its key."""
    key, upload_id = request.get("KeyMarker", "").encode(), request.get("UploadIdMarker", "")
    at = next((i for i, upload in enumerate(uploads) if upload_id and upload.upload_id == upload_id), None)
    if at is not None:
        return uploads[at + 1 :]
    return [upload for upload in uploads if upload.key.encode() > key or (upload_id and upload.key.encode() == key)]


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
            "InvalidRange", f'The range "{text[:64]}" does not lie within the source, which has {size} bytes.', 416
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
