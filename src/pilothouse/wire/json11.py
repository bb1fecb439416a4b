"""AWS JSON 1.1: bodies to requests and answers to bodies, along the shapes of the service model."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NoReturn

from botocore.model import OperationModel, Shape

from pilothouse import clock
from pilothouse.errors import SerializationError
from pilothouse.wire import paths

Shaper = Callable[[Any], Any]

CONTENT_TYPE = "application/x-amz-json-1.1"
MEDIA_TYPES = (CONTENT_TYPE, "application/x-amz-json-1.0", "application/json")
"""What a request may call itself: tools that sign on their own often say less than the SDKs."""

_MAX_DEPTH = 64
_LISTED = 100  # faults that one error spells out
_LAST_INSTANT = 253402300800  # the year 10000
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127  # of 32 bits


def parse(body: bytes, operation: OperationModel) -> dict[str, Any]:
    """The request in `body`: the members that the input shape knows, as they were sent.

    Timestamps (epoch seconds or ISO 8601) become float epoch seconds. Members that are null or unknown are left out.
    `SerializationError` if the body is not JSON, or naming all values that are not of their member's type.
    """
    document = _json(body)
    if not isinstance(document, dict):
        raise SerializationError(f"The request body must be a JSON object: {_expected('a Structure', document)}")
    return {} if operation.input_shape is None else typed(document, operation.input_shape)


def typed(document: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The request of this shape that a document of JSON's values is, as `parse` gives it and with its errors."""
    reader = _Reader()
    request: dict[str, Any] = reader.read(shape, document, "")
    if reader.faults:
        raise SerializationError("; ".join(reader.faults))
    return request


def _json(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"The request body is not valid JSON: {_reason(error)}.") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


class _Unreadable(Exception):
    """A value is not of its member's type; says why in AWS's words."""


class _Reader:
    """Goes along a shape and a value; `faults` tells the first values that are of another type, and where they are."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def read(self, shape: Shape, value: Any, path: str, depth: int = 0) -> Any:
        """The value as the shape wants it; None with a fault noted if it can't be that."""
        if depth > _MAX_DEPTH:
            raise SerializationError(f"The request is nested too deeply at '{path[:200]}'.")
        try:
            return self._value(shape, value, path, depth + 1)
        except _Unreadable as fault:
            if len(self.faults) < _LISTED:  # a request may hold millions
                self.faults.append(f"{fault} at '{path}'")
            return None

    def _value(self, shape: Shape, value: Any, path: str, depth: int) -> Any:
        if shape.type_name == "structure":
            _expect(value, dict, "a Structure")
            return {
                name: self.read(member, value[name], paths.member(path, name), depth)
                for name, member in shape.members.items()
                if value.get(name) is not None
            }
        if shape.type_name == "list":
            _expect(value, list, "a List")
            return [
                None if item is None else self.read(shape.member, item, paths.item(path, number), depth)
                for number, item in enumerate(value, 1)
            ]
        if shape.type_name == "map":
            _expect(value, dict, "a Map")
            return {
                _string(key): None if item is None else self.read(shape.value, item, paths.value(path, key), depth)
                for key, item in value.items()
            }
        return _SCALARS[shape.type_name](value)


def _expect(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise _Unreadable(_expected(name, value))


def _expected(name: str, value: Any) -> str:
    """AWS's sentence for a value that is not a `name`, as far as it goes: it does not tell the place."""
    if isinstance(value, dict):
        return "Start of structure or map found where not expected"
    if isinstance(value, list):
        return "Start of list found where not expected"
    if isinstance(value, bool):
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        token = "NULL_VALUE" if value is None else "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    return f"{token} can not be converted to {name}"


def _string(value: Any) -> str:
    _expect(value, str, "a String")
    text: str = value
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Unreadable("Half of a surrogate pair can not be converted to a String") from error
    return text


def _boolean(value: Any) -> bool:
    _expect(value, bool, "a Boolean")
    return bool(value)


def _number(value: Any, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unreadable(_expected(name, value))
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise _Unreadable(f"A number as large as this can not be converted to {name}")
    return value


def _float(value: Any) -> int | float:
    number = _number(value, "a Float")
    if abs(number) > _LARGEST_FLOAT:
        raise _Unreadable("A number as large as this can not be converted to a Float")
    return number


def _integer(value: Any, name: str, bits: int) -> int:
    number = _number(value, name)
    if number != int(number):
        raise _Unreadable(f"{number} can not be converted to {name}")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise _Unreadable(f"A number of more than {bits} bits can not be converted to {name}")
    return int(number)


def _timestamp(value: Any) -> float:
    seconds = _instant(value) if isinstance(value, str) else _number(value, "a time in epoch seconds")
    if abs(seconds) >= _LAST_INSTANT:
        raise _Unreadable(f"{seconds:g} can not be converted to a time in epoch seconds; are these milliseconds?")
    return float(seconds)


def _instant(text: str) -> float:
    try:
        return clock.seconds(text)
    except (ValueError, OverflowError) as error:
        raise _Unreadable("STRING_VALUE can not be converted to a time in epoch seconds or ISO 8601") from error


def _blob(value: Any) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except binascii.Error as error:
        raise _Unreadable("STRING_VALUE can not be converted to a Blob: it is not base64") from error


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "boolean": _boolean,
    "integer": partial(_integer, name="an Integer", bits=32),
    "long": partial(_integer, name="a Long", bits=64),
    "float": _float,
    "double": partial(_number, name="a Double"),
    "timestamp": _timestamp,
    "blob": _blob,
}


def serialise(answer: Mapping[str, Any] | None, operation: OperationModel) -> bytes:
    """The body for an answer: its members that the output shape knows, without None and NaN; empty without a shape.

    Members that start with "_" are private and never in a shape, so they stay behind. Times are epoch seconds.
    """
    if operation.output_shape is None:
        return b""
    return json.dumps(shaped(operation.output_shape, answer or {}), allow_nan=False).encode()


def shaped(shape: Shape, value: Any) -> Any:
    """`value` brought to `shape`, ready for JSON."""
    return None if value is None else _shaper(shape)(value)


@cache
def _shaper(shape: Shape) -> Shaper:
    """What brings a value that is not None to `shape`; made once, as the shapes of one answer are asked a lot."""
    if shape.type_name == "structure":
        return _structure_shaper(shape)
    if shape.type_name == "list":
        return lambda value: [shaped(shape.member, item) for item in value]
    if shape.type_name == "map":
        return lambda value: {key: shaped(shape.value, item) for key, item in value.items()}
    return _SHAPERS.get(shape.type_name, _finite)


def _structure_shaper(shape: Shape) -> Shaper:
    members: list[tuple[str, Shaper]] | None = None

    def bring(value: Any) -> dict[str, Any]:
        nonlocal members
        if members is None:  # not before: a shape may hold itself
            members = [(name, _shaper(member)) for name, member in shape.members.items()]
        found = {}
        for name, bring_member in members:
            member = value.get(name)
            if member is not None and (member := bring_member(member)) is not None:
                found[name] = member
        return found

    return bring


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seconds(value: Any) -> float | None:
    seconds = float(value)
    return round(seconds, 3) if math.isfinite(seconds) else None


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


_SHAPERS: Mapping[str, Shaper] = {"timestamp": _seconds, "blob": _base64_text}
