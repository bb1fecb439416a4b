"""docs/troubleshooting.md tells of every message of the code, and of none that the code hasn't got."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
ROW = re.compile(r"^\| (`.+?) \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _generator_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def fragments() -> dict[str, re.Pattern[str]]:
    """What the first cells of the page quote, and what finds it in a message; "…" is anything."""
    quoted = [text for row in ROW.findall(PAGE.read_text()) for text in re.findall(r"`([^`]+)`", row[0])]
    return {text: re.compile(".*".join(re.escape(part) for part in text.split("…")), re.DOTALL) for text in quoted}


def test_every_message_has_an_entry() -> None:
    from docs.generate.messages import messages

    known = fragments().values()
    missing = [f"{m.where}  {m.text}" for m in messages() if not any(pattern.search(m.text) for pattern in known)]
    assert not missing, "Tell in docs/troubleshooting.md what these mean and what to do:\n" + "\n".join(missing)


def test_every_entry_has_a_message() -> None:
    from docs.generate.messages import messages

    texts = [message.text for message in messages()]
    stale = [text for text, pattern in fragments().items() if not any(pattern.search(text) for text in texts)]
    assert not stale, "No message of the code is like these in docs/troubleshooting.md:\n" + "\n".join(stale)


def test_no_entry_takes_everything() -> None:
    for text in fragments():
        assert len(re.findall(r"[A-Za-z]", text)) >= 8, text
