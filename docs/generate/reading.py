"""Which members of requests the server's code names at all.

A member that no string of the code names cannot have an effect here: it is kept with the request, or passed over. The
reverse does not hold; so pages say "recorded" of the former and promise nothing of the rest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from botocore.model import Shape

import pilothouse

SOURCE = Path(pilothouse.__file__).parent
_PART = re.compile(r"[A-Za-z]{4,}")


def is_named(name: str, shape: Shape) -> bool:
    """Whether code names a member, by its name or by the name that it has on the wire, or builds such a name."""
    strings, built = _named()
    wire = shape.serialization.get("name", name)
    return bool({name, wire, wire.lower()} & strings or built.fullmatch(name) or built.fullmatch(wire))


@cache
def _named() -> tuple[set[str], re.Pattern[str]]:
    strings: set[str] = set()
    patterns: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in _expressions(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.update(re.split(r"[.\[\]]+", node.value))
            elif isinstance(node, ast.JoinedStr):
                patterns.update(_pattern(node))
            elif isinstance(node, ast.Call):
                patterns.update(_beginnings(node))
    return strings, re.compile("|".join(sorted(patterns)), re.IGNORECASE)


def _expressions(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but docstrings, and the constants within f-strings, which are parts of names."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(tree, ast.JoinedStr) or not isinstance(child, ast.Constant):
            yield child
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from _expressions(child)


def _pattern(text: ast.JoinedStr) -> Iterator[str]:
    """What f-strings like f"Checksum{algorithm}" can make; sentences and the like make no member's name."""
    fixed = [part.value for part in text.values if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if fixed and all(_PART.fullmatch(part) for part in fixed):
        yield "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".+" for p in text.values)


def _beginnings(call: ast.Call) -> Iterator[str]:
    """What name.startswith("Grant") and the like ask for."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("startswith", "removeprefix"):
        texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        yield from (f"{text}.+" for text in texts if isinstance(text, str) and _PART.fullmatch(text))
