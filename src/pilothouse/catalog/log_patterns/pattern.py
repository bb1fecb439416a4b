"""Filter patterns of CloudWatch Logs: terms, conditions on the members of JSON, conditions on fields between spaces.

The first character says which: `{` for JSON, `[` for fields, and terms otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.catalog.log_patterns import fields, json_lines, terms
from pilothouse.catalog.log_patterns.regexes import Regexes
from pilothouse.errors import ValidationError

Test = Callable[[str], bool]

_FORMS = {"{": ("}", json_lines.test), "[": ("]", fields.test)}


def compiled(pattern: str) -> Test:
    """Whether a line fits `pattern`; an empty one fits all. `ValidationError` for one that is none."""
    text, regexes = pattern.strip(), Regexes()
    if text[:1] not in _FORMS:
        return terms.test(text, regexes)
    end, form = _FORMS[text[0]]
    if len(text) < 2 or not text.endswith(end):
        raise ValidationError(f"If a filter pattern starts with '{text[0]}' it must end with '{end}'.")
    return form(text[1:-1], regexes)
