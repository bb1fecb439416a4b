"""Checksums that no library of the base computes, against their definition."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import threading
import zlib

import pytest

from pilothouse.errors import S3Error
from pilothouse.objects import checksums, crc
from pilothouse.objects.checksums import Digests
from pilothouse.objects.crc import CRC32, CRC32C, CRC64NVME, Polynomial
from pilothouse.wire import models

POLYNOMIALS = [CRC32, CRC32C, CRC64NVME]
BYTES = random.Random(0).randbytes((1 << 20) + 5000)


def bit_by_bit(polynomial: Polynomial, data: bytes) -> bytes:
    """The definition, taken word for word."""
    register = polynomial.ones
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (polynomial.terms if register & 1 else 0)
    return (register ^ polynomial.ones).to_bytes(polynomial.width // 8, "big")


def computed(polynomial: Polynomial, *pieces: bytes) -> bytes:
    running = crc.Crc(polynomial)
    for piece in pieces:
        running.update(piece)
    return running.digest()


@pytest.mark.parametrize(
    ("polynomial", "expected"), [(CRC32, "cbf43926"), (CRC32C, "e3069283"), (CRC64NVME, "ae8b14860a799888")]
)
def test_the_digits_give_the_check_value_of_the_catalogue(polynomial: Polynomial, expected: str) -> None:
    assert computed(polynomial, b"123456789").hex() == expected


@pytest.mark.parametrize("polynomial", POLYNOMIALS)
@pytest.mark.parametrize("size", [0, 1, 7, 255, 256, 257, 4097, 20_001])
def test_lanes_and_pieces_give_what_the_definition_gives(polynomial: Polynomial, size: int) -> None:
    data, cut = BYTES[:size], size // 3
    assert computed(polynomial, data) == computed(polynomial, data[:cut], data[cut:]) == bit_by_bit(polynomial, data)


def test_more_than_a_block_gives_what_zlib_gives() -> None:
    assert computed(CRC32, BYTES) == zlib.crc32(BYTES).to_bytes(4, "big")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_the_sum_of_a_whole_comes_from_the_sums_of_its_parts(algorithm: str) -> None:
    parts = [BYTES[:70_000], b"", BYTES[70_000:70_001], BYTES[70_001:]]

    def value(data: bytes) -> str:
        digests = checksums.Digests([algorithm])
        digests.update(data)
        return digests.values()[algorithm]

    assert checksums.of_whole(algorithm, [(value(part), len(part)) for part in parts]) == value(BYTES)


def test_a_composite_sum_names_how_many_parts_there_were() -> None:
    crcs = [zlib.crc32(part).to_bytes(4, "big") for part in (b"a", b"b")]
    whole = base64.b64encode(zlib.crc32(b"".join(crcs)).to_bytes(4, "big")).decode()
    assert checksums.composite("CRC32", [base64.b64encode(one).decode() for one in crcs]) == f"{whole}-2"


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(S3Error, match="XXHASH32") as error:
        checksums.check_algorithm("XXHASH32")
    assert (error.value.code, error.value.status) == ("InvalidRequest", 400)


def test_every_kind_that_s3_has_is_computed() -> None:
    assert set(checksums.KINDS) == set(models.service("s3").shape_for("ChecksumAlgorithm").enum)


@pytest.mark.parametrize(
    ("algorithm", "expected"),  # of nothing, as xxHash's specification and its sanity checks have them
    [
        ("XXHASH64", "ef46db3751d8e999"),
        ("XXHASH3", "2d06800538d394c2"),
        ("XXHASH128", "99aa06d3014798d86001c324468d497f"),
    ],
)
def test_xxhash_is_told_most_significant_byte_first(algorithm: str, expected: str) -> None:
    assert base64.b64decode(Digests([algorithm]).values()[algorithm]).hex() == expected


@pytest.mark.parametrize("sizes", [[10], [200_000], [10, 300_000, 10, 1 << 20, 0, 5], [1 << 20] * 9])
def test_pieces_of_all_sizes_are_hashed_in_their_order(sizes: list[int]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    digests = Digests(["SHA256"])
    for piece in pieces:
        digests.update(piece)
    whole = b"".join(pieces)
    assert digests.md5 == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert digests.values()["SHA256"] == base64.b64encode(hashlib.sha256(whole).digest()).decode()


def test_where_no_thread_can_be_had_the_caller_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    digests = Digests()
    for _ in range(3):
        digests.update(bytes(1 << 20))
    assert digests.md5 == hashlib.md5(bytes(3 << 20), usedforsecurity=False).hexdigest()


def test_a_piece_for_which_no_thread_was_left_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def none_left_yet(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(checksums, "_shares", threading.Semaphore(1))
    monkeypatch.setattr(threading.Thread, "start", none_left_yet)
    pieces = [os.urandom(1 << 20) for _ in range(3)]
    digests = Digests()
    for piece in pieces:
        digests.update(piece)
    assert digests.md5 == hashlib.md5(b"".join(pieces), usedforsecurity=False).hexdigest()
    assert threading.Thread.start is start
    assert checksums._shares.acquire(blocking=False)
    assert not checksums._shares.acquire(blocking=False)


class Recorder:
    """A hash that notes which thread computes it, and waits for `may_go`."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.may_go = threading.Event()

    def update(self, data: bytes, /) -> None:
        self.threads.append(threading.get_ident())
        assert self.may_go.wait(60)

    def digest(self) -> bytes:
        return b""


def test_a_stream_has_a_thread_only_while_there_is_one_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_shares", threading.Semaphore(1))
    first, second, here = Recorder(), Recorder(), threading.get_ident()
    second.may_go.set()
    streams = [checksums.Beside(first), checksums.Beside(second)]
    streams[0].update(bytes(1 << 20))
    streams[1].update(bytes(1 << 20))
    assert second.threads == [here]
    first.may_go.set()
    streams[0].digest()
    streams[1].update(bytes(1 << 20))  # the first has hashed all it was given
    streams[1].digest()
    assert here not in first.threads
    assert here not in second.threads[1:]
    assert len(second.threads) == 2
