"""Patterns of the service models, which are Java's, as Python's `re`, or as RE2 where they speak of Unicode classes."""

from __future__ import annotations

import re
from functools import cache
from typing import Protocol

import re2

_SUPPLEMENTARY = r"\uD800\uDC00-\uDBFF\uDFFF"  # Java's surrogate pairs for everything beyond the first plane
_CLASS = re.compile(r"\\p\{(Alnum|ASCII|Print)\}")
_OPENED, _CLOSED = (re.compile(rf"(?<!\\)\{bracket}") for bracket in "[]")


class Pattern(Protocol):
    """What a text can be held against."""

    def fullmatch(self, text: str, /) -> object | None:
        """Something if the whole of `text` matches, else None."""


@cache
def compiled(pattern: str) -> Pattern | None:
    """`pattern` ready for `fullmatch`; None if it has no meaning here, so that nothing is refused because of it.

    As in Java, \\w, \\d and \\s are ASCII, and \\p{L} and its kind are Unicode's general categories.
    """
    try:
        if r"\p{" in pattern:
            options = re2.Options()
            options.log_errors = False
            expression: Pattern = re2.compile(_CLASS.sub(_posix, pattern), options)
            return expression
        return re.compile(pattern.replace(_SUPPLEMENTARY, r"\U00010000-\U0010FFFF"), re.ASCII)
    except (re.error, re2.error):
        return None


def _posix(match: re.Match[str]) -> str:
    """What RE2 calls Java's \\p{name} of ASCII: a class of its own, or more members of the one that it stands in."""
    before, name = match.string[: match.start()], f"[:{match[1].lower()}:]"
    return name if len(_OPENED.findall(before)) > len(_CLOSED.findall(before)) else f"[{name}]"
