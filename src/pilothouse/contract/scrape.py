"""Metrics out of a program's log: every match of a definition's regex is a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pilothouse.catalog.metric_definitions import compiled, number


@dataclass(frozen=True)
class Point:
    """One measured value; it may be NaN or infinite, as a diverged training's are."""

    name: str
    value: float


class Scraper:
    """Reads `definitions` (name, regex) out of blocks of whole lines; a line's length is whoever feeds it's care."""

    def __init__(self, definitions: Iterable[tuple[str, str]]) -> None:
        self._expressions = [(name, compiled(name, regex)) for name, regex in definitions]

    def scan(self, block: bytes) -> Iterator[Point]:
        """The points in `block`, those of one definition in the order in which they stand there.

        What the first group captured and is no number is passed over.
        """
        for name, expression in self._expressions:
            for match in expression.finditer(block):
                value = number(match.group(1))
                if value is not None:
                    yield Point(name, value)


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that can be compared: a last value that is NaN or infinite is no result."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
