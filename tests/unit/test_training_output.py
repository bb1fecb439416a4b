"""A program's output on its way into the log: lines, bounds, and the events file between two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.contract import output
from pilothouse.contract.output import Allowance, Lines
from pilothouse.contract.scrape import Point
from pilothouse.training import events
from pilothouse.training.events import EventReader, EventWriter


def fed(*chunks: bytes) -> bytes:
    lines = Lines()
    return b"".join([*(lines.feed(chunk) for chunk in chunks), lines.rest()])


def test_lines_come_whole_however_they_arrive() -> None:
    assert fed(b"a", b"b\nc", b"\n", b"d") == b"ab\nc\nd\n"


def test_a_carriage_return_ends_a_line_too() -> None:
    assert fed(b"10%\r20%\rdone\r\n") == b"10%\n20%\ndone\n"


def test_an_endless_line_is_cut_and_what_follows_is_read() -> None:
    chunks = [b"x" * 10_000] * 100
    text = fed(b"first\n", *chunks, b"y\nlast\n")
    assert text.startswith(b"first\nxxx")
    assert text.endswith(b"\nlast\n")
    assert len(text) < output.LONGEST_LINE + 200


def test_few_lines_are_all_logged() -> None:
    allowance = Allowance(0.0)
    assert list(allowance.take(b"a\n\nb\n", 0.0)) == ["a", "b"]
    assert list(allowance.rest()) == []


def test_too_many_lines_are_counted_and_the_last_are_kept() -> None:
    allowance = Allowance(0.0)
    logged: list[str] = []
    block = b"".join(b"%07d" % i + b"x" * 92 + b"\n" for i in range(1000))
    for _ in range(200):
        logged += allowance.take(block, 1.0)
    rest = list(allowance.rest())
    assert sum(len(line) + output.LINE_COST for line in logged) <= output.BURST
    assert len(logged) > 40_000
    assert rest[0].startswith(f"… {200_000 - len(logged)} lines are left out")
    assert rest[-1].startswith("0000999x")
    assert sum(len(line) for line in rest) < output.TAIL + 200


def test_logging_goes_on_once_there_is_room_again() -> None:
    allowance = Allowance(0.0)
    flood = b"x" * 999 + b"\n"
    for _ in range(10_000):
        list(allowance.take(flood, 0.0))
    assert list(allowance.take(b"soon\n", 1.0)) == []
    later = list(allowance.take(b"later\n", 100.0))
    assert "lines are left out" in later[0]
    assert later[1:] == ["later"]


def test_text_that_is_no_utf8_is_logged_all_the_same() -> None:
    assert list(Allowance(0.0).take(b"caf\xe9\n", 0.0)) == ["caf\N{REPLACEMENT CHARACTER}"]


def test_events_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.lines(["one", "two"], 1.0)
    writer.points([Point("loss", 0.5), Point("loss", float("nan"))], 1.5)
    writer.flush()
    reader = EventReader(path)
    batch = reader.read()
    assert batch.lines == [(1.0, "one"), (1.0, "two")]
    assert batch.points[0] == ("loss", 0.5, 1.5)
    assert batch.points[1][1] != batch.points[1][1]
    writer.lines(["three"], 2.0)
    writer.close()
    assert reader.read().lines == [(2.0, "three")]
    assert reader.read().lines == []


def test_half_an_event_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('[1.0, "a"]\n[2.0,')
    reader = EventReader(path)
    assert reader.read().lines == [(1.0, "a")]
    with path.open("a") as stream:
        stream.write(' "b"]\n')
    assert reader.read().lines == [(2.0, "b")]


def test_no_events_are_no_error(tmp_path: Path) -> None:
    assert EventReader(tmp_path / "none").read().lines == []


def test_endless_points_are_thinned_but_the_last_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "VERBATIM", 5)
    writer = EventWriter(tmp_path / "e")
    for i in range(100):
        writer.points([Point("loss", float(i))], i / 100)
    writer.close()
    values = [value for _, value, _ in EventReader(tmp_path / "e").read().points]
    assert values[:5] == [0, 1, 2, 3, 4]
    assert values[-1] == 99
    assert len(values) == 6
