"""Filter patterns for lines that are JSON: `{ $.level = "error" && $.items[0].code > 3 }`.

A selector leads from the root by names and places; `[*]` is any element of a list. What it must lead to is a string, a
number or a boolean: where it leads to a list, to an object or nowhere, a comparison does not hold, `!=` neither.

What a line may cost has an end, since patterns are a client's: a long line counts as no JSON, and one of which the
conditions together would look at more than `_MOST_NODES` nodes does not fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pilothouse.catalog.log_patterns.conditions import Check, Number, Reader, tokens, unreadable
from pilothouse.catalog.log_patterns.regexes import Regexes

_SELECTOR = re.compile(r"\$(?:\.[A-Za-z0-9_-]+(?:\[(?:\d{1,9}|\*)\])*)+")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\*)\]")
_IS = {"NULL": None, "TRUE": True, "FALSE": False}

_LONGEST = 32 << 10
"""Characters of a line that is read as JSON; about what is kept of a line that a program prints."""

_MOST_NODES = 10_000

Selector = Sequence[str | int]
"""Names, places, and `*` for any place."""


class _Exhausted(Exception):
    pass  # more nodes of a line are to be looked at than may be


class _Line:
    """The object that a line is, and how many of its nodes may still be looked at."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._left = _MOST_NODES

    def nodes(self, selector: Selector) -> Iterator[Any]:
        """What a selector leads to: nothing, one node, or several where it has `[*]`."""
        return self._below(self._document, selector)

    def _below(self, node: Any, selector: Selector) -> Iterator[Any]:
        self._left -= 1
        if self._left < 0:
            raise _Exhausted
        if not selector:
            yield node
            return
        step, rest = selector[0], selector[1:]
        if step == "*":
            for element in node if isinstance(node, list) else ():
                yield from self._below(element, rest)
        elif isinstance(step, int):
            if isinstance(node, list) and step < len(node):
                yield from self._below(node[step], rest)
        elif isinstance(node, dict) and step in node:
            yield from self._below(node[step], rest)


def test(text: str, regexes: Regexes) -> Callable[[str], bool]:
    """Whether a line is a JSON object that is as `text` says, the pattern without its braces."""
    check = Reader(tokens(text), regexes).whole(_condition)

    def fits(line: str) -> bool:
        document = _document(line)
        try:
            return document is not None and check(_Line(document))
        except _Exhausted:
            return False

    return fits


def _condition(reader: Reader) -> Check:
    selector = _selector(reader.take("word").text)
    follows = reader.take("operator", "word")
    if follows.kind == "operator":
        compare = reader.comparison(follows.text)
        return lambda line: any(_holds(compare, node) for node in line.nodes(selector))
    word = reader.take("word").text
    if (follows.text, word) == ("NOT", "EXISTS"):
        return lambda line: not any(True for _ in line.nodes(selector))
    if follows.text != "IS" or word not in _IS:
        raise unreadable(f"{follows.text} {word}")
    wanted = _IS[word]
    return lambda line: any(node is wanted for node in line.nodes(selector))


def _selector(text: str) -> Selector:
    if not _SELECTOR.fullmatch(text):
        raise unreadable(text)
    return [name or (place if place == "*" else int(place)) for name, place in _STEP.findall(text)]


def _document(line: str) -> dict[str, Any] | None:
    """The object that a line is, numbers as they are written; None if it is none."""
    if len(line) > _LONGEST or not line.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(line, parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _holds(compare: Check, node: Any) -> bool:
    if isinstance(node, bool):
        return compare(str(node).lower())
    return isinstance(node, str) and compare(node)
