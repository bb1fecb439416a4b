"""The line of a dead process's output that says why it died."""

from __future__ import annotations

from collections.abc import Sequence

_NOISE = (
    "[bt]",  # the frames below a native error of XGBoost
    "Stack trace:",
    'File "',  # faulthandler's frames, and what stands around them
    'Binary file "',
    "<no Python frame>",
    "<cannot get C stack",
    "...",
    "Current thread",
    "Thread 0x",
    "Extension modules:",
)


def telling(lines: Sequence[str]) -> str:
    """The last of `lines` that is more than a frame of a stack trace or its trimmings; "" if none is."""
    stripped = (line.strip() for line in reversed(lines))
    return next((line for line in stripped if line and not line.startswith(_NOISE)), "")
