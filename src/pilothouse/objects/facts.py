"""What is known of a stored object beside its bytes, as the JSON behind them (see `stored`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse import clock
from pilothouse.objects import tree
from pilothouse.objects.base import Attributes, Encryption, ObjectInfo, Part
from pilothouse.objects.envelope import encryption_of
from pilothouse.objects.refusals import DamagedError, no_such_key, precondition_failed
from pilothouse.objects.stored import facts_of

_DEFAULT_TYPE = "binary/octet-stream"

Facts = dict[str, Any]


def of_new(attributes: Attributes, etag: str, checksums: Mapping[str, str]) -> Facts:
    """The facts of an object that is written now."""
    return {
        "etag": etag,
        "type": attributes.content_type or _DEFAULT_TYPE,
        "meta": dict(attributes.metadata),
        "headers": dict(attributes.headers),
        "tags": dict(attributes.tags),
        "sums": dict(checksums),
        "at": clock.now(),
    }


def of_completed(upload_id: str, parts: Sequence[Part], algorithm: str | None) -> Facts:
    """The facts that an object has only if it came in parts."""
    rows = [(part.number, part.size, part.checksums.get(algorithm or "")) for part in parts]
    return {"upload": upload_id, "parts": rows}


def info(bucket: str, key: str, facts: Facts, size: int) -> ObjectInfo:
    """The facts as the store tells them."""
    return ObjectInfo(
        bucket,
        key,
        size,
        facts["etag"],
        facts["at"],
        facts["type"],
        facts["meta"],
        facts["sums"],
        facts["headers"],
        len(facts.get("tags", ())),
        _encryption(key, facts),
    )


def _encryption(key: str, facts: Facts) -> Encryption | None:
    try:
        return encryption_of(facts)
    except (KeyError, TypeError):
        raise DamagedError(key) from None


def parts(facts: Facts) -> list[Part]:
    """The parts that the object was made of; their ETags are forgotten."""
    return [
        Part(number, size, "", facts["at"], dict.fromkeys(facts["sums"], value) if value else {})
        for number, size, value in facts.get("parts", ())
    ]


def listed(bucket: str, found: tree.Found) -> ObjectInfo | None:
    """What a listing tells of a file: None if it was deleted meanwhile, or is not one of this store."""
    try:
        return info(bucket, found.key.decode(), *facts_of(found.path))
    except (FileNotFoundError, DamagedError, UnicodeDecodeError):
        return None


def check_match(path: Path | str, key: str, etag: str | None) -> None:
    """NoSuchKey or PreconditionFailed unless the object there has this ETag ("*" is any, None asks for nothing)."""
    if etag is None:
        return
    try:
        found = facts_of(path)[0]["etag"]
    except FileNotFoundError:
        raise no_such_key(key) from None
    if etag not in ("*", found):
        raise precondition_failed("If-Match")
