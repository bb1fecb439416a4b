"""Missing markers: the texts that stand for "no value" in a feature column."""

from __future__ import annotations

MISSING = frozenset(
    {"", "na", "n/a", "n.a.", "nan", "nat", "null", "none", "nil", "?", "-", "--", ".", "#n/a", "<na>", "<null>", "\\n"}
)
"""Compared after surrounding blanks are cut and letters are lower-cased."""


def is_missing(text: str) -> bool:
    """Whether a feature's value says that there is none."""
    return text.strip().lower() in MISSING
