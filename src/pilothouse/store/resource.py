"""The stored thing: what a row means in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row

_decode = json.JSONDecoder().raw_decode  # json.loads also looks for space around, in half of its time

Sort = Literal["created", "name", "status", "modified"]
Parent = tuple[str, str]
Tags = Mapping[str, str] | Iterable[Mapping[str, str]]
"""Tags as a mapping, or as AWS writes them: `[{"Key": …, "Value": …}, …]`."""


class Cursor(NamedTuple):
    """A place in a sorted list: right behind the row with this sort value and number."""

    value: str | float
    seq: int


@dataclass(frozen=True)
class Resource:
    """One stored thing, as it was when it was read.

    `request` is the validated create document verbatim, read from its text when it is asked for, which lists do not;
    `state` is what was learnt since (members starting with "_" are private to Pilothouse), times are epoch seconds.
    `seq` grows with every insert and is never used twice.
    """

    kind: str
    name: str
    arn: str
    parent: Parent | None
    request_text: str
    state: dict[str, Any]
    status: str
    created_at: float
    modified_at: float
    stop_requested: bool
    seq: int

    @cached_property
    def request(self) -> dict[str, Any]:
        """The create document."""
        return decoded(self.request_text)

    def cursor(self, sort: Sort = "created") -> Cursor:
        """Where this resource stands in a list sorted by `sort`; `find(after=…)` goes on behind it."""
        places: dict[str, str | float] = {
            "created": self.created_at,
            "name": self.name.lower(),
            "status": self.status,
            "modified": self.modified_at,
        }
        return Cursor(places[sort], self.seq)


@dataclass(frozen=True)
class NewResource:
    """A resource to insert along with another, in one transaction."""

    kind: str
    name: str
    request: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    state: dict[str, Any] | None = None
    parent: Parent | None = None
    tags: Tags = ()


@dataclass(frozen=True)
class Change:
    """A change of a resource's status and state along with another's, in one transaction; see `Store.update`."""

    kind: str
    name: str
    status: str
    state: dict[str, Any]


def encoded(document: Mapping[str, Any]) -> str:
    """The text under which a document is stored. Floats and every character come back as they were."""
    return json.dumps(document, separators=(",", ":"))


def decoded(text: str) -> dict[str, Any]:
    """The document stored as `text`."""
    document: dict[str, Any] = _decode(text)[0]
    return document


def merged(state: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with the members of `changes` in place of its own; None takes a member away."""
    return {key: value for key, value in {**state, **changes}.items() if value is not None}


def tag_pairs(tags: Tags) -> dict[str, str]:
    """Tags as a dictionary, from either form."""
    if isinstance(tags, Mapping):
        return dict(tags)
    return {tag["Key"]: tag["Value"] for tag in tags}


def from_row(row: Row[Any]) -> Resource:
    """The resource in a row of the table `resources`."""
    return Resource(
        kind=row.kind,
        name=row.name,
        arn=row.arn,
        parent=(row.parent_kind, row.parent_name) if row.parent_seq is not None else None,
        request_text=row.request,
        state=decoded(row.state),
        status=row.status,
        created_at=row.created_at,
        modified_at=row.modified_at,
        stop_requested=row.stop_requested,
        seq=row.seq,
    )
