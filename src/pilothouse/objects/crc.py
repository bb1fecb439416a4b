"""Cyclic redundancy checks that zlib lacks, and the sum of a whole from the sums of its parts.

A check is the remainder of the message, taken as a polynomial over GF(2), modulo the check's own; all here are
reflected (the lowest bit is the highest power), begin with ones and end inverted. `Crc` cuts what it is given into many
lanes of one length, takes two bytes of each lane a step with numpy, and joins the lanes' remainders as a tree, since
crc(a + b) = crc(a) * x^(8 * len(b)) + crc(b). That is about as fast as MD5.
Source of the parameters: the catalogue of parametrised CRC algorithms (CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Words = np.ndarray[Any, np.dtype[np.uint64]]

_BLOCK = 1 << 20
_LANE = 128  # bytes at most; a multiple of two
_SHORT = 256  # bytes that are quicker one by one


@dataclass(frozen=True)
class Polynomial:
    """What a check divides by: its highest power, and the other terms, reflected."""

    width: int
    terms: int

    @property
    def ones(self) -> int:
        """A remainder of ones only."""
        return (1 << self.width) - 1


CRC32 = Polynomial(32, 0xEDB88320)
CRC32C = Polynomial(32, 0x82F63B78)
CRC64NVME = Polynomial(64, 0x9A6C9329AC4BC9B5)


class Crc:
    """A running check, used like a hash of hashlib's."""

    def __init__(self, polynomial: Polynomial) -> None:
        self._polynomial = polynomial
        self._register = polynomial.ones

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK):
            block = view[start : start + _BLOCK]
            step = _bytewise if len(block) < _SHORT else _lanewise
            self._register = step(self._polynomial, self._register, block)

    def digest(self) -> bytes:
        """The check, most significant byte first."""
        return (self._register ^ self._polynomial.ones).to_bytes(self._polynomial.width // 8, "big")


def joined(polynomial: Polynomial, first: bytes, second: bytes, length: int) -> bytes:
    """The check of two messages in a row, of which the second has `length` bytes, from the check of each."""
    shifted = _product(polynomial, _power(polynomial, length), int.from_bytes(first, "big"))
    return (shifted ^ int.from_bytes(second, "big")).to_bytes(polynomial.width // 8, "big")


def _bytewise(polynomial: Polynomial, register: int, block: memoryview) -> int:
    table = _table(polynomial, 8)[1]
    for byte in block:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register


def _lanewise(polynomial: Polynomial, register: int, block: memoryview) -> int:
    import numpy as np

    lanes = 1 << (-(-len(block) // _LANE) - 1).bit_length()
    length = 2 * -(-len(block) // (2 * lanes))
    padded = np.zeros(lanes * length, np.uint8)  # zeros in front of a message leave its remainder alone
    start = len(padded) - len(block)
    padded[start:] = block
    size = polynomial.width // 8
    padded[start : start + size] ^= np.frombuffer(register.to_bytes(size, "little"), np.uint8)
    table = _table(polynomial, 16)[0]
    remainders = np.zeros(lanes, np.uint64)
    for column in np.ascontiguousarray(padded.view("<u2").reshape(lanes, -1).T):
        at = remainders.astype(np.uint16) ^ column
        remainders = table.take(at) ^ (remainders >> np.uint64(16))
    while len(remainders) > 1:
        remainders = _times(_factor_tables(polynomial, length), remainders[0::2]) ^ remainders[1::2]
        length *= 2
    return int(remainders[0])


@cache
def _table(polynomial: Polynomial, bits: int) -> tuple[Words, list[int]]:
    """What the last `bits` of a register add to it once they are shifted out, as an array and as numbers."""
    import numpy as np

    values = np.arange(1 << bits, dtype=np.uint64)
    for _ in range(bits):
        values = (values >> np.uint64(1)) ^ (np.uint64(polynomial.terms) * (values & np.uint64(1)))
    return values, values.tolist() if bits == 8 else []


@lru_cache(maxsize=256)
def _factor_tables(polynomial: Polynomial, length: int) -> list[Words]:
    """The products of x^(8 * length) with each value of each byte of a remainder."""
    import numpy as np

    factor, tables = _power(polynomial, length), []
    for low in range(0, polynomial.width, 8):
        table = np.zeros(1, np.uint64)
        for bit in range(low, low + 8):
            table = np.concatenate([table, table ^ np.uint64(_product(polynomial, factor, 1 << bit))])
        tables.append(table)
    return tables


def _times(tables: list[Words], remainders: Words) -> Words:
    import numpy as np

    products = np.zeros_like(remainders)
    for n, table in enumerate(tables):
        products ^= table.take((remainders >> np.uint64(8 * n)).astype(np.uint8))
    return products


@lru_cache(maxsize=256)
def _power(polynomial: Polynomial, length: int) -> int:
    """x^(8 * length)."""
    power, square = 1 << (polynomial.width - 1), 1 << (polynomial.width - 9)
    while length:
        if length & 1:
            power = _product(polynomial, power, square)
        square = _product(polynomial, square, square)
        length >>= 1
    return power


def _product(polynomial: Polynomial, first: int, second: int) -> int:
    product = 0
    for place in range(polynomial.width - 1, -1, -1):
        if first >> place & 1:
            product ^= second
        second = second >> 1 ^ (polynomial.terms if second & 1 else 0)
    return product
