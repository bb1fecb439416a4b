"""Patterns of the service models, which are Java's, as Python's `re`."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby

_SUPPLEMENTARY = r"\uD800\uDC00-\uDBFF\uDFFF"  # Java's surrogate pairs for everything beyond the first plane
_CLASS = re.compile(r"\\p\{(\w+)\}")


@cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """`pattern` ready for `fullmatch`; None if it has no meaning in Python, so that nothing is refused because of it.

    As in Java, \\w, \\d and \\s are ASCII, and \\p{L} and its kind are Unicode's general categories.
    """
    text = pattern.replace(_SUPPLEMENTARY, r"\U00010000-\U0010FFFF")
    try:
        return re.compile(_CLASS.sub(lambda match: _members(match[1]), text), re.ASCII)
    except (re.error, KeyError):
        return None


def _members(name: str) -> str:
    """What \\p{name} holds, as the inside of a character class."""
    return "a-zA-Z0-9" if name == "Alnum" else _categories()[name]


@cache
def _categories() -> dict[str, str]:
    """The ranges of each major category (L, M, N, P, S, Z, C). Takes some 0.3 s, once, when first needed."""
    ranges: dict[str, list[str]] = {}
    first = 0
    for category, run in groupby(map(chr, range(sys.maxunicode + 1)), lambda c: unicodedata.category(c)[0]):
        last = first + sum(1 for _ in run) - 1
        ranges.setdefault(category, []).append(f"\\U{first:08X}-\\U{last:08X}")
        first = last + 1
    return {category: "".join(runs) for category, runs in ranges.items()}
