"""Patterns of the service models, which are Java's, as Python's `re`."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby

_SUPPLEMENTARY = r"\uD800\uDC00-\uDBFF\uDFFF"  # Java's surrogate pairs for everything beyond the first plane
_CLASS = re.compile(r"\\p\{(\w+)\}")
_OPENED, _CLOSED = (re.compile(rf"(?<!\\)\{bracket}") for bracket in "[]")
_POSIX = {"Alnum": "a-zA-Z0-9", "ASCII": r"\x00-\x7F", "Print": r"\x20-\x7E"}


@cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """`pattern` ready for `fullmatch`; None if it has no meaning in Python, so that nothing is refused because of it.

    As in Java, \\w, \\d and \\s are ASCII, and \\p{L} and its kind are Unicode's general categories.
    """
    text = pattern.replace(_SUPPLEMENTARY, r"\U00010000-\U0010FFFF").replace(r"\z", r"\Z")
    try:
        return re.compile(_CLASS.sub(_class, text), re.ASCII)
    except (re.error, KeyError):
        return None


def _class(match: re.Match[str]) -> str:
    """What \\p{name} is in Python: a class of its own, or more members of the one that it stands in."""
    name, before = match[1], match.string[: match.start()]
    members = _POSIX.get(name) or _categories()[name]
    return members if len(_OPENED.findall(before)) > len(_CLOSED.findall(before)) else f"[{members}]"


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
