"""Filter patterns for lines of fields between spaces: `[ip, user, ..., status=4*, size>1000]`.

A field is a word, or what stands between brackets or quotes. A line must have as many as the pattern; an ellipsis
stands for any number of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pilothouse.catalog.log_patterns.conditions import Check, Number, Reader, Token, tokens, unreadable
from pilothouse.catalog.log_patterns.regexes import Regexes
from pilothouse.errors import ValidationError

_NAME = re.compile(r"[A-Za-z0-9_$-]+")
_FIRST, _SPACE = re.compile(r"\S"), re.compile(r"\s")
_CLOSING = {"[": "]", '"': '"'}
_ELLIPSIS, _COMMA = Token("word", "..."), Token("join", ",")


def test(text: str, regexes: Regexes) -> Callable[[str], bool]:
    """Whether a line has the fields of `text`, the pattern without its brackets; `ValidationError` if it is none."""
    groups = _groups(tokens(text))
    ellipses = [place for place, group in enumerate(groups) if group == [_ELLIPSIS]]
    if len(ellipses) > 1:
        raise ValidationError("Invalid filter pattern: it can have one ellipsis. Name the fields between the two.")
    checks = [None if group in ([], [_ELLIPSIS]) else _field(group, regexes) for group in groups]
    if not ellipses:
        return lambda line: len(found := _split(line)) == len(checks) and _fit(checks, found)
    before, after = checks[: ellipses[0]], checks[ellipses[0] + 1 :]

    def fits(line: str) -> bool:
        found = _split(line)
        rest = len(found) - len(after)
        return rest >= len(before) and _fit(before, found) and _fit(after, found[rest:])

    return fits


def _groups(found: list[Token]) -> list[list[Token]]:
    """The tokens of each field."""
    if not found:
        raise unreadable("[]")
    groups: list[list[Token]] = [[]]
    for token in found:
        if token == _COMMA:
            groups.append([])
        else:
            groups[-1].append(token)
    return groups


def _field(group: list[Token], regexes: Regexes) -> Check | None:
    """What a field must be; None if anything will do."""
    names: set[str] = set()

    def condition(reader: Reader) -> Check:
        names.add(_name(reader.take("word")))
        if len(names) > 1:
            raise ValidationError(
                f"Invalid filter pattern: {' and '.join(sorted(names))} cannot be one field. Put a comma between them."
            )
        return reader.comparison(reader.take("operator").text)

    if len(group) == 1:
        _name(group[0])
        return None
    return Reader(group, regexes).whole(condition)


def _name(token: Token) -> str:
    if token.kind != "word" or not _NAME.fullmatch(token.text):
        raise unreadable(token.text)
    return token.text


def _fit(checks: list[Check | None], found: list[str]) -> bool:
    return all(check is None or check(Number(field)) for check, field in zip(checks, found, strict=False))


def _split(line: str) -> list[str]:
    """The fields of a line, from left to right, in time linear in it."""
    found, at, closing = [], 0, dict(_CLOSING)
    while start := _FIRST.search(line, at):
        begin = start.start()
        close = closing.get(line[begin])
        end = line.find(close, begin + 1) if close else -1
        if end >= 0:
            found.append(line[begin + 1 : end])
            at = end + 1
        else:
            closing.pop(line[begin], None)  # nothing closes it, nor a later one
            space = _SPACE.search(line, begin)
            at = space.start() if space else len(line)
            found.append(line[begin:at])
    return found
