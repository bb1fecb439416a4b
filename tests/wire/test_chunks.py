"""Bodies of S3 requests: what botocore frames and what AWS publishes comes out right, and what is broken is refused."""

from __future__ import annotations

import hashlib
import hmac
import io
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import S3Error
from pilothouse.wire import chunks
from pilothouse.wire.chunks import Body
from pilothouse.wire.sigv4 import Identity

TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
NOISE = random.Random(0).randbytes(30_000)

# The example of "Transferring Payload in Multiple Chunks" in the S3 API reference: key, date and signatures.
EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE_SCOPE = "20130524/us-east-1/s3/aws4_request"
EXAMPLE_SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
EXAMPLE_CHUNKS = [
    (b"a" * 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
]


def identity(payload: str) -> Identity:
    key = f"AWS4{EXAMPLE_SECRET}".encode()
    for part in EXAMPLE_SCOPE.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return Identity("id", "s3", "us-east-1", payload, "20130524T000000Z", EXAMPLE_SCOPE, EXAMPLE_SEED, key)


class Arriving(Body):
    """A body with the pieces in which it comes."""

    def __init__(self, pieces: Iterable[bytes], payload: str, **headers: object) -> None:
        super().__init__({name.replace("_", "-"): str(value) for name, value in headers.items()}, identity(payload))
        self.pieces = pieces


body = Arriving


def content(of: Arriving) -> bytes:
    return b"".join(of.content(of.pieces))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def refused(of: Arriving) -> str:
    with pytest.raises(S3Error) as caught:
        content(of)
    return caught.value.code


@given(size=st.integers(0, len(NOISE)), chunk=st.integers(8192, 20_000), packet=st.integers(1, 9000))
def test_what_botocore_frames_comes_out_with_its_trailer(size: int, chunk: int, packet: int) -> None:
    data = NOISE[:size]
    framed = AwsChunkedWrapper(io.BytesIO(data), Crc32Checksum, "x-amz-checksum-crc32", chunk_size=chunk).read()
    arrived = body(cut(framed, packet), TRAILER, x_amz_decoded_content_length=len(data))
    assert content(arrived) == data
    checksum = Crc32Checksum()
    checksum.update(data)
    assert arrived.trailers == {"x-amz-checksum-crc32": checksum.b64digest()}
    assert arrived.length == len(data)


def framed_example(tampered: int | None = None) -> bytes:
    framed = b""
    for number, (data, signature) in enumerate(EXAMPLE_CHUNKS):
        sent = data.replace(b"a", b"b", 1) if number == tampered else data
        framed += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(sent), signature.encode(), sent)
    return framed


@pytest.mark.parametrize("packet", [1000, 65536, 100000])
def test_the_published_example_of_signed_chunks_verifies(packet: int) -> None:
    arrived = body(cut(framed_example(), packet), SIGNED, x_amz_decoded_content_length=66560)
    assert content(arrived) == b"a" * 66560


@pytest.mark.parametrize("number", [0, 1])
def test_a_chunk_that_was_tampered_with_is_refused(number: int) -> None:
    assert refused(body([framed_example(number)], SIGNED)) == "SignatureDoesNotMatch"


def test_signed_chunks_without_signatures_are_refused() -> None:
    assert refused(body([b"1\r\na\r\n0\r\n\r\n"], SIGNED)) == "SignatureDoesNotMatch"


def test_a_dropped_or_moved_chunk_breaks_the_chain() -> None:
    first, second = framed_example().split(b"\r\n400;", 1)
    assert refused(body([b"400;" + second], SIGNED)) == "SignatureDoesNotMatch"
    assert first


def signed_with_trailer(value: str) -> bytes:
    who = identity("")
    empty = hashlib.sha256(b"").hexdigest()

    def sign(text: str) -> str:
        return hmac.new(who.signing_key, text.encode(), hashlib.sha256).hexdigest()

    head = f"{who.stamp}\n{who.scope}\n"
    one = sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{head}{EXAMPLE_SEED}\n{empty}\n{hashlib.sha256(b'hello').hexdigest()}")
    last = sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{head}{one}\n{empty}\n{empty}")
    trailer = hashlib.sha256(b"x-amz-checksum-crc32:NhCmhg==\n").hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256-TRAILER\n{head}{last}\n{trailer}")
    return (
        f"5;chunk-signature={one}\r\nhello\r\n0;chunk-signature={last}\r\n"
        f"x-amz-checksum-crc32:{value}\r\nx-amz-trailer-signature:{signature}\r\n\r\n"
    ).encode()


def test_signed_trailers_are_verified_and_handed_over_without_their_signature() -> None:
    arrived = body([signed_with_trailer("NhCmhg==")], f"{SIGNED}-TRAILER")
    assert content(arrived) == b"hello"
    assert arrived.trailers == {"x-amz-checksum-crc32": "NhCmhg=="}
    assert refused(body([signed_with_trailer("AAAAAA==")], f"{SIGNED}-TRAILER")) == "SignatureDoesNotMatch"


def test_trailers_that_were_promised_cannot_be_taken_away() -> None:
    whole = signed_with_trailer("NhCmhg==")
    without = whole[: whole.index(b"x-amz-checksum")] + b"\r\n"
    assert refused(body([without], f"{SIGNED}-TRAILER")) == "SignatureDoesNotMatch"


def test_a_trailer_that_was_announced_must_come() -> None:
    framed = b"1\r\na\r\n0\r\nx-amz-checksum-crc32:6Le+Qw==\r\n\r\n"
    assert content(body([framed], TRAILER, x_amz_trailer="x-amz-checksum-crc32")) == b"a"
    assert refused(body([framed], TRAILER, x_amz_trailer="x-amz-checksum-sha256")) == "MalformedTrailerError"


def test_a_plain_body_is_held_against_its_hash() -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    assert content(body([b"con", b"tent"], digest, content_length=7)) == b"content"
    assert refused(body([b"kontent"], digest)) == "XAmzContentSHA256Mismatch"
    assert content(body([b"kontent"], "UNSIGNED-PAYLOAD")) == b"kontent"
    assert refused(body([b"kontent"], "nonsense")) == "InvalidArgument"


def test_no_more_of_a_body_is_given_than_was_announced() -> None:
    framed = b"%x\r\n%s\r\n" % (10_000, b"z" * 10_000)
    announced = body([framed] * 9, TRAILER, x_amz_decoded_content_length=25_000)
    pieces = announced.content(announced.pieces)
    assert [len(next(pieces)), len(next(pieces))] == [10_000, 10_000]
    with pytest.raises(S3Error, match="more arrived"):
        next(pieces)


def test_a_body_of_another_length_than_announced_is_incomplete() -> None:
    assert refused(body([b"abc"], "UNSIGNED-PAYLOAD", content_length=4)) == "IncompleteBody"
    assert refused(body([b"1\r\na\r\n0\r\n\r\n"], TRAILER, x_amz_decoded_content_length=2)) == "IncompleteBody"
    with pytest.raises(S3Error, match="length"):
        body([b""], TRAILER, x_amz_decoded_content_length="-1")


@pytest.mark.parametrize(
    "framed",
    [
        b"",
        b"5\r\nabc",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"xyz\r\nabc",
        b"-1\r\n",
        b"3\r\nabc\r\n",
        b"1" * 9000,
        b"0\r\nno colon\r\n\r\n",
    ],
)
def test_broken_framing_is_refused(framed: bytes) -> None:
    assert refused(body([framed], TRAILER)) == "IncompleteBody"


def test_a_large_body_passes_in_pieces_as_they_arrive() -> None:
    size = 1 << 16
    held: list[int] = []

    def source() -> Iterator[bytes]:
        for _ in range(64):
            yield b"%x\r\n%s\r\n" % (size, b"z" * size)
        yield b"0\r\n\r\n"

    for piece in chunks.unwrap(source(), {}):
        held.append(len(piece))
    assert sum(held) == 64 * size
    assert max(held) <= size


class Counted(bytes):
    """Bytes that count how many of them are copied or searched."""

    done = 0

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        Counted.done += len(found) if isinstance(where, slice) else 1
        return Counted(found) if isinstance(where, slice) else found

    def __add__(self, other: Any) -> Counted:
        Counted.done += len(self) + len(other)
        return Counted(super().__add__(other))

    def __radd__(self, other: Any) -> Counted:
        Counted.done += len(self) + len(other)
        return Counted(other + bytes(self))

    def find(self, *arguments: Any) -> int:
        at = super().find(*arguments)
        Counted.done += (at if at >= 0 else len(self)) - arguments[1]
        return at


def test_a_body_of_the_smallest_chunks_is_no_more_work_than_its_bytes() -> None:
    data = bytes(range(256)) * 256
    framed = b"".join(b"2000\r\n%s\r\n" % chunk for chunk in cut(data, 8192)) + b"0\r\n\r\n"
    Counted.done = 0
    assert content(body([Counted(framed)], TRAILER)) == data
    assert len(data) <= Counted.done <= 4 * len(framed)


def test_only_the_last_chunk_may_be_smaller_than_8_kib() -> None:
    whole, small = b"2000\r\n%s\r\n" % bytes(8192), b"1fff\r\n%s\r\n" % bytes(8191)
    assert len(content(body([whole + small + b"0\r\n\r\n"], TRAILER))) == 8192 + 8191
    with pytest.raises(S3Error, match="Only the last chunk") as error:
        content(body([whole + small + whole + b"0\r\n\r\n"], TRAILER))
    assert (error.value.code, error.value.status) == ("InvalidChunkSizeError", 403)
    assert error.value.members == {"Chunk": "3", "BadChunkSize": "8191"}


@pytest.mark.parametrize("packet", [1, 7, 8191, 8192, 8193])
def test_a_line_is_as_long_as_it_may_be_however_it_comes(packet: int) -> None:
    longest = b"1;" + b"x" * (8192 - 4) + b"\r\n"
    assert content(body(cut(longest + b"a\r\n0\r\n\r\n", packet), TRAILER)) == b"a"
    assert refused(body(cut(b"1;x" + longest[2:] + b"a\r\n0\r\n\r\n", packet), TRAILER)) == "IncompleteBody"
