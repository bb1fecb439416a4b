"""What every Create operation does last: the row, with the request verbatim and the tags beside it."""

from __future__ import annotations

from typing import Any

from pilothouse.errors import ResourceInUse
from pilothouse.operations import tags
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource


def insert(context: Context, kind: str, name: str, request: dict[str, Any], taken: Exception, **more: Any) -> Resource:
    """The row of a create request, with `more` of what the store's insert takes (status, state); it is durable.

    `taken` is raised where the name has been taken meanwhile.
    """
    members = {member: value for member, value in request.items() if member != "Tags"}
    try:
        return context.store.insert(kind, name, members, tags=tags.given(request), **more)
    except ResourceInUse as error:
        raise taken from error
