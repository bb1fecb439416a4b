"""The conditions that a request for an object may set, and the range it may ask for."""

from __future__ import annotations

import re
from email.utils import formatdate
from math import floor
from typing import Any, NamedTuple, TypedDict

from pilothouse.errors import S3Error
from pilothouse.objects.base import ObjectInfo
from pilothouse.objects.refusals import precondition_failed

_HEADERS = {"If": "If-", "CopySourceIf": "x-amz-copy-source-If-"}
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)


class Span(NamedTuple):
    """Bytes of an object: where they begin and how many they are."""

    start: int
    length: int


def is_unmodified(info: ObjectInfo, request: dict[str, Any], prefix: str = "If") -> bool:
    """Whether the reader has the object already. PreconditionFailed if another of its conditions does not hold.

    The members are named `prefix` + Match, NoneMatch, ModifiedSince, UnmodifiedSince. As in RFC 9110, a condition on
    the ETag outweighs the one on the date that goes with it; dates count whole seconds.
    """
    match, none_match = request.get(f"{prefix}Match"), request.get(f"{prefix}NoneMatch")
    since, until = request.get(f"{prefix}ModifiedSince"), request.get(f"{prefix}UnmodifiedSince")
    if match is not None:
        if not _names(match, info.etag):
            raise precondition_failed(f"{_HEADERS[prefix]}Match")
    elif until is not None and floor(info.modified_at) > until:
        raise precondition_failed(f"{_HEADERS[prefix]}Unmodified-Since")
    if none_match is not None:
        return _names(none_match, info.etag)
    return since is not None and floor(info.modified_at) <= since


def is_named(info: ObjectInfo, if_range: str | None) -> bool:
    """Whether an If-Range header is of this very version, by its ETag or its date, as in RFC 9110; so is none."""
    return if_range is None or if_range in (f'"{info.etag}"', formatdate(floor(info.modified_at), usegmt=True))


class OnWrite(TypedDict):
    """The conditions on a write, as `Objects.put` takes them."""

    replace: bool
    if_match: str | None


def on_write(request: dict[str, Any]) -> OnWrite:
    """The conditions on a write: If-None-Match: *, or If-Match with one ETag."""
    match, none_match = request.get("IfMatch"), request.get("IfNoneMatch")
    if none_match not in (None, "*") or (match is not None and none_match is not None):
        raise S3Error("NotImplemented", "A write can be made conditional by If-None-Match: * or by If-Match.", 501)
    return {"replace": none_match is None, "if_match": None if match is None else match.strip('"')}


def span(text: str | None, size: int) -> Span | None:
    """What a Range header asks for of `size` bytes; None for the whole, also when the header makes no sense."""
    match = _RANGE.fullmatch(text or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return Span(size - length, length) if length else _unsatisfiable()
    start = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    return Span(start, last - start + 1) if start < size else _unsatisfiable()


def _unsatisfiable() -> Span:
    raise S3Error("InvalidRange", "The requested range is not satisfiable.", 416)


def _names(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags
