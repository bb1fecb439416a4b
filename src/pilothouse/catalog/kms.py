"""KMS keys: what names one, and which of them a request names for what it leaves in S3, and for its volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OF_S3 = "alias/aws/s3"
"""The key that S3 takes when it is told to use one and not which."""

_OUTPUTS = ("OutputDataConfig", "TransformOutput")
_VOLUMES = ("ResourceConfig", "HyperParameterTuningResourceConfig", "TransformResources", "SecurityConfig")
_KEY = re.compile(r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key/[\w-]+|alias/[\w/-]+)|alias/[\w/-]+|[\w-]+)", re.ASCII)
_LONGEST = 2048


def of_output(request: Mapping[str, Any]) -> str | None:
    """The key for the output of a job with this create request; None if it names none, or "" as Describe gives it."""
    keys = (request.get(member, {}).get("KmsKeyId") for member in _OUTPUTS)
    return next((key for key in keys if key), None)


def of_volume(request: Mapping[str, Any]) -> str | None:
    """The key for the volumes of a job or an endpoint configuration with this create request, or the first of several.

    None if it names none, or "".
    """
    inner = ("AutoMLJobConfig", "TrainingJobDefinition")
    parts = [request, *(request.get(member, {}) for member in inner), *request.get("TrainingJobDefinitions", ())]
    keys = [part.get(member, {}).get("VolumeKmsKeyId") for part in parts for member in _VOLUMES]
    return next((key for key in (request.get("KmsKeyId"), *keys) if key), None)


def names_key(text: str) -> bool:
    """Whether `text` has the form of what names a key: its id or ARN, or an alias or the ARN of one."""
    return len(text) <= _LONGEST and _KEY.fullmatch(text) is not None


def arn(key: str, region: str, account: str) -> str:
    """The ARN of what `key`, of one of these forms, names. An alias leads to itself: there is no KMS to ask."""
    if key.startswith("arn:"):
        return key
    return f"arn:aws:kms:{region}:{account}:{key if key.startswith('alias/') else f'key/{key}'}"
