"""The policy in a form: what its signer lets the form's sender upload, and until when.

It is JSON in base64, `{"expiration": "2026-01-31T12:00:00Z", "conditions": [...]}`. A condition is
`{"field": "value"}`, `["eq", "$field", "value"]`, `["starts-with", "$field", "beginning"]` or
`["content-length-range", least, most]`.
Source: AWS's "POST policy" in the S3 API reference.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pilothouse.errors import S3Error

_EXEMPT = ("policy", "x-amz-signature", "file")
_IGNORED = "x-ignore-"
_EXACT, _BEGINNING, _SIZE = "eq", "starts-with", "content-length-range"


@dataclass(frozen=True)
class _Condition:
    how: str
    field: str
    value: str
    said: str
    """The condition as S3 tells it."""

    def holds(self, fields: Mapping[str, str]) -> bool:
        given = fields.get(self.field, "")
        if self.how == _EXACT:
            return given == self.value
        several = given.split(",") if self.field == "content-type" else [given]
        return all(item.strip().startswith(self.value) for item in several)


@dataclass(frozen=True)
class Policy:
    """A policy that was read; `least` and `most` bound the file's size in bytes."""

    expiration: datetime
    conditions: tuple[_Condition, ...]
    least: int = 0
    most: int | None = None

    def check(self, fields: Mapping[str, str], now: datetime) -> None:
        """AccessDenied unless the policy allows all of `fields`, by names in lower case, now."""
        if self.expiration <= now:
            raise _denied("Policy expired.")
        for condition in self.conditions:
            if not condition.holds(fields):
                raise _denied(f"Policy Condition failed: {condition.said}")
        named = {condition.field for condition in self.conditions}
        extra = [name for name in fields if name not in {*named, *_EXEMPT} and not name.startswith(_IGNORED)]
        if extra:
            raise _denied(f"Extra input fields: {', '.join(extra)}")


def read(text: str) -> Policy:
    """The policy in a form's field; InvalidPolicyDocument if it is none."""
    try:
        document = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):  # bad UTF-8 and bad JSON are ValueErrors
        raise _invalid("it is not JSON in base64.") from None
    if not isinstance(document, dict) or not isinstance(document.get("conditions"), list):
        raise _invalid("it needs an expiration and a list of conditions.")
    sizes = [condition for condition in document["conditions"] if _is_size(condition)]
    others = [condition for condition in document["conditions"] if not _is_size(condition)]
    spans = [_span(condition) for condition in sizes]
    return Policy(
        _moment(document.get("expiration")),
        tuple(one for condition in others for one in _conditions(condition)),
        max((least for least, _ in spans), default=0),
        min((most for _, most in spans), default=None),
    )


def _conditions(condition: Any) -> Iterator[_Condition]:
    if isinstance(condition, dict) and all(isinstance(value, str) for value in condition.values()):
        for name, value in condition.items():
            yield _Condition("eq", name.lower(), value, json.dumps([_EXACT, f"${name}", value], ensure_ascii=False))
        return
    texts = isinstance(condition, list) and len(condition) == 3 and all(isinstance(item, str) for item in condition)
    how = condition[0].lower() if texts else ""
    if how not in (_EXACT, _BEGINNING) or not condition[1].startswith("$"):
        raise _invalid(f"a condition is of no form that S3 has: {json.dumps(condition)[:200]}")
    said = json.dumps(condition, ensure_ascii=False)
    yield _Condition(how, condition[1][1:].lower(), condition[2], said)


def _is_size(condition: Any) -> bool:
    return isinstance(condition, list) and bool(condition) and condition[0] == _SIZE


def _span(condition: list[Any]) -> tuple[int, int]:
    try:
        _, least, most = condition
        return int(least), int(most)
    except (TypeError, ValueError, OverflowError):
        raise _invalid(f"a condition is of no form that S3 has: {json.dumps(condition)[:200]}") from None


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise _invalid("its expiration must be a time such as 2026-01-31T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _invalid(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}", 400)


def _denied(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}", 403)
