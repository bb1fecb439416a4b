"""Metric definitions: a name, and a regex whose first capturing group is the value in a line of a program's log.

The regexes are a client's, so RE2 runs them: in time linear in the text, whatever the regex.
"""

from __future__ import annotations

from typing import Any

import re2

from pilothouse.errors import ValidationError

MOST = 40
_LONGEST_NUMBER = 64
_MOST_MEMORY = 8 << 20  # bytes that one compiled regex may take
_TAB = "#011"  # how AWS's logs spell a tab; regexes that were written for them say so


def compiled(name: str, regex: str) -> Any:
    """The regex as an RE2 object over bytes, in which a match never crosses a line.

    `ValidationError` if RE2 can't take it or it has no capturing group.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    options.never_nl = True
    try:
        expression = re2.compile(b"(?m)" + regex.replace(_TAB, rf"(?:{_TAB}|\t)").encode(), options)
    except re2.error as error:
        raise ValidationError(
            f'The Regex of the metric definition "{name}" cannot be used: {reason(error)}. Metric regexes are run by '
            "RE2, which has no lookaround and no backreferences."
        ) from error
    if expression.groups < 1:
        raise ValidationError(
            f'The Regex of the metric definition "{name}" has no capturing group. Put the part that matches the value '
            "in parentheses."
        )
    return expression


def number(text: bytes | None) -> float | None:
    """The number that `text` spells, NaN and infinities included; None if it spells none."""
    if text is None or len(text) > _LONGEST_NUMBER or b"_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def check(definitions: tuple[tuple[str, str], ...]) -> None:
    """`ValidationError` for the first of `definitions` (name, regex) that cannot be used."""
    seen: set[str] = set()
    for name, regex in definitions:
        if name in seen:
            raise ValidationError(f'MetricDefinitions defines "{name}" twice. Give each metric a name of its own.')
        seen.add(name)
        compiled(name, regex)


def reason(error: Exception) -> str:
    """Why RE2 does not take a regex, in its own words."""
    words = error.args[0] if error.args else "it is not a regular expression"
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)
