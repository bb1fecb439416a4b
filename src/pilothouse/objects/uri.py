"""S3 URIs: `s3://bucket/key`, and the https forms that the SageMaker API accepts beside them."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from pilothouse.errors import ValidationError

_URI = re.compile(r"(?P<scheme>https|s3)://(?P<host>[^/?#]+)(?:/(?P<path>.*))?", re.DOTALL)
_AWS_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")


class S3Uri(NamedTuple):
    """A bucket and a key; the key is empty when the URI names the bucket alone."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def join(self, *parts: str) -> S3Uri:
        """The URI below this one, with exactly one slash between the parts."""
        pieces = [self.key.rstrip("/"), *(part.strip("/") for part in parts[:-1]), *(p.lstrip("/") for p in parts[-1:])]
        return S3Uri(self.bucket, "/".join(piece for piece in pieces if piece))


def parse(text: str) -> S3Uri:
    """The bucket and key that `text` addresses; `ValidationError` if it addresses none.

    In the s3 form the key is taken as it stands; in the https forms percent-escapes are decoded.
    """
    match = _URI.fullmatch(text)
    if match is None:
        raise ValidationError(f'Invalid S3 URI "{text}". Give it as s3://bucket/key.')
    path = match["path"] or ""
    if match["scheme"] == "s3":
        return S3Uri(match["host"], path)
    return _https(text, match["host"], unquote(path))


def _https(text: str, host: str, path: str) -> S3Uri:
    match = _AWS_HOST.fullmatch(host)
    bucket = match["bucket"] if match else None
    key = path
    if match and not bucket:
        bucket, _, key = path.partition("/")
    if not bucket:
        raise ValidationError(f'"{text}" is not the address of an S3 object. Give it as s3://bucket/key.')
    return S3Uri(bucket, key)
