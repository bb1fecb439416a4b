"""Filter patterns for lines that are JSON: `{ $.level = "error" && $.items[0].code > 3 }`.

A selector leads from the root by names and places; `[*]` is any element of a list. What it must lead to is a string, a
number or a boolean: where it leads to a list, to an object or nowhere, a comparison does not hold, `!=` neither.
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

Selector = Sequence[str | int]
"""Names, places, and `*` for any place."""


def test(text: str, regexes: Regexes) -> Callable[[str], bool]:
    """Whether a line is a JSON object that is as `text` says, the pattern without its braces."""
    check = Reader(tokens(text), regexes).whole(_condition)

    def fits(line: str) -> bool:
        document = _document(line)
        return document is not None and check(document)

    return fits


def _condition(reader: Reader) -> Check:
    selector = _selector(reader.take("word").text)
    follows = reader.take("operator", "word")
    if follows.kind == "operator":
        compare = reader.comparison(follows.text)
        return lambda document: any(_holds(compare, node) for node in _nodes(document, selector))
    word = reader.take("word").text
    if (follows.text, word) == ("NOT", "EXISTS"):
        return lambda document: not any(True for _ in _nodes(document, selector))
    if follows.text != "IS" or word not in _IS:
        raise unreadable(f"{follows.text} {word}")
    wanted = _IS[word]
    return lambda document: any(node is wanted for node in _nodes(document, selector))


def _selector(text: str) -> Selector:
    if not _SELECTOR.fullmatch(text):
        raise unreadable(text)
    return [name or (place if place == "*" else int(place)) for name, place in _STEP.findall(text)]


def _document(line: str) -> dict[str, Any] | None:
    """The object that a line is, numbers as they are written; None if it is none."""
    if not line.lstrip().startswith("{"):
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


def _nodes(document: Any, selector: Selector) -> Iterator[Any]:
    """What a selector leads to: nothing, one node, or several where it has `[*]`."""
    if not selector:
        yield document
        return
    step, rest = selector[0], selector[1:]
    if step == "*":
        for element in document if isinstance(document, list) else ():
            yield from _nodes(element, rest)
    elif isinstance(step, int):
        if isinstance(document, list) and step < len(document):
            yield from _nodes(document[step], rest)
    elif isinstance(document, dict) and step in document:
        yield from _nodes(document[step], rest)
