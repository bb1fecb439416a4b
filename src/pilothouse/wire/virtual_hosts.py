"""Virtual-hosted addresses of S3: the bucket stands in the host's name, http://bucket.NAME/key."""

from __future__ import annotations

import re
from functools import lru_cache

_PORT = re.compile(r"(?<=[^:]):\d+$")

LOCAL = "localhost"
"""The name that every server has: systems resolve what ends in it to the machine itself (RFC 6761)."""


@lru_cache(maxsize=1024)
def bucket_of(host: str, names: tuple[str, ...]) -> str:
    """The bucket in front of one of the server's own `names`, in lower case, in a Host header; "" if there is none.

    A name of the server itself holds no bucket, even if it ends in another one.
    """
    asked = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    asked = asked.lower().removesuffix(".")
    if asked in names:
        return ""
    behind = [name for name in names if asked.endswith(f".{name}")]
    return asked.removesuffix(f".{max(behind, key=len)}") if behind else ""


@lru_cache(maxsize=16)
def own_names(host: str, further: str) -> tuple[str, ...]:
    """The server's names: localhost, the `host` that it listens on if that is a name, and those listed in `further`."""
    listed = [_PORT.sub("", name.strip().lower()) for name in (host, *further.split(","))]
    return tuple(dict.fromkeys([LOCAL, *(name for name in listed if name and not _is_address(name))]))


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
