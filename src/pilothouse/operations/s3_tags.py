"""The tags of S3 objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from pilothouse.errors import S3Error
from pilothouse.operations.context import Context

_MOST, _LONGEST_KEY, _LONGEST_VALUE = 10, 128, 256


def get_object_tagging(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """An object's tags."""
    tags = context.objects.tags(request["Bucket"], request["Key"])
    return {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}


def put_object_tagging(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Set an object's tags, all of them."""
    tags = _checked((row["Key"], row["Value"]) for row in request["Tagging"]["TagSet"])
    context.objects.set_tags(request["Bucket"], request["Key"], tags)
    return {}


def delete_object_tagging(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Take an object's tags away."""
    context.objects.set_tags(request["Bucket"], request["Key"], {})
    return {}


def of_header(text: str | None) -> dict[str, str]:
    """The tags in an x-amz-tagging header, which is written like the query of a URL."""
    return _checked(parse_qsl(text, keep_blank_values=True)) if text else {}


def _checked(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    rows = list(pairs)
    tags = dict(rows)
    if len(rows) > _MOST:
        raise S3Error("BadRequest", f"Object tags cannot be greater than {_MOST}", 400)
    if len(tags) < len(rows):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", 400)
    if not all(0 < len(name) <= _LONGEST_KEY for name in tags):
        raise S3Error("InvalidTag", "The TagKey you have provided is invalid", 400)
    if not all(len(value) <= _LONGEST_VALUE for value in tags.values()):
        raise S3Error("InvalidTag", "The TagValue you have provided is invalid", 400)
    return tags
