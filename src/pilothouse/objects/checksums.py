"""Checksums of a stream: the MD5 that makes the ETag, and those that S3 clients send beside it."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, reduce
from typing import Protocol

import xxhash

from pilothouse.errors import S3Error
from pilothouse.objects import crc

CONTENT_MD5 = "Content-MD5"

_WORTH_A_THREAD = 128 << 10
"""Bytes of a piece that take longer to hash than to hand over."""

_AHEAD = 4
"""Pieces that wait for a thread at most."""

_shares = threading.Semaphore(len(os.sched_getaffinity(0)) // 2)
"""How many streams may have a thread hash beside them: more would only get in each other's way."""


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


class Beside:
    """A hash that a thread of its own computes, as long as the machine has processors to spare for that.

    The pieces must not change until `digest`. A small piece, one that finds all threads taken by other streams, and one
    for which no thread can be had, are hashed by the caller.
    """

    def __init__(self, hash_: _Hash) -> None:
        self._hash = hash_
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: deque[Future[None]] = deque()
        self._left = 0  # pieces that the thread has not hashed yet; while there are any, this stream has a share
        self._counting = threading.Lock()

    def update(self, data: bytes, /) -> None:
        """Take the next bytes; waits while too many are ahead."""
        self._settle(_AHEAD - 1)
        if len(data) < _WORTH_A_THREAD or not self._handed_over(data):
            self._settle(0)
            self._hash.update(data)

    def digest(self) -> bytes:
        """The hash of all that has been taken."""
        self._settle(0)
        return self._hash.digest()

    def _handed_over(self, data: bytes) -> bool:
        with self._counting:
            if not self._left and not _shares.acquire(blocking=False):
                return False
            self._left += 1
        try:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "hash")
            self._ahead.append(self._thread.submit(self._hashed, data))
        except RuntimeError:  # no thread left, or the interpreter is on its way out
            self._thread = None  # or one that it gets later would hash this piece too
            self._done()
            return False
        return True

    def _hashed(self, data: bytes) -> None:
        try:
            self._hash.update(data)
        finally:
            self._done()

    def _done(self) -> None:
        with self._counting:
            self._left -= 1
            if not self._left:
                _shares.release()

    def _settle(self, most: int) -> None:
        while len(self._ahead) > most:
            self._ahead.popleft().result()


_md5: Callable[[], _Hash] = partial(hashlib.md5, usedforsecurity=False)

_ALGORITHMS: dict[str, Callable[[], _Hash]] = {
    "CRC32": _Crc32,
    "CRC32C": partial(crc.Crc, crc.CRC32C),
    "CRC64NVME": partial(crc.Crc, crc.CRC64NVME),
    "MD5": _md5,
    "SHA1": partial(hashlib.sha1, usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "XXHASH64": xxhash.xxh64,
    "XXHASH3": xxhash.xxh3_64,
    "XXHASH128": xxhash.xxh3_128,
}
KINDS = tuple(_ALGORITHMS)
"""The kinds of checksums that are computed, as S3 spells them."""

_LINEAR = {"CRC32": crc.CRC32, "CRC32C": crc.CRC32C, "CRC64NVME": crc.CRC64NVME}
"""Those of a whole can be had from those of its parts."""


def check_algorithm(name: str) -> str:
    """`name` if it is one of the kinds of checksums; InvalidRequest if not."""
    if name not in _ALGORITHMS:
        served = ", ".join(KINDS)
        raise S3Error("InvalidRequest", f"There are no checksums of the kind {name[:64]}. Use one of: {served}.", 400)
    return name


def is_linear(algorithm: str) -> bool:
    """Whether there are checksums of this kind of a whole object that came in parts."""
    return algorithm in _LINEAR


class Digests:
    """Several checksums of one stream, fed together.

    Where the machine has processors to spare a thread takes the MD5, the slowest of all, while the caller goes on.
    """

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._md5 = Beside(_md5())
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
        """BadDigest if a value in `expected` is not what was computed."""
        verify({**self.values(), CONTENT_MD5: _base64(self._md5.digest())}, expected)


def verify(actual: Mapping[str, str], expected: Mapping[str, str | None]) -> None:
    """BadDigest if a value in `expected` is another in `actual`."""
    for name, value in expected.items():
        if value is not None and actual.get(name, value) != value:
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


def of_whole(algorithm: str, parts: Iterable[tuple[str, int]]) -> str:
    """The checksum, of a linear kind, of what parts with these checksums and lengths in bytes make."""
    polynomial = _LINEAR[algorithm]
    nothing = bytes(polynomial.width // 8)
    return _base64(
        reduce(lambda so_far, part: crc.joined(polynomial, so_far, base64.b64decode(part[0]), part[1]), parts, nothing)
    )


def check_md5(value: str) -> str:
    """`value` if it is an MD5 in base64; S3's InvalidDigest if not."""
    try:
        valid = len(base64.b64decode(value, validate=True)) == 16
    except ValueError:  # binascii.Error is one, and so is what is not ASCII
        valid = False
    if not valid:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.", 400)
    return value


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
