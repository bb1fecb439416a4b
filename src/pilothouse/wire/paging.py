"""Pages: the one way in which every List operation filters, sorts and goes on.

A token is opaque to clients: the place where the page before ended, and a fingerprint of what was asked, so that it is
refused by a request that asks for something else. The page size may change between pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pilothouse.errors import ValidationError
from pilothouse.store.resource import Cursor, Parent, Resource, Sort

if TYPE_CHECKING:
    from pilothouse.store.store import Store

T = TypeVar("T")

_FILTERS = {
    "NameContains": "name_contains",
    "StatusEquals": "status",
    "CreationTimeAfter": "created_after",
    "CreationTimeBefore": "created_before",
    "LastModifiedTimeAfter": "modified_after",
    "LastModifiedTimeBefore": "modified_before",
}
_PLACE = ("NextToken", "MaxResults")
_TIMES = ("created", "modified")
_LAST_INSTANT = 253402300800  # the year 10000


def page(
    store: Store,
    kind: str,
    request: Mapping[str, Any],
    *,
    sorts: Mapping[str, str],
    default_sort: str,
    default_order: str = "Descending",
    default_limit: int = 10,
    parent: Parent | None = None,
) -> tuple[list[Resource], str | None]:
    """One page of the resources of `kind` that `request` asks for, and the token of the next page if there is one.

    `sorts` maps the values of SortBy to the store's columns. Pages stay put while resources come and go: what exists
    throughout is seen once, by every reader.
    """
    limit = request.get("MaxResults", default_limit)
    sort = cast(Sort, sorts[request.get("SortBy", default_sort)])
    asked = _fingerprint(kind, parent, {**request, "SortBy": sort})
    rows = store.find(
        kind,
        parent=parent,
        **{argument: request[member] for member, argument in _FILTERS.items() if member in request},
        sort=sort,
        descending=request.get("SortOrder", default_order) == "Descending",
        after=_cursor(request, asked, sort),
        limit=limit + 1,
    )
    token = _token(asked, list(rows[limit - 1].cursor(sort))) if len(rows) > limit else None
    return rows[:limit], token


def slice(items: Sequence[T], request: Mapping[str, Any], *, default_limit: int = 10) -> tuple[list[T], str | None]:
    """One page of `items`, already filtered and sorted, and the token of the next page if there is one.

    Goes by position: items that come or go between two pages shift the rest.
    """
    limit = request.get("MaxResults", default_limit)
    asked = _fingerprint("", None, request)
    start = _offset(request, asked)
    end = start + limit
    return list(items[start:end]), _token(asked, [end]) if end < len(items) else None


def _fingerprint(kind: str, parent: Parent | None, request: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in request.items() if name not in _PLACE}
    text = json.dumps([kind, parent, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _token(asked: str, place: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([asked, *place], separators=(",", ":")).encode()).decode()


def _cursor(request: Mapping[str, Any], asked: str, sort: Sort) -> Cursor | None:
    place = _place(request, asked)
    if place is None:
        return None
    match place:
        case [int() | float() as value, int() as seq] if (
            sort in _TIMES and 0 <= value < _LAST_INSTANT and 0 <= seq < 2**63
        ):
            return Cursor(float(value), seq)
        case [str() as value, int() as seq] if sort not in _TIMES and value.isascii() and 0 <= seq < 2**63:
            return Cursor(value, seq)
    raise _invalid()


def _offset(request: Mapping[str, Any], asked: str) -> int:
    match _place(request, asked):
        case None:
            return 0
        case [int() as offset] if offset >= 0:
            return offset
    raise _invalid()


def _place(request: Mapping[str, Any], asked: str) -> list[Any] | None:
    """What a request's token says of the place, without the fingerprint; None without a token."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        content = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(content, list) or not content or content[0] != asked:
        raise _invalid()
    return content[1:]


def _invalid() -> ValidationError:
    return ValidationError(
        "The NextToken is not valid for this request. Send the token as the page before gave it, with the same filters "
        "and the same sort, or leave it out to begin again."
    )
