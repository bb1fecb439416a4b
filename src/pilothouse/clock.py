"""The time, as epoch seconds with a fraction, which is how the wire and the tables carry it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> float:
    """The current time in seconds since the epoch, to the millisecond as AWS reports it."""
    return round(time.time(), 3)


def iso(seconds: float) -> str:
    """`seconds` since the epoch as an ISO 8601 instant in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 instant, in UTC unless it says otherwise; `ValueError` if it is none."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
