"""What is known of an S3 object, the parts that it was made of among it."""

from __future__ import annotations

from typing import Any

from pilothouse.errors import S3Error
from pilothouse.objects.base import Part
from pilothouse.operations import s3_tokens
from pilothouse.operations.context import Context
from pilothouse.operations.s3_objects import checksum_members

_LONGEST_PAGE = 1000
_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


def get_object_attributes(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """What is asked for of an object's ETag, checksums, parts, storage class and size."""
    wanted = request.get("ObjectAttributes")
    if wanted is None:
        raise S3Error("InvalidArgument", f"No attribute name specified. Ask for {', '.join(_ATTRIBUTES)}.", 400)
    info = context.objects.head(request["Bucket"], request["Key"])
    known = {
        "ETag": info.etag,
        "Checksum": checksum_members(info) or None,
        "StorageClass": "STANDARD",
        "ObjectSize": info.size,
    }
    if "ObjectParts" in wanted and "-" in info.etag:
        known["ObjectParts"] = _parts(request, context.objects.made_of(info.bucket, info.key)) or None
    return {"LastModified": info.modified_at, **{name: known.get(name) for name in wanted}}


def _parts(request: dict[str, Any], parts: list[Part]) -> dict[str, Any]:
    if not parts:
        return {}
    after = request.get("PartNumberMarker", 0)
    limit = s3_tokens.limit(request.get("MaxParts"), "max-parts", _LONGEST_PAGE)
    left = [part for part in parts if part.number > after]
    page = left[:limit]
    return {
        "TotalPartsCount": len(parts),
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": limit,
        "IsTruncated": len(left) > limit,
        "Parts": [
            {"PartNumber": part.number, "Size": part.size}
            | {f"Checksum{name}": value for name, value in part.checksums.items()}
            for part in page
        ],
    }
