"""Encrypted content: AES-256-GCM over pieces of 64 KiB, in the manner of STREAM.

    piece 0 │ tag │ piece 1 │ tag │ … │ last piece │ tag

What is written in one go is a segment. It has a data key that nothing else is encrypted with, so a piece's nonce is its
number (11 bytes) and whether it is the last (1 byte): a piece that is changed, moved or missing does not verify. A
segment of no bytes is one piece of none. An object that came in parts has a segment for each.

STREAM: Hoang, Reyhanitabar, Rogaway, Vizár: Online authenticated-encryption and its nonce-reuse misuse-resistance,
CRYPTO 2015. Everything is read piece by piece, so a range costs the pieces that it touches.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from pilothouse.objects.base import CHUNK
from pilothouse.objects.refusals import DamagedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE = 1 << 16
"""Plain bytes of all pieces but the last."""

TAG = 16
KEY = 32


class Segment(NamedTuple):
    """Plain bytes that were encrypted in one go: how many, and their data key."""

    size: int
    key: bytes


def length(sizes: Iterable[int]) -> int:
    """Bytes in the file of segments with so many plain bytes."""
    return sum(size + TAG * _pieces(size) for size in sizes)


class Encryptor:
    """Encrypts one segment as it comes; `key` is its data key."""

    def __init__(self) -> None:
        self.key = os.urandom(KEY)
        self._cipher = _cipher(self.key)
        self._held = bytearray()
        self._number = 0

    def update(self, content: bytes) -> Iterator[bytes]:
        """Take plain bytes; the pieces that are full and not the last."""
        view = memoryview(content)
        for start in range(0, len(view), CHUNK):
            self._held += view[start : start + CHUNK]
            while len(self._held) > PIECE:
                yield self._encrypted(self._held[:PIECE], False)
                del self._held[:PIECE]

    def finish(self) -> bytes:
        """The last piece."""
        return self._encrypted(self._held, True)

    def _encrypted(self, plain: bytearray, last: bool) -> bytes:
        self._number += 1
        return self._cipher.encrypt(_nonce(self._number - 1, last), bytes(plain), None)


class Plaintext:
    """The plain bytes of segments that lie one after the other in an open file, named `name` in errors."""

    def __init__(self, descriptor: int, segments: Sequence[Segment], name: str) -> None:
        self._descriptor, self._segments, self._name = descriptor, segments, name
        self._plain = [0, *accumulate(segment.size for segment in segments)]
        self._stored = [0, *accumulate(length([segment.size]) for segment in segments)]
        self._ciphers: tuple[int, AESGCM] | None = None
        self._piece: tuple[int, int, bytes] = (-1, -1, b"")

    def read_into(self, view: memoryview, at: int) -> int:
        """Fill `view` with what stands from `at` on, which must be there. `DamagedError` if it does not verify."""
        done = 0
        while done < len(view):
            segment = bisect_right(self._plain, at + done) - 1
            number, skipped = divmod(at + done - self._plain[segment], PIECE)
            content = memoryview(self._decrypted(segment, number))[skipped : skipped + len(view) - done]
            view[done : done + len(content)] = content
            done += len(content)
        return done

    def _decrypted(self, segment: int, number: int) -> bytes:
        if self._piece[:2] != (segment, number):
            self._piece = (segment, number, self._verified(segment, number))
        return self._piece[2]

    def _verified(self, segment: int, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        size = self._segments[segment].size
        last = number == _pieces(size) - 1
        count = (size - number * PIECE if last else PIECE) + TAG
        stored = os.pread(self._descriptor, count, self._stored[segment] + number * (PIECE + TAG))
        try:
            return self._cipher_of(segment).decrypt(_nonce(number, last), stored, None)
        except (InvalidTag, ValueError):
            raise DamagedError(self._name) from None

    def _cipher_of(self, segment: int) -> AESGCM:
        if self._ciphers is None or self._ciphers[0] != segment:
            self._ciphers = segment, _cipher(self._segments[segment].key)
        return self._ciphers[1]


def _pieces(size: int) -> int:
    return max(1, -(-size // PIECE))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # only who meets an encrypted object loads it

    return AESGCM(key)
