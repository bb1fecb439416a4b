"""Numbers as people write them: thousands in groups, decimals behind a comma, a currency, a percent sign."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data import numbers

_MINUS = "-\u2212"
_CURRENCY = (
    r"(?:(?:US|CA|C|AU|A|NZ|HK|MX|S|R)?\$|[€£¥₹₽₩₺₪₫₴₦₱฿]|(?:kr|Rs)\.?|zł|Kč|Ft|RM"
    r"|AED|AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NGN|NOK|NZD|PHP|PLN|RON|RUB|SAR|SEK"
    r"|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR)"
)
_BLANKS_AND_APOSTROPHES = " \u00a0\u202f'’"


def _form(groups: str, decimal: str) -> re.Pattern[str]:
    """Numbers whose thousands `groups` part, all by the same character, and whose decimals are behind `decimal`."""
    digits = (
        rf"(?P<digits>[1-9]\d{{0,2}}(?P<group>[{groups}{_BLANKS_AND_APOSTROPHES}])\d{{3}}(?:(?P=group)\d{{3}})*"
        rf"(?:{decimal}\d*)?|\d+(?:{decimal}\d*)?|{decimal}\d+)"
    )
    return re.compile(
        rf"(?P<sign>[{_MINUS}+]?)\s?(?:{_CURRENCY}\s?)?(?P<inner>[{_MINUS}+]?){digits}\s?(?:%|{_CURRENCY})?", re.ASCII
    )


_BELOW_ZERO = re.compile(rf"((?:{_CURRENCY}\s?)?)\(([^()]+)\)|([^()]*[.,]\d+)[{_MINUS}]")
_POINT, _COMMA = _form(",", r"\."), _form(".", ",")
_GROUPS = dict.fromkeys(map(ord, _BLANKS_AND_APOSTROPHES))
_PLAIN = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"
"""What Arrow can tell quickly to be a plain number."""
_TRIED = 2_000
_PLAIN_POINT, _PLAIN_COMMA = {**_GROUPS, ord(","): None}, {**_GROUPS, ord("."): None, ord(","): "."}


def parse(text: str, comma: bool = False) -> float:
    """The finite number that `text` spells, plainly or as people write it; NaN for anything else.

    "12%" is 12, "$1,234.50", "1 234.50" and "1,234.50 EUR" are 1234.5; thousands are parted by commas, blanks or
    apostrophes, groups of three digits; a minus may be U+2212, and "(1,234.50)" and "1,234.50-" are -1234.5, as
    accountants write it. With `comma`, decimals come behind a comma, and points may part thousands: "1.234,50" is
    1234.5. A plain number such as 1.234 is itself all the same.
    """
    plain = numbers.parse(text)
    if not math.isnan(plain):
        return plain
    text = text.strip()
    below = _BELOW_ZERO.fullmatch(text)
    match = (_COMMA if comma else _POINT).fullmatch(text if below is None else "".join(below.groups("")))
    signs = "" if match is None else match["sign"] + match["inner"]
    if match is None or len(signs) + (below is not None) > 1:
        return math.nan
    value = numbers.parse(match["digits"].translate(_PLAIN_COMMA if comma else _PLAIN_POINT))
    return -value if below is not None or set(_MINUS) & set(signs) else value


def parse_all(texts: Sequence[str]) -> tuple[list[float], bool]:
    """The number of each of a column's `texts`, and whether their decimals come behind a comma.

    They do if more of them are numbers only so, as "1,5" is, than only otherwise, as "1,234.5" is.
    """
    values = [parse(text) for text in texts]
    if not any("," in text for text in texts):
        return values, False
    others = [parse(text, comma=True) for text in texts]
    pairs = [(math.isnan(value), math.isnan(other)) for value, other in zip(values, others, strict=True)]
    comma = pairs.count((True, False)) > pairs.count((False, True))
    return (others if comma else values), comma


def unplain(column: pa.ChunkedArray) -> list[str]:
    """The distinct texts of a column that hold a digit and are no plain numbers, of `_TRIED` such rows if there are
    more, drawn from the whole column with a fixed seed."""
    if not pa.types.is_string(column.type):
        return []
    others = column.filter(pc.invert(pc.match_substring_regex(column, _PLAIN)))
    others = others.filter(pc.match_substring_regex(others, r"\d"))
    if len(others) > _TRIED:
        others = others.take(np.sort(np.random.default_rng(0).choice(len(others), _TRIED, replace=False)))
    return [str(text) for text in pc.unique(others).to_pylist()]


def has_commas(columns: Iterable[pa.ChunkedArray]) -> bool:
    """Whether decimals come behind a comma in a column that is given in parts."""
    texts = set[str]()
    for column in columns:
        texts.update(unplain(column))
        if len(texts) >= _TRIED:
            break
    return parse_all(list(texts))[1]


def as_float64(column: pa.Array, comma: bool) -> npt.NDArray[np.float64]:
    """`numbers.as_float64`, which also reads the numbers that only `parse` does."""
    values = numbers.as_float64(column)
    rows = np.flatnonzero(np.isnan(values))
    if not pa.types.is_string(column.type) or not len(rows):
        return values
    others = pc.fill_null(column, "").take(pa.array(rows)).dictionary_encode()
    parsed = np.array([parse(text, comma) for text in others.dictionary.to_pylist()], np.float64)
    values[rows] = parsed[others.indices.to_numpy(zero_copy_only=False)]
    return values


class WrittenNumberEncoder:
    """The number that a text spells by `parse`; NaN where it spells none."""

    def __init__(self, column: str, comma: bool) -> None:
        self.names = [column]
        self.cardinality: int | None = None
        self._comma = comma

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """One number for each text."""
        values = np.array([parse(text, self._comma) for text in texts], np.float64)
        return numbers.to_float32(values).reshape(-1, 1), None

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What tells it from an encoder of plain numbers."""
        return {"written": True, **({"comma": True} if self._comma else {})}, {}


def encoder(name: str, column: pa.ChunkedArray) -> WrittenNumberEncoder | None:
    """The encoder of a column; None if none of its values is a number only as people write it."""
    texts = unplain(column)
    values, comma = parse_all(texts)
    pairs = zip(texts, values, strict=True)
    needed = any(not math.isnan(value) and math.isnan(numbers.parse(text)) for text, value in pairs)
    return WrittenNumberEncoder(name, comma) if needed else None
