"""Checksums of a stream: the MD5 that makes the ETag, and those that S3 clients send beside it.

CRC32, SHA1 and SHA256 are computed and verified. CRC32C, CRC64NVME and others need native code that the base install
does not carry: a client may send them, and they are neither verified, nor kept, nor claimed in an answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pilothouse.errors import S3Error

CONTENT_MD5 = "Content-MD5"


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _md5() -> _Hash:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> _Hash:
    return hashlib.sha1(usedforsecurity=False)


_ALGORITHMS: dict[str, Callable[[], _Hash]] = {"CRC32": _Crc32, "SHA1": _sha1, "SHA256": hashlib.sha256}


def supported(algorithm: str) -> bool:
    """Whether this installation can compute `algorithm`."""
    return algorithm in _ALGORITHMS


class Digests:
    """Several checksums of one stream, fed together."""

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._md5 = _md5()
        self._others = {name: _ALGORITHMS[name]() for name in algorithms if name in _ALGORITHMS}

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._md5.update(data)
        for other in self._others.values():
            other.update(data)

    @property
    def md5(self) -> str:
        """The MD5 in hexadecimal."""
        return self._md5.digest().hex()

    def values(self) -> dict[str, str]:
        """The other checksums, in base64."""
        return {name: _base64(other.digest()) for name, other in self._others.items()}

    def verify(self, expected: Mapping[str, str | None]) -> None:
        """BadDigest if a value in `expected` is not what was computed; unsupported algorithms pass."""
        actual = {**self.values(), CONTENT_MD5: _base64(self._md5.digest())}
        for name, value in expected.items():
            if value is not None and name in actual and actual[name] != value:
                raise S3Error("BadDigest", f"The {name} you specified did not match the calculated checksum.", 400)


def composite_etag(etags: Iterable[str]) -> str:
    """The ETag of an object made of parts with these ETags."""
    raw = [bytes.fromhex(etag) for etag in etags]
    digest = _md5()
    digest.update(b"".join(raw))
    return f"{digest.digest().hex()}-{len(raw)}"


def composite(algorithm: str, values: Iterable[str]) -> str:
    """The checksum of checksums of parts whose own are `values`."""
    raw = [base64.b64decode(value) for value in values]
    digest = _ALGORITHMS[algorithm]()
    digest.update(b"".join(raw))
    return f"{_base64(digest.digest())}-{len(raw)}"


def check_md5(value: str) -> str:
    """`value` if it is an MD5 in base64; S3's InvalidDigest if not."""
    try:
        valid = len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.", 400)
    return value


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
