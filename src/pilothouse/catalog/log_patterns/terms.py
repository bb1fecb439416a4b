"""Filter patterns for plain text: terms, phrases in quotes, and regexes between percent signs.

All of them must be in a line, and none of those that begin with `-`. Where all begin with `?`, one of them must be;
with others such terms have no effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pilothouse.catalog.log_patterns.regexes import Regexes
from pilothouse.errors import ValidationError

Test = Callable[[str], bool]

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]+)%|([^\s"%]+))(?=\s|$)')
_ESCAPED = re.compile(r"\\(.)")


def test(text: str, regexes: Regexes) -> Test:
    """Whether a line has the terms of `text` as they say; `ValidationError` if they can't be read."""
    terms = _terms(text, regexes)
    plain = [test for sign, test in terms if sign == ""]
    excluded = [test for sign, test in terms if sign == "-"]
    if not plain and not excluded:
        return lambda line: not terms or any(test(line) for _, test in terms)
    return lambda line: all(test(line) for test in plain) and not any(test(line) for test in excluded)


def _terms(text: str, regexes: Regexes) -> list[tuple[str, Test]]:
    terms, at = [], 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise ValidationError(
                f"The filterPattern cannot be read from {text[at : at + 20]!r} on. Put it into quotes."
            )
        sign, phrase, regex, word = match.groups()
        terms.append((sign, regexes.test(regex) if regex else _by_text(word or _ESCAPED.sub(r"\1", phrase))))
        at = match.end()
    return terms


def _by_text(text: str) -> Test:
    return lambda line: text in line
