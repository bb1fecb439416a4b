"""Every constraint of every input shape served but S3's: each is broken in a request that is valid otherwise.

S3's are in test_s3_constraints.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from botocore.model import OperationModel, Shape
from botocore.serialize import QuerySerializer

from pilothouse.errors import RequestError, SerializationError, ValidationError
from pilothouse.operations.table import SERVED
from pilothouse.wire import json11, models, patterns, query, validate

OPERATIONS = [
    *((service, name) for service, operations in SERVED.items() for name in operations),
    ("sagemaker-runtime", "InvokeEndpoint"),
    ("sagemaker-runtime", "InvokeEndpointAsync"),
]
PROTOCOLS = {
    "sagemaker": ["json"],
    "logs": ["json"],
    "cloudwatch": ["json", "query"],
    "iam": ["query"],
    "sts": ["query"],
    "sagemaker-runtime": ["rest"],
}
SPOKEN = [(service, name, protocol) for service, name in OPERATIONS for protocol in PROTOCOLS[service]]
LARGEST = 1 << 20  # characters or items; a limit beyond is not tried
SHOWN = 256

WORDS = [
    *("a", "a" * 20, "ab", "AB", "1K", "Y", "p1", "a/b", "/a", "s3://bucket/key", "fs-01234567", "mig-1g.5gb", "sg-1"),
    "000000000000",
    "arn:aws:iam::000000000000:role/PilothouseRole",
    "arn:aws:lambda:us-east-1:000000000000:function:f",
    "arn:aws:sns:us-east-1:000000000000:topic",
    *(
        f"arn:aws:sagemaker:us-east-1:000000000000:{rest}"
        for rest in ("endpoint/a", "model-package/a", "model-package-group/a", "training-plan/a", "mlflow-app/a")
    ),
    *(f"arn:aws:sagemaker:us-east-1:000000000000:hub-content/a/{kind}/b/1.0.0" for kind in ("Model", "DataSet")),
]
"""Texts of which each pattern of the models accepts at least one."""


class Key(str):
    """A step to a value of a map."""


class Gone:
    """In the place of a value: the member is missing."""


Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """A value at a place of a request that is valid otherwise, and what the refusal says."""

    request: Any
    path: Place
    value: Any
    told: tuple[str, ...]
    error: type[RequestError] = ValidationError

    @property
    def wrong(self) -> Any:
        """The request."""
        return with_value(self.request, self.path, self.value)


# What is valid.


def least(shape: Shape, above: tuple[str, ...] = ()) -> Any:
    """A value that satisfies `shape`, with no more members than it must have."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        names = list(shape.required_members)
        if limits.get("union"):
            names = [next(name for name, member in shape.members.items() if member.name not in above)]
        return {name: least(shape.members[name], (*above, shape.name)) for name in names}
    if kind == "list":
        return [least(shape.member, above) for _ in range(limits.get("min", 0))]
    if kind == "map":
        return {text(shape.key, i): least(shape.value, above) for i in range(limits.get("min", 0))}
    if kind == "string":
        return text(shape)
    if kind == "blob":
        return b"a" * limits.get("min", 0)
    return True if kind == "boolean" else max(limits.get("min", 1), 0) if kind != "timestamp" else 1.0


def text(shape: Shape, number: int = 0) -> str:
    """A text that satisfies `shape`."""
    known = shape.name, str(shape.metadata)  # services have shapes of one name
    if known not in _TEXTS:
        fitting = (word for word in [*shape.enum[:1], *WORDS] if not broken(shape, word))
        _TEXTS[known] = next(fitting, "")
        assert _TEXTS[known] or not broken(shape, ""), f"none of WORDS is a {shape.name}: {shape.metadata}"
    return _TEXTS[known] + "a" * number


_TEXTS: dict[tuple[str, str], str] = {}


def broken(shape: Shape, value: str) -> bool:
    """Whether a text breaks the length or the pattern of its shape."""
    limits = shape.metadata
    expression = patterns.compiled(limits.get("pattern", r"[\s\S]*"))
    assert expression is not None, limits["pattern"]
    return not limits.get("min", 0) <= len(value) <= limits.get("max", LARGEST) or not expression.fullmatch(value)


# Every member, and what can be wrong with it.


@cache
def cases(operation: OperationModel, protocol: str) -> list[Case]:
    """All that one member alone can have wrong."""
    shape = operation.input_shape
    if shape is None:
        return []
    request = least(shape)
    return [*missing(shape, (), request), *below(shape, (), request, (shape.name,), protocol)]


def below(shape: Shape, path: Place, request: Any, above: tuple[str, ...], protocol: str) -> Iterator[Case]:
    """The faults of the members of `shape`, which stands at `path` of the valid `request`."""
    for step, member in members(shape):
        if member.name in above:  # a shape within itself
            continue
        place = (*path, step)
        around = with_value(request, place, least(member, above), alone=bool(shape.metadata.get("union")))
        yield from faults(member, place, around, protocol)
        inside = (*above, member.name) if member.type_name == "structure" else above
        yield from below(member, place, around, inside, protocol)


def members(shape: Shape) -> Iterator[tuple[str | int, Shape]]:
    """The ways on from a shape."""
    if shape.type_name == "structure":
        yield from shape.members.items()
    elif shape.type_name == "list":
        yield 0, shape.member
    elif shape.type_name == "map":
        yield Key(text(shape.key)), shape.value


def faults(shape: Shape, path: Place, request: Any, protocol: str) -> Iterator[Case]:
    """What can be wrong with the value at `path` itself."""
    for value, constraint in breaking(shape):
        yield Case(request, path, value, (sentence(printed(value, shape), path, constraint),))
    if shape.type_name == "map":
        for key, constraint in breaking(shape.key):
            told = sentence(printed(key, shape.key), path, "Map keys must satisfy constraint: [")
            yield Case(request, path, {key: least(shape.value)}, (told, constraint))
    yield from missing(shape, path, request)
    if not isinstance(path[-1], str) or isinstance(path[-1], Key):
        yield Case(request, path, None, (sentence("null", path, "Member must not be null"),))
    for value, words in WRONG_TYPES[protocol].get(shape.type_name, []):
        yield Case(request, path, value, (f"{words} at '{shown(path)}'",), SerializationError)


def missing(shape: Shape, path: Place, request: Any) -> Iterator[Case]:
    """Each required member of a structure left out."""
    for name in getattr(shape, "required_members", ()):
        yield Case(request, (*path, name), Gone, (sentence("null", (*path, name), "Member must not be null"),))


TOKENS = {"STRING_VALUE": "x", "NUMBER_VALUE": 1, "TRUE_VALUE": True, "FALSE_VALUE": False, "1.5": 1.5}
LIST = ([], "Start of list found where not expected")
OBJECT = ({}, "Start of structure or map found where not expected")


def types(name: str, tokens: str, *more: tuple[Any, str]) -> list[tuple[Any, str]]:
    """Values that are no `name`, and what is said of them."""
    return [*((TOKENS[token], f"{token} can not be converted to {name}") for token in tokens.split()), *more]


def large(name: str, bits: int) -> list[tuple[Any, str]]:
    """The numbers next to those that fit."""
    words = f"A number of more than {bits} bits can not be converted to {name}"
    return [(2 ** (bits - 1), words), (-(2 ** (bits - 1)) - 1, words)]


WRONG_TYPES: dict[str, dict[str, list[tuple[Any, str]]]] = {
    "json": {
        "string": types("a String", "NUMBER_VALUE TRUE_VALUE FALSE_VALUE", LIST, OBJECT),
        "integer": types("an Integer", "STRING_VALUE TRUE_VALUE FALSE_VALUE 1.5", LIST, OBJECT)
        + large("an Integer", 32),
        "long": types("a Long", "STRING_VALUE TRUE_VALUE FALSE_VALUE 1.5", LIST, OBJECT) + large("a Long", 64),
        "float": types("a Float", "STRING_VALUE TRUE_VALUE FALSE_VALUE", LIST, OBJECT),
        "double": types("a Double", "STRING_VALUE TRUE_VALUE FALSE_VALUE", LIST, OBJECT),
        "boolean": types("a Boolean", "STRING_VALUE NUMBER_VALUE", LIST, OBJECT),
        "timestamp": types("a time in epoch seconds", "TRUE_VALUE FALSE_VALUE", LIST, OBJECT),
        "structure": types("a Structure", "STRING_VALUE NUMBER_VALUE TRUE_VALUE FALSE_VALUE", LIST),
        "list": types("a List", "STRING_VALUE NUMBER_VALUE TRUE_VALUE FALSE_VALUE", OBJECT),
        "map": types("a Map", "STRING_VALUE NUMBER_VALUE TRUE_VALUE FALSE_VALUE", LIST),
    },
    "query": {  # where all is text
        "integer": types("an Integer", "STRING_VALUE") + large("an Integer", 32),
        "long": types("a Long", "STRING_VALUE") + large("a Long", 64),
        "boolean": types("a Boolean", "STRING_VALUE"),
        "timestamp": types("a time in epoch seconds or ISO 8601", "STRING_VALUE"),
    },
    "rest": {},
}


def breaking(shape: Shape) -> Iterator[tuple[Any, str]]:
    """Values that break a constraint of `shape`, and the constraint as AWS words it."""
    limits = shape.metadata
    low, high = limits.get("min", 0), limits.get("max", LARGEST + 1)
    if shape.type_name in SIZED:
        if low:
            yield sized(shape, low - 1), f"Member must have length greater than or equal to {low}"
        if high <= LARGEST:
            yield sized(shape, high + 1), f"Member must have length less than or equal to {high}"
    elif shape.type_name in NUMBERS:
        if "min" in limits:
            yield low - 1, f"Member must have value greater than or equal to {low}"
        if "max" in limits and high < 2**31 - 1:
            yield high + 1, f"Member must have value less than or equal to {high}"
    if shape.type_name == "string":
        yield from wrong_texts(shape)
    if limits.get("union"):
        constraint = f"Member must have exactly one of its members set: [{', '.join(shape.members)}]"
        yield {}, constraint
        if len(shape.members) > 1:
            yield {name: least(member) for name, member in list(shape.members.items())[:2]}, constraint


SIZED = ("string", "list", "map", "blob")
NUMBERS = ("integer", "long", "float", "double")


def sized(shape: Shape, length: int) -> Any:
    """A value of that length, valid but for it."""
    if shape.type_name == "list":
        return [least(shape.member)] * length
    if shape.type_name == "map":
        return {f"a{i}": least(shape.value) for i in range(length)}
    return "a" * length if shape.type_name == "string" else b"a" * length


def wrong_texts(shape: Shape) -> Iterator[tuple[str, str]]:
    """Texts that are none of an enum's, or that a pattern doesn't accept."""
    if shape.enum:
        yield "no such value", f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    expression = patterns.compiled(shape.metadata.get("pattern", r"[\s\S]*"))
    assert expression is not None
    for word in ("\x00", "é\n", "", " ", "-"):
        if not expression.fullmatch(word):
            yield word, f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}"
            return


# The sentence.


def sentence(value: str, path: Place, constraint: str) -> str:
    """AWS's sentence."""
    return f"Value {value} at '{shown(path)}' failed to satisfy constraint: {constraint}"


def printed(value: Any, shape: Shape) -> str:
    """A value as an error repeats it."""
    told = "***" if shape.metadata.get("sensitive") else plain(value)
    return f"'{told}'" if len(told) <= SHOWN else f"'{told[:SHOWN]}…'"


def plain(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={plain(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(path: Place) -> str:
    """A path as AWS prints it: members in camel case, items counted from 1."""
    return ".".join(
        f"{step + 1}.member"
        if isinstance(step, int)
        else f"{step}.member"
        if isinstance(step, Key)
        else step[:1].lower() + step[1:]
        for step in path
    )


# Documents.


def with_value(request: Any, path: Place, value: Any, *, alone: bool = False) -> Any:
    """`request` with `value` at `path`, `alone` as the only member of its structure. `request` stays as it is."""
    step, rest = path[0], path[1:]
    changed = {} if alone and not rest else copy(request)
    if rest:
        changed[step] = with_value(request[step], rest, value, alone=alone)
    elif value is Gone:
        del changed[step]
    elif isinstance(step, int):
        changed[:1] = [value]
    else:
        changed[step] = value
    return changed


# The test.


def refusal(wrong: list[Case], operation: OperationModel, protocol: str) -> RequestError:
    """What is said of a request in which all this is wrong, of members that differ."""
    with pytest.raises(RequestError) as caught:
        validate.check(read(wrong, operation, protocol), operation)
    return caught.value


def read(wrong: list[Case], operation: OperationModel, protocol: str) -> Any:
    """The request as it comes out of its bytes, where they can carry it."""
    request = together([case.wrong for case in wrong], wrong, operation)
    if protocol == "json":
        return json11.parse(json.dumps(request).encode(), operation)
    if protocol == "query" and wrong[0].error is SerializationError:
        return query.parse(form(wrong, operation), operation)
    return request


def together(requests: list[Any], wrong: list[Case], operation: OperationModel) -> Any:
    """One request of those members of `requests` that the cases are about."""
    members = {case.path[0]: request for case, request in zip(wrong, requests, strict=True)}
    whole = {name: value for name, value in least(operation.input_shape).items() if name not in members}
    return whole | {name: request[name] for name, request in members.items() if name in request}


def form(wrong: list[Case], operation: OperationModel) -> dict[str, Any]:
    """The form that botocore makes of what is valid, with the wrong values in their fields."""
    valid = together([case.request for case in wrong], wrong, operation)
    fields: dict[str, Any] = QuerySerializer().serialize_to_request(valid, operation)["body"]
    for case in wrong:
        field = ".".join(f"member.{step + 1}" if isinstance(step, int) else step for step in case.path)
        assert field in fields
        fields[field] = str(case.value)
    return fields


@pytest.mark.parametrize(("service", "name", "protocol"), SPOKEN)
def test_whatever_breaks_a_constraint_is_told_in_the_services_sentence(service: str, name: str, protocol: str) -> None:
    operation = models.operation(service, name)
    validate.check(least(operation.input_shape) if operation.input_shape else {}, operation)
    for case in cases(operation, protocol):
        error = refusal([case], operation, protocol)
        assert type(error) is case.error, (case.path, case.value, error.message)
        assert all(words in error.message for words in case.told), (case, error.message)
        if case.error is SerializationError:
            assert error.message == case.told[0]
        else:
            only_here(error.message, shown(case.path))


def only_here(message: str, place: str) -> None:
    """One value may break two constraints, but nothing else of the request is blamed, and the count is right."""
    found = message.count("failed to satisfy constraint: ")
    assert message.count(f" at '{place}' failed to satisfy constraint: ") == found, message
    assert message.startswith(f"{found} validation error{'s' if found > 1 else ''} detected: Value "), message


@pytest.mark.parametrize(("service", "name", "protocol"), SPOKEN)
@pytest.mark.parametrize("error", [ValidationError, SerializationError])
def test_all_that_is_wrong_with_a_request_is_told_at_once(
    service: str, name: str, protocol: str, error: type[RequestError]
) -> None:
    operation = models.operation(service, name)
    by_member: dict[str | int, list[Case]] = {}
    for case in cases(operation, protocol):
        if case.error is error:
            by_member.setdefault(case.path[0], []).append(case)
    chosen = [found[len(found) // 2] for found in by_member.values()]
    if chosen:
        found = refusal(chosen, operation, protocol)
        assert type(found) is error
        assert [words for case in chosen for words in case.told if words not in found.message] == []


def test_there_are_thousands_of_constraints() -> None:
    found = [case for service, name, protocol in SPOKEN for case in cases(models.operation(service, name), protocol)]
    assert len(found) > 5_000
    kinds = {words.split("constraint: ")[-1].split(" than ")[0][:30] for case in found for words in case.told}
    assert len(kinds) > 10
