"""Bodies of S3 requests: streamed, unwrapped from aws-chunked, and held against what the signature promised.

x-amz-content-sha256 says how a body travels: as it is with its SHA-256 (or UNSIGNED-PAYLOAD), or in aws-chunked framing
with each chunk signed, with trailers behind the last chunk, or both:

    10000;chunk-signature=<64 hex>\\r\\n <0x10000 bytes> \\r\\n … 0;chunk-signature=<64 hex>\\r\\n
    x-amz-checksum-crc32:sOO8/Q==\\r\\n x-amz-trailer-signature:<64 hex>\\r\\n \\r\\n
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from pilothouse.errors import S3Error
from pilothouse.wire import sigv4
from pilothouse.wire.sigv4 import Identity

_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_LINE_LIMIT = 8192  # bytes of a chunk's header, or of a trailer
_TRAILER_LIMIT = 32
_SMALLEST = 8 << 10  # bytes of a chunk that is not the last with content: a step each is not worth fewer
_HEX = re.compile(rb"[0-9a-fA-F]{1,16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY = hashlib.sha256(b"").hexdigest()


class Body:
    """What a verified S3 request says of its bytes, and what takes them out of their framing."""

    def __init__(self, headers: Mapping[str, str], identity: Identity) -> None:
        self._identity = identity
        self.length = _declared_length(headers, identity)
        """Bytes that the sender announced, without framing; None if it did not say."""
        self._promised = _promised_trailers(headers, identity)
        self.trailers: dict[str, str] = {}
        """The trailers, lower-case names, once the content has ended."""

    def content(self, arriving: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes that `arriving` carries, in pieces, once.

        What was promised is checked when the last byte has been seen, so a consumer must not keep what it wrote if the
        iteration raises: `S3Error` (XAmzContentSHA256Mismatch, SignatureDoesNotMatch, IncompleteBody, …). It never
        gives more than was announced.
        """
        seen = 0
        for piece in self._decoded(iter(arriving)):
            seen += len(piece)
            if self.length is not None and seen > self.length:
                raise _incomplete(f"The request announced {self.length} bytes and more arrived.")
            yield piece
        if self.length is not None and seen != self.length:
            raise _incomplete(f"The request announced {self.length} bytes and {seen} arrived.")
        if missing := self._promised - self.trailers.keys():
            raise S3Error(
                "MalformedTrailerError", f"The body has no trailer {min(missing)}, which x-amz-trailer names."
            )

    def _decoded(self, arriving: Iterator[bytes]) -> Iterator[bytes]:
        payload = self._identity.payload
        if payload == _UNSIGNED_TRAILER:
            return unwrap(arriving, self.trailers)
        if payload in (_SIGNED_CHUNKS, _SIGNED_CHUNKS_TRAILER):
            signer = Signer(self._identity, trailers=payload == _SIGNED_CHUNKS_TRAILER)
            return unwrap(arriving, self.trailers, signer)
        if payload == sigv4.UNSIGNED_PAYLOAD:
            return arriving
        if _SHA256.fullmatch(payload):
            return _hashed(arriving, payload)
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
            f"{_UNSIGNED_TRAILER}, {_SIGNED_CHUNKS}, {_SIGNED_CHUNKS_TRAILER}, or a SHA-256 in lower-case hexadecimal.",
        )


def _hashed(arriving: Iterator[bytes], expected: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in arriving:
        digest.update(piece)
        yield piece
    if not hmac.compare_digest(digest.hexdigest(), expected):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


class Signer:
    """The chain of chunk signatures: each covers its chunk and the signature before it.

    With `trailers` there must be some, so that nobody can take them away.
    """

    def __init__(self, identity: Identity, *, trailers: bool = False) -> None:
        self._identity = identity
        self._previous = identity.signature
        self.trailers = trailers

    def check_chunk(self, digest: str, signature: str) -> None:
        """Hold `signature` against a chunk with this SHA-256."""
        self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY}\n{digest}", signature)

    def check_trailers(self, trailers: dict[str, str], signature: str) -> None:
        """Hold `signature` against the trailers, in the order in which they came."""
        text = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        self._check("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text.encode()).hexdigest(), signature)

    def _check(self, algorithm: str, covered: str, signature: str) -> None:
        who = self._identity
        text = f"{algorithm}\n{who.stamp}\n{who.scope}\n{self._previous}\n{covered}"
        expected = sigv4.sign(who.signing_key, text)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise S3Error(
                "SignatureDoesNotMatch", "The signature of a chunk or of the trailers does not match its content.", 403
            )
        self._previous = expected


class _Reader:
    """Lines and counted bytes from a stream of pieces; holds one piece and at most one line.

    A piece may be a whole body of tiny chunks, so none of it is copied but what is given.
    """

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._piece, self._at = b"", 0

    def line(self) -> bytes | None:
        """The next line without its end; None when the stream has ended."""
        line = b""
        while True:
            limit = self._at + _LINE_LIMIT - len(line)
            end = self._piece.find(b"\n", self._at, limit)
            line += self._piece[self._at : limit if end < 0 else end]
            if end >= 0:
                self._at = end + 1
                return line.removesuffix(b"\r")
            if len(line) >= _LINE_LIMIT:
                raise _incomplete("A chunk header or trailer is longer than any client writes.")
            if not self._next():
                return None

    def take(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, in pieces."""
        while count:
            content = self._piece[self._at : self._at + count]
            self._at += len(content)
            count -= len(content)
            if content:
                yield content
            elif not self._next():
                raise _incomplete("The body ended inside a chunk.")

    def _next(self) -> bool:
        """Go on to the next piece, if there is one."""
        piece = next(self._stream, None)
        self._piece, self._at = piece or b"", 0
        return piece is not None


def unwrap(stream: Iterator[bytes], trailers: dict[str, str], signer: Signer | None = None) -> Iterator[bytes]:
    """The content of a stream in aws-chunked framing. Puts the trailers into `trailers` before it ends.

    With a `signer` every chunk, and the trailers if there are any, must be signed. `S3Error` if the framing is broken,
    or, as S3 has it, a chunk before the last is smaller than 8 KiB.
    """
    reader = _Reader(stream)
    before = _SMALLEST
    for number in count(1):
        size, signature = _chunk_header(reader.line())
        if size and before < _SMALLEST:
            raise _too_small(number, before)
        before = size
        if signer is None:
            yield from reader.take(size)
        else:
            yield from _signed(reader.take(size), signature, signer)
        if size == 0:
            break
        if reader.line() != b"":
            raise _incomplete("A chunk is longer than its header says.")
    _read_trailers(reader, trailers, signer)


def _signed(chunk: Iterator[bytes], signature: str, signer: Signer) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in chunk:
        digest.update(piece)
        yield piece
    signer.check_chunk(digest.hexdigest(), signature)


def _read_trailers(reader: _Reader, trailers: dict[str, str], signer: Signer | None) -> None:
    while line := reader.line():
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or len(trailers) >= _TRAILER_LIMIT:
            raise _incomplete("The trailers are malformed.")
        trailers[name.strip().lower()] = value.strip()
    signature = trailers.pop("x-amz-trailer-signature", "")
    if signer is not None and (trailers or signer.trailers):
        signer.check_trailers(trailers, signature)


def _chunk_header(line: bytes | None) -> tuple[int, str]:
    """Size and signature ("" if unsigned) from a chunk's header."""
    if line is None:
        raise _incomplete("The body ended before its last chunk.")
    size, _, extension = line.partition(b";")
    if not _HEX.fullmatch(size):
        raise _incomplete("A chunk does not begin with its size.")
    return int(size, 16), extension.decode("ascii", "replace").removeprefix("chunk-signature=")


def _too_small(number: int, size: int) -> S3Error:
    """What to say at the chunk of that number, as the one before had `size` bytes."""
    return S3Error(
        "InvalidChunkSizeError",
        f"Only the last chunk is allowed to have a size less than {_SMALLEST} bytes",
        403,
        Chunk=str(number),
        BadChunkSize=str(size),
    )


def _declared_length(headers: Mapping[str, str], identity: Identity) -> int | None:
    streaming = identity.payload.startswith("STREAMING-")
    text = headers.get("x-amz-decoded-content-length" if streaming else "content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise S3Error("InvalidArgument", f"'{text[:64]}' is not a length in bytes.")
    return int(text)


def _promised_trailers(headers: Mapping[str, str], identity: Identity) -> set[str]:
    """The names of the trailers that a body in chunks must have: a checksum may be among them."""
    if not identity.payload.endswith("-TRAILER"):
        return set()
    names = {name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",")}
    return names - {"", "x-amz-trailer-signature"}


def _incomplete(message: str) -> S3Error:
    return S3Error("IncompleteBody", f"{message} Send the request again.")
