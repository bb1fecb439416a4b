"""Instance types, which are names here: what runs is this machine."""

from __future__ import annotations

import re

_WITH_GPUS = re.compile(r"ml\.(?:gr?|p)\d")


def has_gpus(instance_type: str) -> bool:
    """Whether AWS's instances of this type have GPUs of NVIDIA."""
    return _WITH_GPUS.match(instance_type) is not None
