"""The error messages of the server's code, as templates in which "…" stands for what is filled in.

They are the texts that the errors of this code are made of, their docstrings where they are made of nothing, and those
that become a FailureReason. Where such a text is a variable, a constant or what a function answers, its possible values
are looked up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from docs.generate.reading import SOURCE

_ROOTS = ("Exception", "ClickException", "UsageError", "BadParameter", "Fault")
_REASONS = ("FailureReason", "PartialFailureMessage", "reason", "why")
_SAY_REASONS = ("failure", "left_out")  # functions whose answers become reasons on ways that are not followed
_BLAME = ("AlgorithmError: ", "ClientError: ", "InternalServerError: ")
_NO_ERRORS = "data/profile.py"  # whose reasons are those for the type of a column
_WORD = re.compile(r"[A-Za-z]{2,}")
_FIELD = re.compile(r"\{\w*(?:![rs])?(?::[^}]*)?\}")


@dataclass(frozen=True)
class Message:
    """A message and the place in the code where it is made."""

    text: str
    where: str


@cache
def messages() -> list[Message]:
    """All messages, without those that consist of gaps or of one word only."""
    trees = {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    code = _Code(list(trees.values()))
    readers = [_Reader(path, tree, code) for path, tree in trees.items() if path != _NO_ERRORS]
    found = {Message(text, where) for reader in readers for text, where in reader.all()}
    told = [message for message in found if " " in message.text and len(_WORD.findall(message.text)) > 1]
    return sorted(told, key=lambda message: (message.where, message.text))


class _Code:
    """What modules know of one another: error classes, constants, functions, and their parameters that are reasons."""

    def __init__(self, trees: list[ast.Module]) -> None:
        nodes = [node for tree in trees for node in ast.walk(tree)]
        self.kinds = _kinds([node for node in nodes if isinstance(node, ast.ClassDef)])
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        for function in functions:
            self.functions.setdefault(function.name, []).append(function)
        self.makers = {function.name for function in functions if _name(function.returns) in self.kinds}
        self.constants: dict[str, list[ast.expr]] = {}
        for node in (node for tree in trees for node in tree.body):
            if isinstance(node, ast.Assign) and _name(node.targets[0]).isupper():
                self.constants.setdefault(_name(node.targets[0]), []).append(node.value)
        self.takers: dict[str, set[int]] = {}
        for function in functions:
            parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
            places = {place for place, name in enumerate(parameters) if name in _REASONS}
            self.takers.setdefault(function.name, set()).update(places)


def _kinds(classes: list[ast.ClassDef]) -> dict[str, str]:
    """The error classes whose messages people see, with their docstrings."""
    found = dict.fromkeys(_ROOTS, "")
    while more := [c for c in classes if c.name not in found and {_name(base) for base in c.bases} & found.keys()]:
        found.update({c.name: ast.get_docstring(c) or "" for c in more})
    return found


class _Reader:
    """Finds the messages of a module."""

    def __init__(self, path: str, tree: ast.Module, code: _Code) -> None:
        self._path, self._tree, self._code = path, tree, code
        self._functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assigned.setdefault(_name(target), []).append(node.value)

    def all(self) -> Iterator[tuple[str, str]]:
        """Each text, and where."""
        parts = {id(p) for node in ast.walk(self._tree) if isinstance(node, ast.JoinedStr) for p in node.values}
        for node in ast.walk(self._tree):
            for text in self._made(node) if id(node) not in parts else ():
                yield text, f"{self._path}:{getattr(node, 'lineno', 0)}"

    def _made(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Raise) and _name(node.exc) in self._code.kinds:
            yield self._code.kinds[_name(node.exc)]
        elif isinstance(node, ast.ClassDef) and node.name in self._code.kinds:
            yield from (text for inner in ast.walk(node) for text in self._initialised(inner))
        elif isinstance(node, ast.FunctionDef) and node.name in _SAY_REASONS:
            yield from self._answered(node, 4)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in _REASONS:
                    yield from self._texts(value)
        elif isinstance(node, (ast.Constant, ast.JoinedStr)):
            yield from (text for text in self._texts(node) if text.startswith(_BLAME))

    def _call(self, node: ast.Call) -> Iterator[str]:
        name = _name(node.func)
        if name in self._code.kinds:
            texts = [text for argument in node.args for text in self._texts(argument)]
            yield from texts if node.args else [self._code.kinds[name]]
        elif name in self._code.makers:
            texts = [text for argument in node.args for text in self._texts(argument)]
            yield from (text for text in texts if not text[:1].islower())
        for place in self._code.takers.get(name, ()):
            yield from (text for argument in node.args[place : place + 1] for text in self._texts(argument))
        for keyword in node.keywords:
            if keyword.arg in _REASONS:
                yield from self._texts(keyword.value)

    def _initialised(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Call) and _name(node.func) == "__init__":
            yield from (text for argument in node.args for text in self._texts(argument))

    def _texts(self, node: ast.AST, deep: int = 4) -> Iterator[str]:
        """What `node` can be as a text."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _FIELD.sub("…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
        elif isinstance(node, (ast.IfExp, ast.BoolOp)):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            yield from (text for part in parts for text in self._texts(part, deep))
        elif isinstance(node, ast.BinOp):
            lefts, rights = list(self._texts(node.left, deep)) or ["…"], list(self._texts(node.right, deep)) or ["…"]
            yield from (left + right for left in lefts for right in rights)
        elif isinstance(node, (ast.GeneratorExp, ast.ListComp)):
            yield from self._texts(node.elt, deep)
        elif deep and isinstance(node, ast.Name):
            values = self._assigned.get(node.id) or self._code.constants.get(node.id, [])
            yield from (text for value in values for text in self._texts(value, deep - 1))
        elif deep and isinstance(node, ast.Call):
            yield from self._called(node, deep)

    def _called(self, node: ast.Call, deep: int) -> Iterator[str]:
        name = _name(node.func)
        if isinstance(node.func, ast.Attribute) and name in ("format", "strip", "get"):
            yield from self._texts(node.func.value, deep)
        else:
            own = self._functions.get(name)
            for function in [own] if own else self._code.functions.get(name, []):
                yield from self._answered(function, deep)
        given = (text for argument in node.args for text in self._texts(argument, deep - 1))
        yield from (text for text in given if not text[:1].islower())

    def _answered(self, function: ast.FunctionDef, deep: int) -> Iterator[str]:
        for inner in ast.walk(function):
            if isinstance(inner, (ast.Return, ast.Yield)) and inner.value is not None:
                yield from self._texts(inner.value, deep - 1)


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
