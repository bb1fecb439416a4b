"""Files of the repository that pages show: the block after `<!-- examples/… -->` is that file, whole."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PLACE = re.compile(r"(<!-- (examples/[\w./-]+) -->\n```\w+\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)


def pages() -> dict[Path, str]:
    """The text that each page of docs/ which shows files should have."""
    found = {page: page.read_text() for page in sorted(ROOT.glob("docs/**/*.md"))}
    return {page: _PLACE.sub(_filled, text) for page, text in found.items() if _PLACE.search(text)}


def _filled(match: re.Match[str]) -> str:
    return match[1] + (ROOT / match[2]).read_text() + match[4]
