"""docs/troubleshooting.md tells of every message of the code, and of none that the code hasn't got."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pilothouse.errors import ModelError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
ROW = re.compile(r"^\| (`.+?) \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _generator_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def fragments() -> dict[str, re.Pattern[str]]:
    """What the first cells of the page quote, and what finds it in a message; "…" is anything."""
    return {text: pattern for row in ROW.findall(PAGE.read_text()) for text, pattern in quoted(row[0]).items()}


def quoted(cell: str) -> dict[str, re.Pattern[str]]:
    texts = re.findall(r"`([^`]+)`", cell)
    return {text: re.compile(".*".join(re.escape(part) for part in text.split("…")), re.DOTALL) for text in texts}


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


@pytest.mark.parametrize(
    "refusal",
    [
        ModelError(400, "Received data of unknown size.").message,
        ModelError(406, "Accept type 'image/png' is not supported.").message,
        "ClientError: s3://bucket/key: The model answered 400: Row 1 has 2 columns instead of 3.",
    ],
)
def test_a_call_that_a_model_refuses_is_not_taken_for_one_that_was_too_slow(refusal: str) -> None:
    cures = [
        cure
        for cell, meaning, cure in ROW.findall(PAGE.read_text())
        if "slow" in meaning and any(pattern.search(refusal) for pattern in quoted(cell).values())
    ]
    assert cures == []


def test_no_entry_takes_everything() -> None:
    for text in fragments():
        assert len(re.findall(r"[A-Za-z]", text)) >= 8, text
