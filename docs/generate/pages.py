"""A family's page: its operations, each with what it takes, answers and refuses, and how it differs from AWS."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from docs.generate import raised, reading
from docs.generate.families import Family, Operation
from docs.generate.shapes import Structures
from pilothouse import errors
from pilothouse.errors import PilothouseError, S3Error
from pilothouse.wire import faults
from pilothouse.wire.faults import Door

NOTE = "<!-- Written by `make docs`. Change docs/generate/differences/{}.toml or the code, and run it again. -->"
_RECORDED = (
    "Members in bold are required. An empty last column means that code here reads the member; *recorded*, that none "
    "does: it is checked for form, kept, and given back by Describe; *ignored*, that nothing keeps it either."
)
_IGNORED = (
    "Members in bold are required. An empty last column means that code here reads the member; *ignored*, that none "
    "does: it may be given and has no effect."
)


def page(family: Family) -> str:
    """The page's whole text. `SystemExit` where the family's file speaks of members that are not there."""
    structures = Structures({name: _emphasised(text) for name, text in family.members.items()}, f"*{family.unread}*")
    parts = [NOTE.format(family.name), f"# {family.title}", family.about, _contents(family)]
    parts.append(_RECORDED if family.unread == "recorded" else _IGNORED)
    echoed = _echoed(family)
    for operation in family.operations:
        parts.extend(_operation(operation, family, structures, echoed))
    rest = list(structures.rest())
    if rest:
        parts.append("## Structures")
        parts.extend(f"### {name}\n\n{table}" for name, table in sorted(rest))
    if structures.unused():
        raise SystemExit(f"{family.name}.toml tells of {', '.join(sorted(structures.unused()))}, not on its page.")
    return "\n\n".join(parts) + "\n"


def _contents(family: Family) -> str:
    links = (f"[{operation.name}](#{operation.name.lower()})" for operation in family.operations)
    return " · ".join(links) + "\n\nErrors that every operation can answer are on [a page of their own](errors.md)."


def _operation(operation: Operation, family: Family, structures: Structures, echoed: set[str]) -> Iterable[str]:
    yield f"## {operation.name}"
    summary = _summary(operation)
    if summary:
        yield summary
    differences = family.differences.get(operation.name, [])
    if differences:
        yield "\n".join(f"* {sentence}" for sentence in differences)
    shape = operation.model.input_shape
    if shape is not None and shape.members:
        kept = operation.name.startswith("Create") and family.unread == "recorded"
        yield structures.table(shape, None if kept else "*ignored*")
    yield "\n".join(filter(None, [_answer(operation, echoed), f"Errors: {_errors(operation)}."]))


def _summary(operation: Operation) -> str:
    """The function's docstring without the operation's name that it may begin with, and with errors by their codes."""

    def code(match: re.Match[str]) -> str:
        kind = getattr(errors, match[1], None)
        if inspect.isclass(kind) and issubclass(kind, PilothouseError):
            return code_of(raised.Refusal(kind), operation.door)[0]
        return match[0]

    text = inspect.cleandoc(operation.function.__doc__ or "")
    text = re.sub(rf"^{operation.name}[.,;:]?\s*", "", re.sub(r"(?<!\n)\n(?!\n)", " ", text))
    text = re.sub(r"`(\w+)`", code, text)
    return text[:1].upper() + text[1:]


def _echoed(family: Family) -> set[str]:
    """Names of the members of Create requests: Describe gives them back without naming them."""
    shapes = (o.model.input_shape for o in family.operations if o.name.startswith("Create"))
    return {name for shape in shapes if shape is not None for name in shape.members} - {"Tags"}


def _answer(operation: Operation, echoed: set[str]) -> str:
    shape = operation.model.output_shape
    if shape is None or not shape.members:
        return "Answer: empty.  "
    given = [name for name, member in shape.members.items() if name in echoed or reading.is_named(name, member)]
    never = [name for name in shape.members if name not in given]
    text = f"Answer: {', '.join(given) or 'empty'}."
    return text + (f" Never in it: {', '.join(never)}.  " if never else "  ")


def _errors(operation: Operation) -> str:
    found = {code_of(refusal, operation.door) for refusal in raised.refusals(operation.function)}
    if operation.door != "s3":  # whose requests are not held against the model's constraints
        found.add(code_of(raised.Refusal(errors.ValidationError), operation.door))
    return ", ".join(f"{code} ({status})" for code, status in sorted(found)) or "those of every operation"


def code_of(refusal: raised.Refusal, door: Door) -> tuple[str, int]:
    """Code and HTTP status of an error at a door."""
    fault = faults.fault(example(refusal), door, "")
    return fault.code, fault.status


def example(refusal: raised.Refusal) -> PilothouseError:
    """An error of that kind, with nothing said."""
    if issubclass(refusal.kind, S3Error):
        return refusal.kind(refusal.code, "", refusal.status)
    parameters = inspect.signature(refusal.kind).parameters.values()
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    values: list[Any] = [500 if parameter.annotation == "int" else "" for parameter in needed]
    return refusal.kind(*values)


def _emphasised(text: str) -> str:
    return f"*{text}*" if re.fullmatch(r"recorded|ignored|refused", text) else text
