"""Names and ARNs: how resources are called and told apart."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

from pilothouse.errors import ValidationError

_ARN = re.compile(r"arn:[^:]+:sagemaker:[^:]+:\d{12}:(?P<kind>[a-z-]+)/(?P<name>.+)")


class ResourceName(NamedTuple):
    """What a SageMaker ARN names: the `kind` is the resource type as the ARN spells it ("automl-job")."""

    kind: str
    name: str


def name_key(name: str) -> str:
    """The form under which a name is unique: AWS compares resource names without regard to case."""
    return name.lower()


def arn(region: str, account: str, kind: str, name: str) -> str:
    """The ARN of a SageMaker resource; like the real service, the name is lower-cased in it."""
    return f"arn:aws:sagemaker:{region}:{account}:{kind}/{name.lower()}"


def parse_arn(text: str) -> ResourceName:
    """The kind and (lower-cased) name in a SageMaker ARN; `ValidationError` if it is not one."""
    match = _ARN.fullmatch(text)
    if match is None:
        raise ValidationError(f"Invalid ARN: {text}")
    return ResourceName(match["kind"], match["name"].lower())


def token(length: int = 8) -> str:
    """Random lower-case hexadecimal digits, for names that must not collide."""
    return secrets.token_hex((length + 1) // 2)[:length]


def digest(text: str, length: int = 8) -> str:
    """The first hexadecimal digits of a SHA-256, for names that must come out the same again."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def shortened(name: str, limit: int) -> str:
    """`name` cut to `limit` characters, ending in a digest of the whole when it had to be cut."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{digest(name)}"
