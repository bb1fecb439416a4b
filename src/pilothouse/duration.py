"""Durations as people write them."""

from __future__ import annotations

import re

from pilothouse.errors import ConfigurationError

_UNITS = (86_400, 3_600, 60, 1)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def seconds(duration: str | float) -> int:
    """The whole seconds in a number of seconds, or in a text such as "90s", "10m", "1h30m".

    `ConfigurationError` if it is neither, or less than one second.
    """
    total = _parsed(duration.strip().lower()) if isinstance(duration, str) else int(duration)
    if total < 1:
        raise ConfigurationError(f"{duration!r} is not a duration. Write it as 90s, 10m or 1h30m.")
    return total


def _parsed(text: str) -> int:
    match = _DURATION.fullmatch(text)
    parts = match.groups(default="0") if match else ()
    return sum(int(part) * unit for part, unit in zip(parts, _UNITS, strict=False))
