"""Categories: a column's levels as codes, commonest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.markers import MISSING

MAX_LEVELS = 1000
MIN_COUNT = 2
COUNTED_ABOVE = 50
"""Columns with more levels than this also get each level's count as a number."""

_WHOLE = re.compile(r"([+-]?\d+)\.0+")


def whole(text: str) -> str:
    """`text`, or "3" if it is "3.0"."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def level(text: str) -> str:
    """The level that `text` names: blanks cut, every missing marker one level "", "3.0" the same as "3", and true and
    false in any case the same as True and False."""
    text = text.strip()
    lowered = text.lower()
    if lowered in MISSING:
        return ""
    if lowered in ("true", "false"):
        return lowered.capitalize()
    return whole(text)


class CategoryEncoder:
    """Codes 1.. for the known levels; 0 for levels that are unseen or too rare to learn from.

    Missing is a level like any other if it occurs often enough. `counts` (one for each code) are the training
    rows of a level, 1 for code 0 and NaN for missing; they are a feature of their own where levels are many.
    """

    def __init__(self, column: str, levels: list[str], counts: list[int], counted: bool) -> None:
        self.levels = levels
        self.counts = counts
        self.counted = counted
        self.names = [f"{column}:count"] if counted else []
        self.cardinality = len(levels) + 1
        self._codes = {text: code for code, text in enumerate(levels, 1)}
        self._count_of = np.array([1, *counts], np.float32)
        if "" in self._codes:
            self._count_of[self._codes[""]] = np.nan

    @classmethod
    def fit(cls, column: str, counted_texts: Iterable[tuple[str, int]]) -> CategoryEncoder:
        """Learn the levels from the distinct texts of the training rows and how often each occurs."""
        counts: Counter[str] = Counter()
        for text, count in counted_texts:
            counts[level(text)] += count
        common = sorted((-count, text) for text, count in counts.items() if count >= MIN_COUNT)[:MAX_LEVELS]
        return cls(column, [text for _, text in common], [-count for count, _ in common], len(counts) > COUNTED_ABOVE)

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """The counts (if this column has them) and the code of each text."""
        codes = np.array([self._code(text) for text in texts], np.int32)
        numbers = self._count_of[codes].reshape(-1, 1) if self.counted else np.empty((len(texts), 0), np.float32)
        return numbers, codes

    def read(self, text: str, numbers: list[float], codes: list[int]) -> None:
        """Append the count (if this column has them) and the code of one text."""
        code = self._codes.get(text)
        if code is None:
            code = self._codes.get(level(text), 0)
        codes.append(code)
        if self.counted:
            numbers.append(self._count_of.item(code))

    def _code(self, text: str) -> int:
        # A known level is its own canonical text, so the common case needs one look-up.
        code = self._codes.get(text)
        return code if code is not None else self._codes.get(level(text), 0)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `restore` needs: JSON and arrays."""
        return {"levels": self.levels, "counts": self.counts, "counted": self.counted}, {}

    @classmethod
    def restore(cls, column: str, state: dict[str, Any], _arrays: dict[str, npt.NDArray[Any]]) -> CategoryEncoder:
        """The encoder that `state` described."""
        return cls(column, state["levels"], state["counts"], state["counted"])
