"""Which errors a function can answer with, read from its source and from that of the functions that it names.

Errors that a function catches around a call are not counted as the callee's. Calls through objects are followed where
the object's class can be told: those of a context's objects, and what a call is annotated to answer.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from pilothouse.errors import PilothouseError, S3Error
from pilothouse.objects.base import Objects
from pilothouse.objects.directory import DirectoryObjects


class Refusal(NamedTuple):
    """An error's class; for S3's own errors the code and status too."""

    kind: type[PilothouseError]
    code: str = ""
    status: int = 400


@cache
def refusals(function: Callable[..., Any]) -> frozenset[Refusal]:
    """All errors of ours that calling `function` can end in."""
    found: set[Refusal] = set()
    seen: set[Any] = set()
    _visit(function, found, seen, ())
    return frozenset(found)


def _visit(function: Any, found: set[Refusal], seen: set[Any], caught: tuple[type[BaseException], ...]) -> None:
    if (function, caught) in seen:
        return
    seen.add((function, caught))
    scope = _Scope(function)
    for refusal, callee, within in _walk(scope.tree, scope, caught):
        if refusal is not None and not issubclass(refusal.kind, within):
            found.add(refusal)
        if callee is not None:
            _visit(callee, found, seen, within)


class _Scope:
    """A function's syntax tree, and what the names in it stand for."""

    def __init__(self, function: Any) -> None:
        self.tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        self._names = {**vars(inspect.getmodule(function)), **inspect.getclosurevars(function).nonlocals}
        owner = function.__qualname__.rpartition(".")[0]
        self._owner = self._names.get(owner) if owner and "<locals>" not in owner else None
        for node in ast.walk(self.tree):
            for name, value in _bound(node):
                self._names[name] = self._made(value)

    def meaning(self, node: ast.AST) -> Any:
        """The object that a name or a dotted name stands for, as far as it can be told; else None."""
        if isinstance(node, ast.Name):
            return self._owner if node.id in ("self", "cls") else self._names.get(node.id)
        if isinstance(node, ast.Call):
            return self._made(node)
        if not isinstance(node, ast.Attribute):
            return None
        if ast.unparse(node) == "context.objects":
            return DirectoryObjects
        base = self.meaning(node.value)
        return getattr(base, node.attr, None) if inspect.ismodule(base) or inspect.isclass(base) else None

    def _made(self, node: ast.AST) -> Any:
        """The class of what a call answers: the class called, or the one that the function's annotation names."""
        called = self.meaning(node.func) if isinstance(node, ast.Call) else None
        function = _function(called)
        if function is None:
            return called if inspect.isclass(called) else None
        named = vars(inspect.getmodule(function)).get(str(function.__annotations__.get("return")))
        if named is Objects:
            return DirectoryObjects
        return named if inspect.isclass(named) else None


def _bound(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement gives to calls' answers."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        yield node.targets[0].id, node.value
    elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        yield node.optional_vars.id, node.context_expr


_Found = tuple[Refusal | None, Any, tuple[type[BaseException], ...]]


def _walk(node: ast.AST, scope: _Scope, caught: tuple[type[BaseException], ...]) -> Iterator[_Found]:
    if isinstance(node, ast.Try):
        inner = (*caught, *_caught(node, scope))
        for part in node.body:
            yield from _walk(part, scope, inner)
        for part in (*(s for h in node.handlers for s in h.body), *node.orelse, *node.finalbody):
            yield from _walk(part, scope, caught)
        return
    if isinstance(node, ast.Call):
        kind = scope.meaning(node.func)
        if inspect.isclass(kind) and issubclass(kind, PilothouseError):
            yield from ((refusal, None, caught) for refusal in _refusal(kind, node))
    elif (function := _function(scope.meaning(node))) is not None:
        yield None, function, caught
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, scope, caught)


def _caught(node: ast.Try, scope: _Scope) -> Iterator[type[BaseException]]:
    """The classes that a try statement turns into something else."""
    for handler in node.handlers:
        if any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(handler)):
            continue
        named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        meanings = (scope.meaning(name) for name in named if name is not None)
        yield from (m for m in meanings if inspect.isclass(m) and issubclass(m, BaseException))


def _refusal(kind: type[PilothouseError], call: ast.Call) -> Iterator[Refusal]:
    """The error that a call makes; none if its code is a variable, or if it is a fault of the object store's own."""
    if not issubclass(kind, S3Error):
        yield Refusal(kind)
    if kind is not S3Error:
        return
    values = [argument.value if isinstance(argument, ast.Constant) else None for argument in call.args]
    status = values[2] if len(values) > 2 and isinstance(values[2], int) else 400
    if values and isinstance(values[0], str):
        yield Refusal(kind, values[0], status)


def _function(meaning: Any) -> Any:
    """The function of ours behind a name, if it is one."""
    plain = inspect.unwrap(getattr(meaning, "__func__", meaning)) if callable(meaning) else None
    return plain if inspect.isfunction(plain) and plain.__module__.startswith("pilothouse.") else None
