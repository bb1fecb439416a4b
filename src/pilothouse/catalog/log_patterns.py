"""Filter patterns of CloudWatch Logs for plain text: terms, phrases in quotes, and regexes between percent signs.

All of them must be in a line, and none of those that begin with `-`. Where all begin with `?`, one of them must be;
with others such terms have no effect. The regexes are a client's, so RE2 runs them: in time linear in the line. That
time grows with the regex too where its automaton does not fit into the memory, so regexes are few, small, and see only
the beginning of a long line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import re2

from pilothouse.catalog import metric_definitions
from pilothouse.errors import ValidationError

Test = Callable[[str], bool]

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]+)%|([^\s"%]+))(?=\s|$)')
_ESCAPED = re.compile(r"\\(.)")
_MOST_REGEXES = 2  # in one pattern, as in AWS
_MOST_MEMORY = 1 << 20  # bytes that one compiled regex may take
_MOST_SEARCHED = 4096  # characters of a line that a regex sees


def compiled(pattern: str) -> Test:
    """Whether a line fits `pattern`; an empty one fits all. `ValidationError` for one that is none, or not served."""
    text = pattern.strip()
    if text[:1] in ("{", "["):
        raise ValidationError(
            "Filter patterns for JSON and for space-delimited lines are not served. Use terms, phrases in quotes, or a "
            "regex between percent signs."
        )
    terms = _terms(text)
    plain = [test for sign, test in terms if sign == ""]
    excluded = [test for sign, test in terms if sign == "-"]
    if not plain and not excluded:
        return lambda line: not terms or any(test(line) for _, test in terms)
    return lambda line: all(test(line) for test in plain) and not any(test(line) for test in excluded)


def _terms(text: str) -> list[tuple[str, Test]]:
    terms, at, regexes = [], 0, 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise ValidationError(
                f"The filterPattern cannot be read from {text[at : at + 20]!r} on. Put it into quotes."
            )
        sign, phrase, regex, word = match.groups()
        regexes += regex is not None
        if regexes > _MOST_REGEXES:
            raise ValidationError(f"A filterPattern can have {_MOST_REGEXES} regexes at most. Join some of them by |.")
        terms.append((sign, _by_regex(regex) if regex else _by_text(word or _ESCAPED.sub(r"\1", phrase))))
        at = match.end()
    return terms


def _by_text(text: str) -> Test:
    return lambda line: text in line


def _by_regex(regex: str) -> Test:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        expression = re2.compile(regex, options)
    except re2.error as error:
        reason = metric_definitions.reason(error)
        raise ValidationError(f"The regex of the filterPattern cannot be used: {reason}.") from error
    return lambda line: expression.search(line[:_MOST_SEARCHED]) is not None
