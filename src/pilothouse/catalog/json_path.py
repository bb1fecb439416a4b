"""The JSONPath that the filters of a transform job are written in: names and places from the root, no conditions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilothouse.errors import ValidationError

Step = Callable[[Any], Any]

_NAME = re.compile(r"\.([A-Za-z_][\w-]*)")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_QUOTED = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)")\s*""")
_INTEGER = re.compile(r"\s*(-?\d{1,9})\s*")
_SLICE = re.compile(r"\s*(-?\d{1,9})?\s*:\s*(-?\d{1,9})?\s*")


@dataclass(frozen=True)
class JsonPath:
    """A path: `$`, then .name, ['name'], [0], [-1], [1:3] and so on; several names or places give several values.

    `places_only` says whether it asks for places alone, as rows of CSV need.
    """

    text: str
    steps: tuple[Step, ...]
    places_only: bool

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """The path that `text` writes; `ValidationError` if it is none, or one that is not served."""
        if not text.startswith("$"):
            raise _unreadable(text)
        steps, places_only, place = [], True, 1
        while place < len(text):
            match = _NAME.match(text, place) or _BRACKETS.match(text, place)
            if match is None:
                raise _unreadable(text)
            name = match[1] if match.re is _NAME else None
            step = _member(name) if name is not None else _places(match[1]) or _members(match[1])
            if step is None:
                raise _unreadable(text)
            places_only = places_only and name is None and _places(match[1]) is not None
            steps.append(step)
            place = match.end()
        return cls(text, tuple(steps), places_only)

    @property
    def everything(self) -> bool:
        """Whether it leaves a document as it is."""
        return not self.steps

    def find(self, document: Any) -> Any:
        """What the path leads to in `document`; `LookupError` if there is no such thing."""
        for step in self.steps:
            try:
                document = step(document)
            except (LookupError, TypeError) as error:
                raise LookupError(f"{self.text} leads nowhere in it") from error
        return document


def _member(name: str) -> Step:
    def step(document: Any) -> Any:
        if not isinstance(document, dict):
            raise TypeError
        return document[name]

    return step


def _members(inside: str) -> Step | None:
    matches = [_QUOTED.fullmatch(part) for part in inside.split(",")]
    names = [match[1] if match[1] is not None else match[2] for match in matches if match]
    if not names or len(names) < len(matches):
        return None
    if len(names) == 1:
        return _member(names[0])
    steps = {name: _member(name) for name in names}
    return lambda document: {name: step(document) for name, step in steps.items()}


def _places(inside: str) -> Step | None:
    span = _SLICE.fullmatch(inside)
    if span is not None:
        start, end = (None if bound is None else int(bound) for bound in span.groups())
        return lambda document: _list(document)[start:end]
    matches = [_INTEGER.fullmatch(part) for part in inside.split(",")]
    places = [int(match[1]) for match in matches if match]
    if not places or len(places) < len(matches):
        return None
    if len(places) == 1:
        return lambda document: _list(document)[places[0]]
    return lambda document: [_list(document)[place] for place in places]


def _list(document: Any) -> list[Any]:
    if not isinstance(document, list):
        raise TypeError
    return document


def _unreadable(text: str) -> ValidationError:
    return ValidationError(
        f"The filter {text!r} is no JSONPath that is served. Write $ and then names and places, such as $[1:], "
        "$[0,-1], $.features or $['id','SageMakerOutput']."
    )
