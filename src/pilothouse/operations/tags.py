"""Tags: AddTags, ListTags, DeleteTags, on every kind of resource by its ARN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pilothouse.errors import ValidationError
from pilothouse.operations.context import Context
from pilothouse.wire import paging

_MOST = 50


def add_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """AddTags; a key that exists gets the new value. Answers all tags of the resource."""
    arn = _existing(context, request["ResourceArn"])
    new = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    _check_keys(new)
    return {"Tags": _pairs(context.store.add_tags(arn, new, check=_check_count))}


def list_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTags, in the order of their keys."""
    arn = _existing(context, request["ResourceArn"])
    page, token = paging.slice(_pairs(context.store.tags(arn)), request, lambda tag: (tag["Key"],), default_limit=_MOST)
    return {"Tags": page, "NextToken": token}


def delete_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteTags; keys that the resource does not have are passed over."""
    context.store.remove_tags(_existing(context, request["ResourceArn"]), request["TagKeys"])
    return {}


def given(request: dict[str, Any]) -> list[dict[str, str]]:
    """The tags in a create request; `ValidationError` for a reserved key, or one that is there twice."""
    tags: list[dict[str, str]] = request.get("Tags", [])
    keys = [tag["Key"] for tag in tags]
    _check_keys(keys)
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise ValidationError(f"Tags names the key {repeated[0]} twice. Give each key one value.")
    return tags


def _existing(context: Context, arn: str) -> str:
    if context.store.by_arn(arn) is None:
        raise ValidationError(f'Could not find resource "{arn}".')
    return arn


def _check_count(tags: dict[str, str]) -> None:
    if len(tags) > _MOST:
        raise ValidationError(f"A resource can have {_MOST} tags. Delete some with DeleteTags before adding others.")


def _check_keys(keys: Iterable[str]) -> None:
    reserved = sorted(key for key in keys if key.lower().startswith("aws:"))
    if reserved:
        raise ValidationError(f"Tag keys that begin with aws: are reserved: {', '.join(reserved)}. Rename them.")


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
