"""Conditions of filter patterns: `what = value`, joined by `&&`, which binds closer, `||`, and parentheses."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pilothouse.catalog.log_patterns.regexes import Regexes
from pilothouse.errors import ValidationError

Check = Callable[[Any], bool]
"""Whether something that was read from a line is as a condition says."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<join>&&|\|\||[(),])|(?P<operator>[<>!]=|[<>=])|"(?P<phrase>(?:[^"\\]|\\.)*)"|%(?P<regex>[^%]+)%"""
    r"""|(?P<word>[^\s"%()=<>!&|,{}]+))"""
)
_ESCAPED = re.compile(r"\\(.)")
_NUMBER = re.compile(r"[+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_ORDER = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
_DEEPEST = 20  # parentheses within parentheses


class Number(str):
    """A value of a line that is compared as a number where it is held against one, else as the text that it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Token:
    """A word, a phrase (it stood in quotes), a regex, an operator, or what joins conditions."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """The tokens of a pattern without its brackets; `ValidationError` if there are others."""
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise unreadable(text[at : at + 20].strip())
        kind = str(match.lastgroup)
        written = match[kind]
        found.append(Token(kind, _ESCAPED.sub(r"\1", written) if kind == "phrase" else written))
        at = match.end()
    return found


def unreadable(where: str) -> ValidationError:
    """The refusal of a pattern that is at fault near `where`."""
    return ValidationError(
        f'Invalid filter pattern: it cannot be read at {where!r}. Write conditions such as {{ $.level = "error" }} or '
        "[ip, ..., status=4*]; values with other characters than letters and digits in quotes."
    )


class Reader:
    """Reads tokens from left to right."""

    def __init__(self, found: Sequence[Token], regexes: Regexes) -> None:
        self._tokens = list(found)
        self._regexes = regexes
        self._at = 0
        self._depth = 0

    def whole(self, single: Callable[[Reader], Check]) -> Check:
        """All that there is, as conditions each of which `single` reads."""
        check = self._either(single)
        if self._at < len(self._tokens):
            raise self._fault()
        return check

    def take(self, *kinds: str) -> Token:
        """The next token, which must be of one of `kinds`."""
        if self._at == len(self._tokens) or self._tokens[self._at].kind not in kinds:
            raise self._fault()
        self._at += 1
        return self._tokens[self._at - 1]

    def comparison(self, sign: str) -> Check:
        """Whether a value is as `sign` and the value that follows in the pattern say."""
        token = self.take("word", "phrase", "regex")
        if sign in _ORDER:
            return _ordered(sign, token)
        same = self._regexes.test(token.text) if token.kind == "regex" else _same(token)
        return same if sign == "=" else lambda value: not same(value)

    def _either(self, single: Callable[[Reader], Check]) -> Check:
        checks = [self._both(single)]
        while self._goes_on("||"):
            checks.append(self._both(single))
        return checks[0] if len(checks) == 1 else lambda value: any(check(value) for check in checks)

    def _both(self, single: Callable[[Reader], Check]) -> Check:
        checks = [self._factor(single)]
        while self._goes_on("&&"):
            checks.append(self._factor(single))
        return checks[0] if len(checks) == 1 else lambda value: all(check(value) for check in checks)

    def _factor(self, single: Callable[[Reader], Check]) -> Check:
        if not self._goes_on("("):
            return single(self)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValidationError(f"Invalid filter pattern: parentheses go {_DEEPEST} deep at most. Take some away.")
        check = self._either(single)
        if not self._goes_on(")"):
            raise self._fault()
        self._depth -= 1
        return check

    def _fault(self) -> ValidationError:
        return unreadable(self._tokens[self._at].text if self._at < len(self._tokens) else "its end")

    def _goes_on(self, join: str) -> bool:
        """Whether the next token is this one; it is then taken."""
        goes_on = self._tokens[self._at : self._at + 1] == [Token("join", join)]
        self._at += goes_on
        return goes_on


def _figure(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _ordered(sign: str, token: Token) -> Check:
    bound, compare = _figure(token.text) if token.kind == "word" else None, _ORDER[sign]
    if bound is None:
        raise ValidationError(f"Invalid filter pattern: {sign} needs a number behind it, not {token.text!r}.")

    def check(value: Any) -> bool:
        figure = _figure(value) if isinstance(value, Number) else None
        return figure is not None and bool(compare(figure, bound))

    return check


def _same(token: Token) -> Check:
    like, wanted = _like(token.text), _figure(token.text) if token.kind == "word" else None
    if wanted is None:
        return like
    return lambda value: like(value) or (isinstance(value, Number) and _figure(value) == wanted)


def _like(text: str) -> Check:
    """Whether a text is this one; a `*` at its beginning or at its end is anything."""
    if text == "*":
        return lambda _: True
    before, after, rest = text.startswith("*"), text.endswith("*"), text.removeprefix("*").removesuffix("*")
    if before and after:
        return lambda value: rest in value
    if before:
        return lambda value: value.endswith(rest)
    return (lambda value: value.startswith(rest)) if after else (lambda value: value == rest)
