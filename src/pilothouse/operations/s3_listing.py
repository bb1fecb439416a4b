"""S3's listings of objects, in the old form and the new."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pilothouse.objects.base import Listing, ObjectInfo
from pilothouse.operations import s3_tokens
from pilothouse.operations.context import Context
from pilothouse.operations.s3_buckets import owner
from pilothouse.operations.s3_objects import checksum_members

_LONGEST_PAGE = 1000


def list_objects_v2(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A page of objects, by continuation token or start-after."""
    token = request.get("ContinuationToken")
    after = s3_tokens.read(token) if token else request.get("StartAfter", "")
    page = _page(context, request, after)
    return {
        **_common(context, request, page, with_owner=request.get("FetchOwner", False)),
        "KeyCount": len(page.objects) + len(page.prefixes),
        "StartAfter": coded(request, request.get("StartAfter")),
        "ContinuationToken": token,
        "NextContinuationToken": s3_tokens.write(page.next) if page.next is not None else None,
    }


def list_objects(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A page of objects, by marker."""
    page = _page(context, request, request.get("Marker", ""))
    return {
        **_common(context, request, page, with_owner=True),
        "Marker": coded(request, request.get("Marker", "")),
        "NextMarker": coded(request, page.next) if request.get("Delimiter") else None,
    }


def list_object_versions(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A page of objects as a bucket that never had versioning lists their versions: one each, called null."""
    page = _page(context, request, request.get("KeyMarker", ""))
    common = _common(context, request, page, with_owner=True)
    return {
        **{name: value for name, value in common.items() if name != "Contents"},
        "Versions": [{**row, "VersionId": "null", "IsLatest": True} for row in common["Contents"]],
        "KeyMarker": coded(request, request.get("KeyMarker", "")),
        "VersionIdMarker": request.get("VersionIdMarker", ""),
        "NextKeyMarker": coded(request, page.next),
        "NextVersionIdMarker": "null" if page.next is not None else None,
    }


def coded(request: dict[str, Any], text: str | None) -> str | None:
    """`text` percent-encoded if the request asks for that, which keeps control characters out of the XML."""
    return quote(text, safe="/") if text and "EncodingType" in request else text


def _page(context: Context, request: dict[str, Any], after: str) -> Listing:
    return context.objects.list(
        request["Bucket"],
        request.get("Prefix", ""),
        after=after,
        delimiter=request.get("Delimiter", ""),
        limit=_limit(request),
    )


def _limit(request: dict[str, Any]) -> int:
    return s3_tokens.limit(request.get("MaxKeys"), "max-keys", _LONGEST_PAGE)


def _common(context: Context, request: dict[str, Any], page: Listing, *, with_owner: bool) -> dict[str, Any]:
    return {
        "Name": request["Bucket"],
        "Prefix": coded(request, request.get("Prefix", "")),
        "Delimiter": coded(request, request.get("Delimiter")),
        "MaxKeys": _limit(request),
        "EncodingType": request.get("EncodingType"),
        "IsTruncated": page.next is not None,
        "Contents": [_row(context, request, info, with_owner) for info in page.objects],
        "CommonPrefixes": [{"Prefix": coded(request, prefix)} for prefix in page.prefixes],
    }


def _row(context: Context, request: dict[str, Any], info: ObjectInfo, with_owner: bool) -> dict[str, Any]:
    return {
        "Key": coded(request, info.key),
        "LastModified": info.modified_at,
        "ETag": f'"{info.etag}"',
        "Size": info.size,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": list(info.checksums),
        "ChecksumType": checksum_members(info).get("ChecksumType"),
        "Owner": owner(context) if with_owner else None,
    }
