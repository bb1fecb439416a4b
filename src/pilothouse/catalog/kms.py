"""KMS keys: which of them a job's request names for what it leaves in S3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OUTPUTS = ("OutputDataConfig", "TransformOutput")


def of_output(request: Mapping[str, Any]) -> str | None:
    """The key for the output of a job with this create request; None if it names none, or "" as Describe gives it."""
    keys = (request.get(member, {}).get("KmsKeyId") for member in _OUTPUTS)
    return next((key for key in keys if key), None)
