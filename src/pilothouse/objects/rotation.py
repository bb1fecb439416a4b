"""Another master key for what is stored: each envelope that was closed under an older one is closed anew.

The data keys and so the encrypted content stay as they are. Each object is a step of its own, durable when it is done:
a rotation that was cut off goes on where it was, and objects may be read and written meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.errors import S3Error
from pilothouse.objects.directory import DirectoryObjects

_GONE = ("NoSuchKey", "NoSuchBucket")


class Rotated(NamedTuple):
    """How many objects are encrypted, how many of them got a new envelope, and why others could not.

    `parts` are those of unfinished uploads that are under an older key; completing one puts it under the newest.
    """

    encrypted: int
    wrapped: int
    parts: int
    failures: list[str]


def rewrap(objects: DirectoryObjects) -> Rotated:
    """Puts the data keys of all objects under the newest master key."""
    encrypted = wrapped = parts = 0
    failures: list[str] = []
    for bucket in objects.buckets():
        for info in objects.walk(bucket.name):
            if info.encryption is None:
                continue
            encrypted += 1
            try:
                wrapped += objects.rewrap(info.bucket, info.key)
            except S3Error as error:
                if error.code in _GONE:
                    encrypted -= 1
                else:
                    failures.append(f"s3://{info.bucket}/{info.key}: {error.message}")
        parts += objects.parts_under_older_keys(bucket.name)
    return Rotated(encrypted, wrapped, parts, failures)
