"""Operations that pages name exist, and the calls that pages show are served and have the members that they need."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.model import OperationModel

from pilothouse.api import bucket
from pilothouse.operations.table import SERVED
from pilothouse.wire import models

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OF_SDK = ("sagemaker_v2", "sagemaker_v3")  # whose own functions have such names too; tests/clients runs them
SOURCES = [*PAGES, *(path for path in sorted(ROOT.glob("examples/**/*.py")) if path.parent.name not in OF_SDK)]
SERVICES = (*SERVED, "sagemaker-runtime", "s3")
NAMED = re.compile(
    r"\b(?:Abort|Add|Complete|Copy|Create|Delete|Describe|Get|Head|Invoke|List|Put|Simulate|Stop|Update|Upload)"
    r"[A-Z][A-Za-z0-9]+\b"
)
COMMAND = re.compile(r"\baws (sagemaker|sagemaker-runtime|logs|sts|iam|cloudwatch) ([a-z0-9-]+)((?:[^\n\\|)]|\\\n)*)")
GLOBAL_OPTIONS = {"--query", "--output", "--no-cli-pager", "--cli-input-json", "--region", "--endpoint-url"}


def served(service: str) -> set[str]:
    """The names of a service's operations that are served."""
    if service == "s3":
        return set(bucket.SERVED)
    return {"InvokeEndpoint", "InvokeEndpointAsync"} if service == "sagemaker-runtime" else set(SERVED[service])


@cache
def methods() -> dict[str, OperationModel]:
    """Operations by the names that boto3 gives them; where services share one, the first service's."""
    found: dict[str, OperationModel] = {}
    for service in SERVICES:
        for name in models.service(service).operation_names:
            found.setdefault(xform_name(name), models.operation(service, name))
    return found


HAND_WRITTEN = [page for page in PAGES if page.parent.name != "reference"]  # where members are called like operations


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_operation_named_exists(page: Path) -> None:
    known = {name for service in SERVICES for name in models.service(service).operation_names}
    statuses = set(models.service("sagemaker").shape_for("EndpointStatus").enum)
    assert set(NAMED.findall(page.read_text())) - known - statuses == set()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_calls_of_boto3_are_served_and_complete(source: Path) -> None:
    for call in boto3_calls(source):
        operation = methods()[call.func.attr]
        assert operation.name in served(operation.service_model.service_name), f"{operation.name} is not served"
        given = {keyword.arg for keyword in call.keywords}
        shape = operation.input_shape
        members = set(shape.members) if shape else set()
        assert given - {None} <= members, f"{operation.name} has no {given - members}"
        if None not in given and shape is not None:
            assert set(shape.required_members) <= given, f"{operation.name} needs {shape.required_members}"


def boto3_calls(source: Path) -> Iterator[ast.Call]:
    text = source.read_text()
    codes = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if source.suffix == ".md" else [text]
    for code in codes:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods():
                yield node


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_aws_commands_are_served_and_have_their_options(page: Path) -> None:
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S))
    for service, command, rest in COMMAND.findall(blocks):
        known = {xform_name(name, "-"): name for name in served(service)}
        assert command in known, f"aws {service} {command} is not served"
        shape = models.operation(service, known[command]).input_shape
        options = {f"--{xform_name(member, '-')}" for member in (shape.members if shape else ())}
        assert set(re.findall(r"(?<=\s)--[a-z0-9-]+", rest)) <= options | GLOBAL_OPTIONS
