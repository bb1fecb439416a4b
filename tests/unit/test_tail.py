"""The output of model servers on its way to their logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.errors import StoreAway
from pilothouse.hosting.tail import Tail


def test_lines_wait_for_a_store_that_is_away_and_come_once(tmp_path: Path) -> None:
    shipped: list[str] = []
    away = True

    def ship(lines: list[str]) -> None:
        if away:
            raise StoreAway
        shipped.extend(lines)

    log = tmp_path / "log"
    log.write_text("first\nsecond\nthi")
    tail = Tail(log, ship)
    tail.follow()
    with pytest.raises(StoreAway):
        tail.finish()
    assert (shipped, tail.last) == ([], "thi")
    away = False
    tail.follow()
    assert shipped == ["first", "second"]
    tail.finish()
    tail.finish()
    assert shipped == ["first", "second", "thi"]
