"""Requests held against the constraints of their shapes, every fault at once, in the sentence of the real service.

botocore's own validator, which runs in the client, knows neither maxima nor patterns, enums and unions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import OperationModel, Shape

from pilothouse.errors import ValidationError
from pilothouse.wire import paths, patterns

_SHOWN = 256  # characters of a value that an error repeats
_MATCHED = 8192  # characters; values longer than this and than they may be are measured, not matched
_LISTED = 100  # faults that one error spells out
_SIZED = ("string", "list", "map", "blob")


def check(request: Mapping[str, Any], operation: OperationModel) -> None:
    """`ValidationError` naming all members of `request` that break a constraint of the operation's input shape.

    Types are taken for granted; reading the request has seen to them.
    """
    if operation.input_shape is None:
        return
    count, told = 0, []
    for fault in _structure(operation.input_shape, request, ""):
        count += 1
        if count <= _LISTED:  # a request may hold millions
            told.append(fault)
    if told:
        noun = "error" if count == 1 else "errors"
        raise ValidationError(f"{count} validation {noun} detected: {'; '.join(told)}")


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for constraint in _broken(shape, value):
        yield _sentence(_shown(value, shape), path, constraint)
    if shape.type_name == "structure":
        yield from _structure(shape, value, path)
    elif shape.type_name == "list":
        for number, item in enumerate(value, 1):
            yield from _member(shape.member, item, paths.item(path, number))
    elif shape.type_name == "map":
        yield from _map(shape, value, path)


def _structure(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if name not in value:
            yield _sentence("null", paths.member(path, name), "Member must not be null")
    for name, member in shape.members.items():
        if name in value:
            yield from _faults(member, value[name], paths.member(path, name))


def _map(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, item in value.items():
        broken = list(_broken(shape.key, key))
        if broken:
            yield _sentence(_shown(key, shape.key), path, f"Map keys must satisfy constraint: [{', '.join(broken)}]")
        yield from _member(shape.value, item, paths.value(path, key))


def _member(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if value is None:
        yield _sentence("null", path, "Member must not be null")
    else:
        yield from _faults(shape, value, path)


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of this very shape that `value` breaks, as AWS words them."""
    limits = shape.metadata
    if shape.type_name in _SIZED:
        yield from _bounds(len(value), limits, "length")
    elif "min" in limits or "max" in limits:
        yield from _bounds(value, limits, "value")
    if shape.type_name == "string":
        yield from _text(shape, value)
    elif limits.get("union") and len(value) != 1:
        yield f"Member must have exactly one of its members set: [{', '.join(shape.members)}]"


def _bounds(measure: float, limits: Mapping[str, Any], what: str) -> Iterator[str]:
    if "max" in limits and measure > limits["max"]:
        yield f"Member must have {what} less than or equal to {limits['max']}"
    if "min" in limits and measure < limits["min"]:
        yield f"Member must have {what} greater than or equal to {limits['min']}"


def _text(shape: Shape, value: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    pattern = shape.metadata.get("pattern")
    if pattern and len(value) <= max(_MATCHED, shape.metadata.get("max", 0)):
        expression = patterns.compiled(pattern)
        if expression is not None and not expression.fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {pattern}"


def _sentence(shown: str, path: str, constraint: str) -> str:
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(value: Any, shape: Shape) -> str:
    text = "***" if shape.metadata.get("sensitive") else _plain(value)
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}…'"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}={_plain(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    return str(value)
