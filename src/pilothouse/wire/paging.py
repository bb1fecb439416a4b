"""Pages: the one way in which every List operation filters, sorts and goes on.

A token is opaque to clients: the sort value of the last item of the page before with what tells it from its equals, and
a fingerprint of what was asked, so that it is refused by a request that asks for something else. The page size may
change between pages. What comes or goes between two pages shifts nothing: what exists throughout, and keeps its sort
value, is seen once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    `sorts` maps the values of SortBy to the store's columns.
    """
    sort = cast(Sort, sorts[request.get("SortBy", default_sort)])
    asked = {**request, "SortBy": sort, "_of": [kind, parent]}

    def rows(after: Cursor | None, limit: int) -> list[Resource]:
        return store.find(
            kind,
            parent=parent,
            **{argument: request[member] for member, argument in _FILTERS.items() if member in request},
            sort=sort,
            descending=request.get("SortOrder", default_order) == "Descending",
            after=after,
            limit=limit,
        )

    return walk(
        rows, lambda row: row.cursor(sort), asked, numeric=sort in ("created", "modified"), default_limit=default_limit
    )


def walk(
    rows: Callable[[Cursor | None, int], Sequence[T]],
    place: Callable[[T], Cursor],
    request: Mapping[str, Any],
    *,
    numeric: bool,
    default_limit: int = 10,
) -> tuple[list[T], str | None]:
    """One page of what the store has, and the token of the next page if there is one.

    `rows` gives up to so many behind a place, `place` tells where one is, and `numeric` whether they are sorted by a
    number instead of a text.
    """
    limit = request.get("MaxResults", default_limit)
    asked = _fingerprint(request)
    found = rows(_cursor(_place(request, asked), numeric), limit + 1)
    token = _token(asked, place(found[limit - 1])) if len(found) > limit else None
    return list(found[:limit]), token


def slice(
    items: Iterable[T],
    request: Mapping[str, Any],
    place: Callable[[T], tuple[str | float, ...]],
    *,
    descending: bool = False,
    default_limit: int = 10,
) -> tuple[list[T], str | None]:
    """One page of `items`, already filtered, sorted by their places, and the token of the next page if there is one.

    No two items have one place; it tells them by as many texts and numbers, in which all are alike.
    """
    limit = request.get("MaxResults", default_limit)
    asked = _fingerprint(request)
    ordered = sorted(items, key=place, reverse=descending)
    after = _place(request, asked)
    if after is not None and ordered:
        if _kinds(after) != _kinds(place(ordered[0])):
            raise _invalid()
        ordered = [item for item in ordered if (place(item) < after if descending else place(item) > after)]
    return ordered[:limit], _token(asked, place(ordered[limit - 1])) if len(ordered) > limit else None


def _kinds(place: Sequence[object]) -> list[type]:
    return [str if isinstance(part, str) else float if isinstance(part, int | float) else object for part in place]


def _fingerprint(request: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in request.items() if name not in _PLACE}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _token(asked: str, place: Sequence[str | float]) -> str:
    return base64.urlsafe_b64encode(json.dumps([asked, *place], separators=(",", ":")).encode()).decode()


def _cursor(place: Sequence[object] | None, numeric: bool) -> Cursor | None:
    """The place that a token tells, as the store takes it."""
    match place:
        case None:
            return None
        case [int() | float() as value, int() as seq] if numeric and 0 <= value < _LAST_INSTANT and 0 <= seq < 2**63:
            return Cursor(float(value), seq)
        case [str() as value, int() as seq] if not numeric and value.isprintable() and 0 <= seq < 2**63:
            return Cursor(value, seq)
    raise _invalid()


def _place(request: Mapping[str, Any], asked: str) -> tuple[Any, ...] | None:
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
    return tuple(content[1:])


def _invalid() -> ValidationError:
    return ValidationError(
        "The NextToken is not valid for this request. Send the token as the page before gave it, with the same filters "
        "and the same sort, or leave it out to begin again."
    )
