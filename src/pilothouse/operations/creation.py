"""What every Create operation does last: the row, with the request verbatim and the tags beside it."""

from __future__ import annotations

from typing import Any

from pilothouse.catalog import kms
from pilothouse.errors import ConfigurationError, ResourceInUse, ValidationError
from pilothouse.operations import tags
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.volumes import Volumes


def insert(context: Context, kind: str, name: str, request: dict[str, Any], taken: Exception, **more: Any) -> Resource:
    """The row of a create request, with `more` of what the store's insert takes (status, state); it is durable.

    `taken` is raised where the name has been taken meanwhile, ValidationError where the request names a key for its
    volumes that this host can't honour.
    """
    if kms.of_volume(request):
        _must_be_honoured(context)
    members = {member: value for member, value in request.items() if member != "Tags"}
    try:
        return context.store.insert(kind, name, members, tags=tags.given(request), **more)
    except ResourceInUse as error:
        raise taken from error


def _must_be_honoured(context: Context) -> None:
    try:
        Volumes(context.settings).meaning()
    except ConfigurationError as error:
        raise ValidationError(error.message) from error
