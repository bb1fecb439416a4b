"""The regexes of a filter pattern, between percent signs. They are a client's, so RE2 runs them.

Its time is linear in the line. It grows with the regex too where its automaton does not fit into the memory, so regexes
are few, small, and see only the beginning of a long line.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

from pilothouse.catalog import metric_definitions
from pilothouse.errors import ValidationError

_MOST = 2  # in one pattern, as in AWS
_MOST_MEMORY = 1 << 20  # bytes that one compiled regex may take
_MOST_SEARCHED = 4096  # characters of a text that a regex sees


class Regexes:
    """Compiles the regexes of one pattern, and counts them."""

    def __init__(self) -> None:
        self._count = 0

    def test(self, regex: str) -> Callable[[str], bool]:
        """Whether a text has what `regex` describes. `ValidationError` for one that RE2 can't take, or one too many."""
        self._count += 1
        if self._count > _MOST:
            raise ValidationError(f"A filterPattern can have {_MOST} regexes at most. Join some of them by |.")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MOST_MEMORY
        try:
            expression = re2.compile(regex, options)
        except re2.error as error:
            reason = metric_definitions.reason(error)
            raise ValidationError(f"The regex of the filterPattern cannot be used: {reason}.") from error
        return lambda text: expression.search(text[:_MOST_SEARCHED]) is not None
