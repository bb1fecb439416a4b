"""Filter patterns of logs: which lines they let through."""

from __future__ import annotations

import pytest

from pilothouse.catalog import log_patterns
from pilothouse.errors import ValidationError

LINES = ["ERROR 500 in login", "ERROR 404", "INFO 200 done", 'said "hello there"']


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("", [0, 1, 2, 3]),
        ("  ", [0, 1, 2, 3]),
        ("ERROR", [0, 1]),
        ("error", []),
        ("ERROR login", [0]),
        ("ERROR -404", [0]),
        ("-ERROR", [2, 3]),
        ("?404 ?200", [1, 2]),
        ("ERROR ?200", [0, 1]),
        ('"hello there"', [3]),
        (r'"\"hello"', [3]),
        ('"500 login"', []),
        ("%[45]0[04]%", [0, 1]),
        ("ERROR -%5..%", [1]),
    ],
)
def test_a_pattern_fits_the_lines_that_it_describes(pattern: str, fitting: list[int]) -> None:
    test = log_patterns.compiled(pattern)
    assert [number for number, line in enumerate(LINES) if test(line)] == fitting


@pytest.mark.parametrize(
    "pattern", ["[a, b]", "{ $.x = 1 }", '"open', "%(%", "%open", 'a"b"', "%a% -%b% ?%c%", r"%\p{L}{500}%"]
)
def test_a_pattern_that_is_not_served_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        log_patterns.compiled(pattern)


def test_a_regex_sees_the_beginning_of_a_long_line() -> None:
    far, test = "a" * 4096, log_patterns.compiled("%needle%")
    assert test("needle" + far)
    assert not test(far + "needle")
    assert log_patterns.compiled("needle")(far + "needle")
