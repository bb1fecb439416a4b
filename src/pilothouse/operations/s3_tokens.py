"""Where a page of an S3 listing ended, opaque to clients; and how long a page may be."""

from __future__ import annotations

import base64
import binascii

from pilothouse.errors import S3Error


def write(position: str) -> str:
    """The token that stands for a position."""
    return base64.urlsafe_b64encode(position.encode()).decode()


def read(token: str | None) -> str:
    """The position that a token stands for, "" without one; InvalidArgument if it isn't one of ours."""
    if not token:
        return ""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect.", 400) from None


def limit(asked: int | None, name: str, most: int) -> int:
    """The length of a page: what was asked for, at most `most`."""
    if asked is None:
        return most
    if asked < 0:
        raise S3Error("InvalidArgument", f"Argument {name} must be an integer between 0 and 2147483647.", 400)
    return min(asked, most)
