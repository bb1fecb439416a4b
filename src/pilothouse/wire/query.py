"""The query protocol of STS, IAM and CloudWatch: form-encoded requests, XML answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from botocore.model import OperationModel, Shape

from pilothouse import clock
from pilothouse.errors import SerializationError
from pilothouse.wire import json11
from pilothouse.wire.faults import xml_text

CONTENT_TYPE = "text/xml"

_MAX_FIELDS = 1000
_BOOLEANS = {"true": True, "false": False}
_VALUES: Mapping[str, Callable[[str], Any]] = {
    "boolean": lambda text: _BOOLEANS[text.lower()],
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
}


def form(body: bytes) -> dict[str, str]:
    """The fields of a form-encoded body."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise SerializationError("The request body must be UTF-8, form-encoded, with 1000 fields at most.") from error
    return dict(pairs)


def parse(fields: Mapping[str, str], operation: OperationModel) -> dict[str, Any]:
    """The request in a form: the members that the input shape knows. `SerializationError` naming all values that are
    not of their member's type.
    """
    shape = operation.input_shape
    return {} if shape is None else json11.typed(_structure(shape, "", fields), shape)


def _read(shape: Shape, prefix: str, fields: Mapping[str, str]) -> Any:
    """The value at `prefix`, or None if no field speaks of it."""
    if shape.type_name == "structure":
        return _structure(shape, f"{prefix}.", fields) or None
    if shape.type_name == "list":
        inner = prefix if shape.serialization.get("flattened") else f"{prefix}.{_name(shape.member, 'member')}"
        return _items(shape.member, inner, fields) or None
    if prefix not in fields:
        return None
    return _scalar(shape, fields[prefix])


def _structure(shape: Shape, prefix: str, fields: Mapping[str, str]) -> dict[str, Any]:
    read = {name: _read(member, f"{prefix}{_name(member, name)}", fields) for name, member in shape.members.items()}
    return {name: value for name, value in read.items() if value is not None}


def _items(shape: Shape, prefix: str, fields: Mapping[str, str]) -> list[Any]:
    items: list[Any] = []
    while (item := _read(shape, f"{prefix}.{len(items) + 1}", fields)) is not None:
        items.append(item)
    return items


def _scalar(shape: Shape, text: str) -> Any:
    """The value that JSON has for a text; the text as it is if that is none of the shape's type."""
    try:
        return _VALUES.get(shape.type_name, str)(text)
    except (KeyError, ValueError):
        return text


def _name(shape: Shape, name: str) -> str:
    return str(shape.serialization.get("name", name))


def serialise(answer: Mapping[str, Any] | None, operation: OperationModel, request_id: str) -> bytes:
    """The XML for an answer: the members that the output shape knows, in the service's namespace."""
    name = operation.name
    namespace = operation.metadata["xmlNamespace"]
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return f'<{name}Response xmlns="{namespace}">{_result(answer or {}, operation)}{metadata}</{name}Response>'.encode()


def _result(answer: Mapping[str, Any], operation: OperationModel) -> str:
    shape = operation.output_shape
    if shape is None:
        return ""
    return _element(shape.serialization.get("resultWrapper", f"{operation.name}Result"), shape, answer)


def _element(tag: str, shape: Shape, value: Any) -> str:
    return f"<{tag}>{_content(shape, value)}</{tag}>"


def _content(shape: Shape, value: Any) -> str:
    if shape.type_name == "structure":
        return "".join(
            _element(_name(member, name), member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        )
    if shape.type_name == "list":
        return "".join(_element(_name(shape.member, "member"), shape.member, item) for item in value)
    if shape.type_name == "timestamp":
        return clock.iso(value)
    if shape.type_name == "boolean":
        return str(value).lower()
    return xml_text(str(value))
