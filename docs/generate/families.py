"""Operation families: which operations a page shows, and what people wrote about them.

An operation belongs to the family whose file names the module that its function is in, so a new operation of a known
module needs no more than to generate the pages again.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from botocore.model import OperationModel

from pilothouse.api import bucket, runtime
from pilothouse.operations import async_invocations
from pilothouse.operations.table import SERVED
from pilothouse.wire import models
from pilothouse.wire.faults import Door

FOLDER = Path(__file__).parent / "differences"

TABLES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    **SERVED,
    "sagemaker-runtime": {  # told by their paths, not by a table
        "InvokeEndpoint": runtime.Invoker.handle,
        "InvokeEndpointAsync": async_invocations.invoke_endpoint_async,
    },
    "s3": bucket.SERVED,
}
"""The functions that answer operations, by botocore's names of the services."""

_DOORS = {"sagemaker-runtime": "runtime"}  # the others are called as their services


@dataclass(frozen=True)
class Operation:
    """An operation that is served: its function, its model, and the door where it is called."""

    name: str
    function: Callable[..., Any]
    model: OperationModel
    door: Door


@dataclass(frozen=True)
class Family:
    """A page to be.

    `differences` are sentences by operation, `members` texts by "Shape.Member" of botocore's model. `unread` is what is
    done with members that no code names.
    """

    name: str
    title: str
    about: str
    operations: tuple[Operation, ...]
    differences: Mapping[str, list[str]]
    members: Mapping[str, str]
    unread: str


def load() -> list[Family]:
    """All families in the order of their files. `SystemExit` for an operation that none of them has."""
    files = {path.stem: tomllib.loads(path.read_text()) for path in sorted(FOLDER.glob("*.toml"))}
    owners = {module: name for name, file in files.items() for module in file["modules"]}
    grouped: dict[str, list[Operation]] = {name: [] for name in files}
    for operation in _served():
        module = operation.function.__module__.removeprefix("pilothouse.")
        if module not in owners:
            raise SystemExit(f"{operation.name} is of the module {module}, which no file in {FOLDER} names.")
        grouped[owners[module]].append(operation)
    return [_family(name, file, tuple(grouped[name])) for name, file in files.items()]


def _family(name: str, file: Mapping[str, Any], operations: tuple[Operation, ...]) -> Family:
    unknown = file.get("differences", {}).keys() - {operation.name for operation in operations}
    if unknown:
        raise SystemExit(f"{name}.toml tells differences of {', '.join(sorted(unknown))}, which it has not got.")
    return Family(
        name,
        file["title"],
        file["about"].strip(),
        operations,
        file.get("differences", {}),
        file.get("members", {}),
        file.get("unread", "recorded"),
    )


def _served() -> list[Operation]:
    return [
        Operation(name, _plain(function), models.operation(service, name), cast(Door, _DOORS.get(service, service)))
        for service, table in TABLES.items()
        for name, function in table.items()
    ]


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.func if isinstance(function, partial) else function
