"""Numbers as people write them: thousands in groups, a currency before or after, a percent sign."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data import numbers

_DIGITS = r"(?P<digits>[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_CURRENCY = r"(?:[$€£¥]|USD|EUR|GBP|JPY|CHF)"
_WRITTEN = re.compile(rf"(?P<sign>[+-]?)\s?(?:{_CURRENCY}\s?)?(?P<inner>[+-]?){_DIGITS}\s?(?:%|{_CURRENCY})?", re.ASCII)


def parse(text: str) -> float:
    """The finite number that `text` spells, plainly or as people write it; NaN for anything else.

    "12%" is 12, "$1,234.50" and "1,234.50 EUR" are 1234.5; a comma only parts groups of three digits.
    """
    plain = numbers.parse(text)
    if not math.isnan(plain):
        return plain
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or (match["sign"] and match["inner"]):
        return math.nan
    value = numbers.parse(match["digits"].replace(",", ""))
    return -value if "-" in (match["sign"], match["inner"]) else value


def is_needed(texts: Iterable[str]) -> bool:
    """Whether some of `texts` are numbers only as people write them."""
    return any(math.isnan(numbers.parse(text)) and not math.isnan(parse(text)) for text in texts)


class WrittenNumberEncoder:
    """The number that a text spells; NaN where it spells none."""

    def __init__(self, column: str) -> None:
        self.names = [column]
        self.cardinality: int | None = None

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """One number for each text."""
        return numbers.to_float32(np.array([parse(text) for text in texts], np.float64)).reshape(-1, 1), None

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What tells it from an encoder of plain numbers."""
        return {"written": True}, {}
