"""AWS JSON 1.1: bodies to requests and answers to bodies, along the shapes of the service model."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from botocore.model import OperationModel, Shape

from pilothouse import clock
from pilothouse.errors import SerializationError

CONTENT_TYPE = "application/x-amz-json-1.1"

_MAX_DEPTH = 64
_LAST_INSTANT = 253402300800  # the year 10000


def parse(body: bytes, operation: OperationModel) -> dict[str, Any]:
    """The request in `body`: the members that the input shape knows, as they were sent.

    Timestamps (epoch seconds or ISO 8601) become float epoch seconds. Members that are null or unknown are left out.
    `SerializationError` if the body is not JSON, or a value not of its member's type.
    """
    document = _json(body)
    if not isinstance(document, dict):
        raise SerializationError(f"The request body must be a JSON object, not {_kind(document)}.")
    if operation.input_shape is None:
        return {}
    request: dict[str, Any] = _read(operation.input_shape, document, "")
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


def _read(shape: Shape, value: Any, path: str, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise SerializationError(f"The request is nested too deeply at '{path[:200]}'.")
    if shape.type_name == "structure":
        _expect(value, dict, "an object", path)
        return {
            name: _read(member, value[name], f"{path}.{name}".lstrip("."), depth + 1)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        _expect(value, list, "a list", path)
        return [
            None if item is None else _read(shape.member, item, f"{path}[{i}]", depth + 1)
            for i, item in enumerate(value)
        ]
    if shape.type_name == "map":
        _expect(value, dict, "an object", path)
        return {
            _string(key, path): None if item is None else _read(shape.value, item, f"{path}.{key}", depth + 1)
            for key, item in value.items()
        }
    return _SCALARS[shape.type_name](value, path)


def _expect(value: Any, kind: type, name: str, path: str) -> None:
    if not isinstance(value, kind):
        _mismatch(value, name, path)


def _mismatch(value: Any, expected: str, path: str) -> NoReturn:
    where = f"'{path}'" if path else "The request"
    raise SerializationError(f"{where} must be {expected}, not {_kind(value)}.")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "a value of another type")


def _string(value: Any, path: str) -> str:
    _expect(value, str, "a string", path)
    text: str = value
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"'{path}' holds half of a surrogate pair, which is no text.") from error
    return text


def _boolean(value: Any, path: str) -> bool:
    _expect(value, bool, "a boolean", path)
    return bool(value)


def _number(value: Any, path: str, expected: str = "a number") -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _mismatch(value, expected, path)
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise SerializationError(f"'{path}' is too large a number.")
    return value


def _integer(value: Any, path: str, bits: int = 32) -> int:
    number = _number(value, path, "an integer")
    if number != int(number):
        raise SerializationError(f"'{path}' must be an integer, not {number}.")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise SerializationError(f"'{path}' does not fit into an integer of {bits} bits.")
    return int(number)


def _timestamp(value: Any, path: str) -> float:
    seconds = _instant(value, path) if isinstance(value, str) else _number(value, path, "a time in epoch seconds")
    if abs(seconds) >= _LAST_INSTANT:
        raise SerializationError(f"'{path}' is not a time in epoch seconds; are these milliseconds?")
    return float(seconds)


def _instant(text: str, path: str) -> float:
    try:
        return clock.seconds(text)
    except (ValueError, OverflowError) as error:
        raise SerializationError(f"'{path}' is not a time: send epoch seconds or ISO 8601.") from error


def _blob(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(_string(value, path), validate=True)
    except binascii.Error as error:
        raise SerializationError(f"'{path}' is not base64.") from error


_SCALARS: dict[str, Callable[[Any, str], Any]] = {
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": partial(_integer, bits=64),
    "float": _number,
    "double": _number,
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
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if shape.type_name == "structure":
        members = ((name, shaped(member, value.get(name))) for name, member in shape.members.items())
        return {name: member for name, member in members if member is not None}
    if shape.type_name == "list":
        return [shaped(shape.member, item) for item in value]
    if shape.type_name == "map":
        return {key: shaped(shape.value, item) for key, item in value.items()}
    if shape.type_name == "timestamp":
        return round(float(value), 3)
    if shape.type_name == "blob":
        return base64.b64encode(value).decode()
    return value
