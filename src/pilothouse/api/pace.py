"""Whether a client who sends a body may go on keeping a thread, which others may be waiting for."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.errors import RequestTimeout

LEAST = 8 << 10
"""Bytes a second that a body must come with while others wait for its thread."""

WINDOW = 30.0
"""Seconds of waiting for a client over which its pace is taken; less if the bytes that it asks for come sooner."""


class Pace:
    """The pace of one body: bytes a second of the time that its reader has waited for the client, and not for the disk.

    A slow body is nobody's business as long as `crowded` says that there are threads for all.
    """

    def __init__(self, crowded: Callable[[], bool]) -> None:
        self._crowded = crowded
        self._seconds, self._bytes = 0.0, 0
        self._slow = False

    def add(self, seconds: float, count: int) -> None:
        """Take note of `seconds` waited and of `count` bytes come; `RequestTimeout` if the client must make room."""
        self._seconds += seconds
        self._bytes += count
        if self._seconds >= WINDOW or self._bytes >= LEAST * WINDOW:
            self._slow = self._bytes < LEAST * self._seconds
            self._seconds, self._bytes = 0.0, 0
        if self._slow and self._crowded():
            raise RequestTimeout(
                f"Less than {LEAST} bytes of the request body arrived in a second, while others waited. "
                "Send the request again."
            )
