"""Bodies that the S3 door takes only as they were promised: by a checksum of any kind, or by a signature a chunk."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import zlib
from contextlib import closing
from functools import reduce
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.objects.checksums import KINDS, Digests
from tests.wire.conftest import KEY_ID, SECRET, Api, code, said, signed

BUCKET = "bodies"
REGION = "us-east-1"
NOISE = random.Random(0).randbytes(2 << 20)
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIZES = pytest.mark.parametrize("size", [20_000, len(NOISE)], ids=["read whole", "streamed"])


@pytest.fixture(scope="module")
def s3(api: Api) -> Any:
    client = api.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def is_there(s3: Any, key: str) -> bool:
    return bool(s3.list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"])


def checksum(kind: str, content: bytes) -> str:
    digests = Digests([kind])
    digests.update(content)
    return digests.values()[kind]


@SIZES
@pytest.mark.parametrize("kind", KINDS)
def test_a_body_with_another_checksum_than_it_says_is_refused(api: Api, s3: Any, kind: str, size: int) -> None:
    content, key = NOISE[:size], f"{kind}-{size}"
    for value, answer in ((checksum(kind, content[1:]), "400 BadDigest"), (checksum(kind, content), "200 ")):
        assert not is_there(s3, key)
        headers = {f"x-amz-checksum-{kind.lower()}": value}
        assert code(said(api, signed(api, "PUT", f"/{BUCKET}/{key}", headers, content))) == answer
    told = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert told[f"Checksum{kind}"] == checksum(kind, content)


class InSignedChunks(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signature of a request whose chunks have signatures of their own, which botocore can't give."""

    def __init__(self, payload: str) -> None:
        super().__init__(Credentials(KEY_ID, SECRET), "s3", REGION)
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        """The word that stands for the hash of the body."""
        return self._payload


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def in_signed_chunks(api: Api, key: str, chunks: list[bytes], trailer: str = "") -> tuple[dict[str, str], bytes]:
    """Headers and body of a put of these chunks as the S3 API reference describes it, with this trailer if any."""
    headers = {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(sum(map(len, chunks)))}
    if trailer:
        headers["X-Amz-Trailer"] = trailer.partition(":")[0]
    request = AWSRequest("PUT", f"{api.url}/{BUCKET}/{key}", headers)
    InSignedChunks(f"{SIGNED}-TRAILER" if trailer else SIGNED).add_auth(request)
    stamp, signature = request.headers["X-Amz-Date"], request.headers["Authorization"].rpartition("=")[2]
    scope = [stamp[:8], REGION, "s3", "aws4_request"]
    signing_key = reduce(hmac_sha256, scope, f"AWS4{SECRET}".encode())

    def signed_next(what: str, covered: str) -> str:
        nonlocal signature
        text = f"AWS4-HMAC-SHA256-{what}\n{stamp}\n{'/'.join(scope)}\n{signature}\n{covered}"
        signature = hmac_sha256(signing_key, text).hex()
        return signature

    body = b""
    for chunk in [*chunks, b""]:
        of_chunk = signed_next("PAYLOAD", f"{sha256(b'')}\n{sha256(chunk)}")
        body += f"{len(chunk):x};chunk-signature={of_chunk}\r\n".encode() + (chunk + b"\r\n" if chunk else b"")
    if trailer:
        of_trailer = signed_next("TRAILER", sha256(f"{trailer}\n".encode()))
        body += f"{trailer}\r\nx-amz-trailer-signature:{of_trailer}\r\n".encode()
    return dict(request.headers.items()), body + b"\r\n"


def answered(api: Api, key: str, headers: dict[str, str], body: bytes) -> str:
    """The status and the code of an error."""
    with closing(HTTPConnection(api.url.removeprefix("http://"), timeout=60)) as connection:
        connection.request("PUT", f"/{BUCKET}/{key}", body, headers)
        answer = connection.getresponse()
        return code(f"HTTP/1.1 {answer.status} ".encode() + answer.read())


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


@SIZES
@pytest.mark.parametrize("with_trailer", [False, True], ids=["without a trailer", "with a trailer"])
def test_chunks_that_are_signed_are_taken_and_one_that_was_changed_is_not(
    api: Api, s3: Any, with_trailer: bool, size: int
) -> None:
    content, key = NOISE[:size], f"signed-{with_trailer}-{size}"
    first, second = content[: size // 2], content[size // 2 :]
    trailer = f"x-amz-checksum-crc32:{crc32(content)}" if with_trailer else ""
    headers, body = in_signed_chunks(api, key, [first, second], trailer)
    changes = [(first[:100], b"!" + first[1:100]), (second[-100:], second[-100:-1] + b"!")]
    if with_trailer:
        changes.append((crc32(content).encode(), crc32(b"other").encode()))
    for right, wrong in changes:
        assert body.count(right) == 1
        assert answered(api, key, headers, body.replace(right, wrong)) == "403 SignatureDoesNotMatch"
        assert not is_there(s3, key)
    assert answered(api, key, headers, body) == "200 "
    stored = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert stored["Body"].read() == content
    assert stored.get("ChecksumCRC32") == (crc32(content) if with_trailer else None)


def test_a_signed_trailer_is_held_against_the_content(api: Api, s3: Any) -> None:
    put = in_signed_chunks(api, "trailer", [b"content"], f"x-amz-checksum-crc32:{crc32(b'other')}")
    assert answered(api, "trailer", *put) == "400 BadDigest"
    assert not is_there(s3, "trailer")
