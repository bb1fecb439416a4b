"""Filter patterns of logs: which lines they let through."""

from __future__ import annotations

import json
import re

import pytest

from pilothouse.catalog.log_patterns import json_lines
from pilothouse.catalog.log_patterns import pattern as log_patterns
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


EVENT = {
    "eventType": "UpdateTrail",
    "address": "111.111.111.111",
    "latency": 512.5,
    "code": 400,
    "text code": "400",
    "id": 9007199254740993,
    "empty": "",
    "words": ["value", "another value"],
    "objects": [{"name": "a", "id": 1}, {"name": "b", "id": 2}, {"name": "c", "tags": ["x", "y"]}],
    "grid": [[0, 1, 2], [4, 5, 6]],
    "nothing": None,
    "flag": True,
    "off": False,
    "user": {"id": 1, "e-mail": "John.Stiles@example.com", "path": "a*b"},
}


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ('$.eventType = "UpdateTrail"', True),
        ("$.eventType=UpdateTrail", True),
        ("$.eventType = updateTrail", False),
        ("$.eventType = Update*", True),
        ('$.eventType = "*Trail"', True),
        ("$.eventType = *dateT*", True),
        ("$.eventType = *x*", False),
        ("$.user.path = a*b", True),
        ("$.eventType = Up*il", False),
        ('$.empty = ""', True),
        ("$.empty = *", True),
        ("$.address != 123.123.*", True),
        ("$.address != 111.111.*", False),
        ("$.address = %^1{3}[.]%", True),
        ("$.address != %^1{3}[.]%", False),
        ("$.code = 400", True),
        ("$.code = 400.0", True),
        ("$.code = 4*", True),
        ('$.code = "400"', True),
        ("$.code != 4e2", False),
        ("$.code >= 400 && $.code <= 4e+2", True),
        ("$.latency > +512", True),
        ("$.latency < 512.5", False),
        ("$.latency = *", True),
        ("$.eventType > 3", False),
        ("$.id = 9007199254740993", True),
        ("$.id = 9007199254740992", False),
        ('$.user.e-mail = "*@example.com"', True),
        ('$.words[0] = "value"', True),
        ('$.words[1] = "value"', False),
        ("$.words[9] = *", False),
        ('$.words[*] = "another value"', True),
        ("$.objects[1].id = 2", True),
        ("$.objects[*].id > 1", True),
        ("$.objects[*].id > 2", False),
        ("$.objects[*].tags[*] = y", True),
        ("$.grid[1][2] = 6", True),
        ("$.words = value", False),
        ("$.words != value", False),
        ("$.missing != value", False),
        ("$.nothing = *", False),
        ("$.nothing IS NULL", True),
        ("$.missing IS NULL", False),
        ("$.flag IS TRUE", True),
        ("$.flag IS FALSE", False),
        ("$.off IS FALSE", True),
        ("$.flag = true", True),
        ("$.code IS TRUE", False),
        ("$.missing NOT EXISTS", True),
        ("$.nothing NOT EXISTS", False),
        ("$.user.id.deeper NOT EXISTS", True),
        ("$.objects[*].size NOT EXISTS", True),
        ('($.user.id = 1) && ($.objects[0].name = "a")', True),
        ("($.user.id = 2 && $.code = 400) || $.words[1] = GET", False),
        ("$.user.id = 1 || $.code = 1 && $.latency = 1", True),
        ("($.user.id = 1 || $.code = 1) && $.latency = 1", False),
    ],
)
def test_a_pattern_for_json_holds_what_selectors_lead_to_against_values(pattern: str, fits: bool) -> None:
    assert log_patterns.compiled(f"{{ {pattern} }}")(json.dumps(EVENT)) is fits


@pytest.mark.parametrize("line", ["", "no JSON", "{open", '["a"]', '"a"', '{"a": NaN', '{"a":' * 6_000, "{}"])
def test_a_line_that_is_no_json_object_or_has_no_such_member_fits_no_comparison(line: str) -> None:
    assert not log_patterns.compiled("{ $.a = * || $.a != 3 }")(line)
    assert log_patterns.compiled("{ $.a NOT EXISTS }")(line) == (line == "{}")


def test_a_long_line_counts_as_no_json() -> None:
    longest, test = 32 << 10, log_patterns.compiled("{ $.a = 1 }")
    assert test('{"a": 1}'.ljust(longest))
    assert not test('{"a": 1}'.ljust(longest + 1))


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("$.a[*] = 99 || $.b = 1", True),
        ("$.a[*] = 99 || $.a[*] = 98 || $.b = 1", False),
        ("$.b = 1 || $.a[*] = 99 || $.a[*] = 98", True),
        ("$.a[*] = 99 || $.a[*] = 98 || $.c NOT EXISTS", False),
        ("$.a[*] = 0 && $.a[*] = 0 && $.a[*] != 99", True),
    ],
)
def test_the_conditions_on_a_line_look_at_so_many_nodes_together(pattern: str, fits: bool) -> None:
    """Two looks at a list of 6,000 elements are more than a line has; what would come behind them no longer counts."""
    line = json.dumps({"a": [0] * 6_000, "b": 1})
    assert log_patterns.compiled(f"{{ {pattern} }}")(line) is fits


def test_an_unfavourable_pattern_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(json_lines, "_holds", lambda _, node: bool(looks.append(node)))
    pattern = " || ".join(["$.a[*][*] = 99"] * 50)
    line = json.dumps({"a": [[0] * 100] * 100}, separators=(",", ":"))
    assert not log_patterns.compiled(f"{{ {pattern} }}")(line)
    assert 5_000 < len(looks) < 10_000


ACCESS = [
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534',
    '127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /index.html HTTP/1.0" 404 5324',
    '10.0.0.1 - anna [10/Oct/2000:13:50:35 -0700] "POST /index.html HTTP/1.0" 403 43',
    "ERROR disk [full",
]
NAMES = "ip, user, username, timestamp, request"


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        (f"[{NAMES}, status_code, bytes]", [0, 1, 2]),
        (f"[{NAMES}, status_code, bytes > 1000]", [0, 1]),
        (f"[{NAMES}, status_code = 4*, bytes]", [1, 2]),
        (f"[{NAMES}, status_code = 4* && status_code != 403, bytes]", [1]),
        (f"[{NAMES}, status_code = 200 || (status_code=403), bytes<=43.0]", [2]),
        (f"[{NAMES} = *html*, status_code, bytes]", [1, 2]),
        ("[..., request=*.html*, status_code=4*,]", [1, 2]),
        ("[..., bytes]", [0, 1, 2, 3]),
        ("[ip, user, username = frank, ...]", [0, 1]),
        ("[ip=%^10[.]%, ..., bytes < 100]", [2]),
        ('[,, , timestamp="10/Oct/2000:13:25*", ...]', [0]),
        ("[level=ERROR, ...]", [3]),
        ("[level, what, detail]", [3]),
        ('[level, what, detail="[full"]', [3]),
        ("[a, b, c, d, e, f, g, ..., h]", []),
        ("[...]", [0, 1, 2, 3]),
        ("[only]", []),
    ],
)
def test_a_pattern_for_fields_holds_them_against_values_by_their_place(pattern: str, fitting: list[int]) -> None:
    test = log_patterns.compiled(pattern)
    assert [number for number, line in enumerate(ACCESS) if test(line)] == fitting


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ('"open', "cannot be read from"),
        ("%(%", "cannot be used"),
        ("%open", "cannot be read from"),
        ('a"b"', "cannot be read from"),
        ("%a% -%b% ?%c%", "2 regexes at most"),
        (r"%\p{L}{500}%", "cannot be used"),
        ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'."),
        ("[", "If a filter pattern starts with '[' it must end with ']'."),
        ("{ }", "at 'its end'"),
        ("{ $.a }", "at 'its end'"),
        ("{ $.a = }", "at 'its end'"),
        ("{ a = 1 }", "at 'a'"),
        ("{ $ = 1 }", "at '$'"),
        ("{ $.a[x] = 1 }", "at '$.a[x]'"),
        ("{ $.a = 1 $.b = 2 }", "at '$.b'"),
        ("{ $.a = 1 & $.b = 2 }", "at '& $.b = 2'"),
        ("{ ($.a = 1 }", "at 'its end'"),
        ("{ $.a = 1) }", "at ')'"),
        ("{ $.a IS OPEN }", "at 'IS OPEN'"),
        ("{ $.a > b }", "> needs a number behind it, not 'b'"),
        ('{ $.a > "1" }', "> needs a number behind it, not '1'"),
        ("{ $.a = %a% || $.a = %b% || $.a = %c% }", "2 regexes at most"),
        ("{" + "(" * 21 + "$.a = 1" + ")" * 21 + "}", "20 deep at most"),
        ("[]", "at '[]'"),
        ("[a b]", "at 'b'"),
        ("[a = 1 && b = 2]", "a and b cannot be one field"),
        ("[..., a, ...]", "it can have one ellipsis"),
        ("[a=%(%]", "cannot be used"),
    ],
)
def test_a_pattern_that_is_none_is_refused(pattern: str, part: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(part)):
        log_patterns.compiled(pattern)


def test_a_regex_sees_the_beginning_of_a_long_line() -> None:
    far, test = "a" * 4096, log_patterns.compiled("%needle%")
    assert test("needle" + far)
    assert not test(far + "needle")
    assert log_patterns.compiled("needle")(far + "needle")


@pytest.mark.parametrize("unit", ["[", '"', "[a]", "[ ", "a ", '[a]"'])
def test_a_long_line_is_split_in_time_linear_in_it(unit: str) -> None:
    """A quadratic way would take hours."""
    assert not log_patterns.compiled("[a, b]")(unit * 300_000)
