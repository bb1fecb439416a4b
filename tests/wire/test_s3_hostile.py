"""Requests that no client sends, to the S3 door: each is answered as S3 would, at once, and harms nobody else."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC
from email.utils import format_datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.model import OperationModel, Shape

from pilothouse.api import bucket, content, pace
from pilothouse.wire import models
from tests.wire.conftest import IN_CHUNKS, KEY_ID, SECRET, Api, code, said, signed

BUCKET, KEY = "hostile", "key"
DIGITS = "9" * 5000
EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture(scope="module")
def s3(api: Api) -> Any:
    client = api.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key=KEY, Body=b"0123456789")
    return client


@pytest.mark.parametrize(
    "text", [f"bytes=0-{DIGITS}", f"bytes={DIGITS}-", f"bytes=-{DIGITS}", f"bytes={DIGITS}-{DIGITS}"]
)
def test_a_range_of_thousands_of_digits_is_no_range(s3: Any, text: str) -> None:
    assert s3.get_object(Bucket=BUCKET, Key=KEY, Range=text)["Body"].read() == b"0123456789"


def test_a_range_is_of_the_version_that_it_names_or_of_none(api: Api, s3: Any) -> None:
    told = s3.head_object(Bucket=BUCKET, Key=KEY)
    seen = format_datetime(told["LastModified"].astimezone(UTC), usegmt=True)
    for version in (told["ETag"], seen, None, '"other"', f"W/{told['ETag']}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        headers = {"Range": "bytes=3-4"} | ({} if version is None else {"If-Range": version})
        head, _, body = said(api, signed(api, "GET", f"/{BUCKET}/{KEY}", headers)).partition(b"\r\n\r\n")
        if version in (told["ETag"], seen, None):
            assert (head.split()[1], body) == (b"206", b"34")
        else:
            assert (head.split()[1], body) == (b"200", b"0123456789")


def test_a_range_of_a_copied_part_of_thousands_of_digits_is_refused(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="copy")["UploadId"]
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.upload_part_copy(
            Bucket=BUCKET,
            Key="copy",
            UploadId=upload,
            PartNumber=1,
            CopySource=f"{BUCKET}/{KEY}",
            CopySourceRange=f"bytes=0-{DIGITS}",
        )
    s3.abort_multipart_upload(Bucket=BUCKET, Key="copy", UploadId=upload)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_moment_beyond_the_calendar_is_refused(api: Api, s3: Any, moment: str) -> None:
    assert s3
    assert code(said(api, signed(api, "PUT", f"/{BUCKET}/late", {"Expires": moment}, b"x"))) == "400 InvalidArgument"


@pytest.mark.parametrize("host", ["[::1", "a[b", "x y", "///", "%zz", "a:b:c"])
def test_a_host_that_is_no_host_is_refused_without_a_trace(api: Api, host: str) -> None:
    answer = said(api, f"GET /{BUCKET} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), answer[:200]


def test_a_signature_that_names_a_header_a_thousand_times_is_refused(api: Api) -> None:
    names = "host;" + "x-long;" * 4000 + "x-amz-date"
    head = (
        f"GET /{BUCKET} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nx-long: {'v' * 20_000}\r\n"
        f"x-amz-date: 20260101T000000Z\r\nx-amz-content-sha256: {EMPTY}\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={'0' * 64}\r\n\r\n"
    )
    assert b"once" in said(api, head.encode())


@pytest.mark.parametrize(
    "inside",
    [b"<a/>" * 300_000, b"x<a/>" * 300_000, b"<!---->x" * 300_000],
    ids=["elements", "texts between elements", "comments"],
)
def test_a_document_of_a_million_nothings_is_refused_soon(api: Api, s3: Any, inside: bytes) -> None:
    assert s3
    body = b"<Delete><Object>" + inside + b"</Object></Delete>"
    answer = said(api, signed(api, "POST", f"/{BUCKET}?delete=", {"Content-MD5": md5(body)}, body))
    assert code(answer) == "400 MalformedXML"


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY b "b">]><Delete>&b;</Delete>',
        b"<Delete>" + b"<Object>" * 40 + b"</Object>" * 40 + b"</Delete>",
        b"<Delete><Object><Key>a</Key></Object>",
        b"<Delete></Delete>",
        b"\x00",
        b"<Delete><Object></Object></Delete>",
        b"<Foo><Object><Key>a</Key></Object></Foo>",
        b"",
        b"<?xml version='1.0' encoding='none-such'?><Delete><Object><Key>a</Key></Object></Delete>",
        b"<?xml version='1.0' encoding='shift_jis'?><Delete><Object><Key>a</Key></Object></Delete>",
        b"<?xml version='1.0' encoding='idna'?><Delete><Object><Key>a</Key></Object></Delete>",
    ],
)
def test_a_document_that_is_none_is_refused(api: Api, s3: Any, document: bytes) -> None:
    assert s3
    answer = said(api, signed(api, "POST", f"/{BUCKET}?delete=", {"Content-MD5": md5(document)}, document))
    assert code(answer) == "400 MalformedXML"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<Foo/>",
        b"<Tagging/>",
        b"<Foo><TagSet/></Foo>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
    ],
)
def test_a_document_without_tags_takes_none_away(api: Api, s3: Any, document: bytes) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    s3.put_object_tagging(Bucket=BUCKET, Key=KEY, Tagging={"TagSet": tags})
    answer = said(api, signed(api, "PUT", f"/{BUCKET}/{KEY}?tagging=", {"Content-MD5": md5(document)}, document))
    assert code(answer) == "400 MalformedXML"
    assert s3.get_object_tagging(Bucket=BUCKET, Key=KEY)["TagSet"] == tags
    s3.put_object_tagging(Bucket=BUCKET, Key=KEY, Tagging={"TagSet": []})
    assert s3.get_object_tagging(Bucket=BUCKET, Key=KEY)["TagSet"] == []


def documented() -> list[str]:
    """The operations served whose requests carry a document."""
    payloads = {name: models.operation("s3", name).input_shape for name in bucket.SERVED}
    return [
        name
        for name, shape in payloads.items()
        if (payload := shape.serialization.get("payload")) and shape.members[payload].type_name == "structure"
    ]


@pytest.mark.parametrize("name", documented())
def test_a_document_with_another_root_is_refused(api: Api, s3: Any, name: str) -> None:
    assert s3
    model = models.operation("s3", name)
    path = model.http["requestUri"].replace("{Bucket}", BUCKET).replace("{Key+}", KEY)
    where = f"{path}?uploadId=u" if name == "CompleteMultipartUpload" else path
    answer = said(api, signed(api, model.http["method"], where, {"Content-MD5": md5(b"<Foo/>")}, b"<Foo/>"))
    assert code(answer) == "400 MalformedXML"


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


@pytest.mark.parametrize("number", ["0", "-1", "10001", "1e3", DIGITS, "", "1_0"])
def test_a_part_number_that_is_none_is_refused(api: Api, s3: Any, number: str) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    path = f"/{BUCKET}/parts?partNumber={number}&uploadId={upload}"
    assert code(said(api, signed(api, "PUT", path, {}, b"x"))) == "400 InvalidArgument"
    s3.abort_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload)


def test_a_refused_large_body_is_answered_though_its_sender_goes_on(api: Api) -> None:
    client = api.client("s3")
    for missing in ("no-such-bucket", "No_Bucket"):
        with pytest.raises(ClientError, match=r"NoSuchBucket|InvalidBucketName"):
            client.put_object(Bucket=missing, Key="large", Body=bytes(8 << 20))
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        api.client("s3", secret="wrong").put_object(Bucket=BUCKET, Key="large", Body=bytes(8 << 20))


def test_a_client_that_waits_is_asked_for_a_large_body_only_if_there_is_a_bucket_for_it(api: Api, s3: Any) -> None:
    assert s3
    host, _, port = api.url.removeprefix("http://").partition(":")
    body, ask = bytes(2 << 20), b"HTTP/1.1 100 Continue\r\n\r\n"
    missing, there = (
        signed(api, "PUT", f"/{name}/waited-for", {"Expect": "100-continue"}, body)[: -len(body)]
        for name in ("no-such-bucket", BUCKET)
    )
    assert code(said(api, missing)) == "404 NoSuchBucket"
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(there)
        assert client.recv(len(ask), socket.MSG_WAITALL) == ask
        client.sendall(body)
        assert client.recv(13, socket.MSG_WAITALL) == b"HTTP/1.1 200 "


def test_slow_bodies_keep_no_thread_that_others_wait_for(api: Api, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "storing", content.Threads(1))
    monkeypatch.setattr(pace, "WINDOW", 0.5)  # less than the second between two looks
    host, _, port = api.url.removeprefix("http://").partition(":")
    body = bytes(2 << 20)
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(signed(api, "PUT", f"/{BUCKET}/slow", {"Expect": "100-continue"}, body)[: -len(body)])
        assert slow.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"  # it has the thread
        assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"0123456789"
        s3.put_object(Bucket=BUCKET, Key="large", Body=body)
        answer = b""
        while piece := slow.recv(65536):
            answer += piece
    assert code(answer) == "400 RequestTimeout"


def test_more_than_was_announced_in_chunks_is_not_gathered(api: Api, s3: Any) -> None:
    assert s3
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (1 << 19, bytes(1 << 19))
    headers = {
        "x-amz-content-sha256": IN_CHUNKS,
        "x-amz-decoded-content-length": "10",
        "Content-Encoding": "aws-chunked",
    }
    assert code(said(api, signed(api, "PUT", f"/{BUCKET}/liar", headers, body))) == "400 IncompleteBody"


def test_a_body_of_the_smallest_chunks_is_refused_at_the_second(api: Api, s3: Any) -> None:
    assert s3
    size = 100_000
    headers = {
        "x-amz-content-sha256": IN_CHUNKS,
        "x-amz-decoded-content-length": str(size),
        "Content-Encoding": "aws-chunked",
    }
    answer = said(api, signed(api, "PUT", f"/{BUCKET}/small-chunks", headers, b"1\r\nx\r\n" * size + b"0\r\n\r\n"))
    assert code(answer) == "403 InvalidChunkSizeError"
    assert b"<Chunk>2</Chunk><BadChunkSize>1</BadChunkSize>" in answer


@pytest.mark.parametrize("size", ["ffffffffffffffff", "8000000000000000", "-5", "0x5", "5 ", "11111111111111111"])
def test_absurd_chunk_sizes_are_refused(api: Api, s3: Any, size: str) -> None:
    assert s3
    headers = {"x-amz-content-sha256": IN_CHUNKS, "x-amz-decoded-content-length": "5"}
    body = f"{size}\r\nhello\r\n0\r\n\r\n".encode()
    assert code(said(api, signed(api, "PUT", f"/{BUCKET}/chunks", headers, body))) == "400 IncompleteBody"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "-1"},
        {"Content-Length": "1, 2"},
        {"Content-Length": "99999999999999999999999"},
        {"Content-Length": "1", "content-length": "2"},
        {"Transfer-Encoding": "chunked", "Content-Length": "3"},
    ],
)
def test_contradictory_lengths_are_refused(api: Api, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = said(api, f"PUT /{BUCKET}/x HTTP/1.1\r\nHost: h\r\n{lines}\r\nabc".encode())
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "a/../../b", ".", "..", "/", "//", "a\x00b", "%2e%2e/x", "\\..\\x", "a/%00"]
)
def test_keys_that_look_like_paths_are_keys(s3: Any, api: Api, key: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode()
    names = [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert key in names
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"0123456789"


@pytest.mark.parametrize(
    ("method", "where", "header", "refusal"),
    [
        ("PUT", "/word", "x-amz-storage-class", "InvalidStorageClass"),
        ("POST", "/word?uploads=", "x-amz-storage-class", "InvalidStorageClass"),
        ("POST", "/word?uploads=", "x-amz-checksum-type", "InvalidRequest"),
        ("PUT", "/copy", "x-amz-storage-class", "InvalidStorageClass"),
        ("PUT", "/copy", "x-amz-metadata-directive", "InvalidArgument"),
        ("PUT", "/copy", "x-amz-tagging-directive", "InvalidArgument"),
        ("GET", "?list-type=2&encoding-type=BOGUS", "x-amz-nothing", "InvalidArgument"),
    ],
)
def test_a_word_that_s3_does_not_know_is_refused(
    api: Api, s3: Any, method: str, where: str, header: str, refusal: str
) -> None:
    headers = {header: "BOGUS"}
    if where == "/copy":
        headers["x-amz-copy-source"] = f"{BUCKET}/{KEY}"
    assert code(said(api, signed(api, method, f"/{BUCKET}{where}", headers))) == f"400 {refusal}"
    assert {row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}.isdisjoint({"word", "copy"})


@pytest.mark.parametrize(
    ("method", "where", "header", "answer"),
    [
        ("PUT", "/unsaid", "x-amz-storage-class", "200 "),
        ("PUT", "/unsaid", "x-amz-acl", "200 "),
        ("PUT", "/unsaid", "x-amz-server-side-encryption", "400 InvalidEncryptionAlgorithmError"),
        ("POST", "/unsaid?uploads=", "x-amz-checksum-type", "400 InvalidRequest"),
        ("GET", "?list-type=2&encoding-type=", "x-amz-nothing", "400 InvalidArgument"),
    ],
)
def test_only_some_words_may_be_empty(api: Api, s3: Any, method: str, where: str, header: str, answer: str) -> None:
    assert s3
    assert code(said(api, signed(api, method, f"/{BUCKET}{where}", {header: ""}))) == answer


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
def test_a_date_that_is_none_is_no_condition(api: Api, s3: Any, name: str) -> None:
    assert s3
    assert code(said(api, signed(api, "GET", f"/{BUCKET}/{KEY}", {name: "never"}))) == "200 "


def test_a_page_whose_length_is_left_open_is_a_whole_one(api: Api, s3: Any) -> None:
    assert s3
    for query in ("max-keys=", "list-type=2&max-keys=", "versions=&max-keys="):
        assert b"<MaxKeys>1000</MaxKeys>" in said(api, signed(api, "GET", f"/{BUCKET}?{query}", {}))


@pytest.mark.parametrize(
    ("region", "answer"), [("us-east-1", "200 "), ("EU", "400 IllegalLocationConstraintException")]
)
def test_a_bucket_may_be_asked_for_as_old_clients_do(api: Api, region: str, answer: str) -> None:
    inside = f"<LocationConstraint>{region}</LocationConstraint>"
    body = f"<CreateBucketConstraint>{inside}</CreateBucketConstraint>".encode()
    assert code(said(api, signed(api, "PUT", f"/old-{region.lower()}", {}, body))) == answer


def test_hints_may_be_in_small_letters_as_in_some_sdks(api: Api, s3: Any) -> None:
    assert s3
    assert code(said(api, signed(api, "GET", f"/{BUCKET}/{KEY}", {"x-amz-checksum-mode": "enabled"}))) == "200 "
    named = {"x-amz-sdk-checksum-algorithm": "crc32"}
    assert code(said(api, signed(api, "PUT", f"/{BUCKET}/hinted", named, b"x"))) == "200 "


def test_a_checksum_of_parts_is_asked_for_by_its_name_and_no_other(api: Api, s3: Any) -> None:
    assert s3
    asked = {"x-amz-checksum-algorithm": "crc32"}
    assert code(said(api, signed(api, "POST", f"/{BUCKET}/sums?uploads=", asked))) == "400 InvalidRequest"


@pytest.mark.parametrize("name", ["STANDARD", "STANDARD_IA", "GLACIER"])
def test_any_storage_class_of_s3_is_taken(s3: Any, name: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="stored", Body=b"x", StorageClass=name)
    s3.copy_object(Bucket=BUCKET, Key="stored", CopySource=f"{BUCKET}/stored", StorageClass=name)
    assert s3.get_object(Bucket=BUCKET, Key="stored")["Body"].read() == b"x"


ODD = ("", DIGITS, "\xe9\xff", "-1", "9999-12-31T23:59:59-23:59", "a=b&a=c")
DOCUMENTS = {
    "CompleteMultipartUpload": b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>"
    b"</CompleteMultipartUpload>",
    "DeleteObjects": b"<Delete><Object><Key>nothing</Key></Object></Delete>",
    "PutObjectTagging": b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "PutObject": b"content",
    "UploadPart": b"content",
}
ENDING = ("AbortMultipartUpload", "DeleteObject", "CompleteMultipartUpload", "PutObject", "CopyObject")


def places(model: OperationModel) -> dict[str, Shape]:
    """The members of a request that travel in headers or the query."""
    members = model.input_shape.members if model.input_shape else {}
    wanted = ("header", "headers", "querystring")
    return {name: member for name, member in members.items() if member.serialization.get("location") in wanted}


def odd_requests(name: str, upload: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Requests of an operation, each with one member that has an odd value."""
    model = models.operation("s3", name)
    usual = {"UploadId": upload, "PartNumber": "1", "CopySource": f"{BUCKET}/{KEY}", "ObjectAttributes": "ETag"}
    key = f"gone-{name}" if name in ENDING else KEY
    path, _, fixed = model.http["requestUri"].replace("{Bucket}", BUCKET).replace("{Key+}", key).partition("?")
    required = {member: usual[member] for member in model.input_shape.required_members if member in usual}
    for odd, member in places(model).items():
        for value in ODD:
            query, headers = [fixed] if fixed else [], {}
            for each, text in {**required, odd: value}.items():
                where = model.input_shape.members[each].serialization
                if where["location"] == "querystring":
                    query.append(urlencode({where["name"]: text.encode("latin-1")}, quote_via=quote))
                else:
                    headers[f"{where['name']}a" if where["location"] == "headers" else where["name"]] = text
            if member.serialization["name"].lower() not in ("content-length", "x-amz-content-sha256"):
                yield model.http["method"], "?".join([path, "&".join(query)]) if query else path, headers


@pytest.mark.parametrize("name", sorted(bucket.SERVED))
def test_no_odd_value_of_any_member_is_a_fault_of_ours(api: Api, s3: Any, name: str) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"gone-{name}" if name in ENDING else KEY)["UploadId"]
    connection = HTTPConnection(api.url.removeprefix("http://"), timeout=60)
    faults = []
    for method, path, headers in odd_requests(name, upload):
        body = DOCUMENTS.get(name, b"")
        if name == "DeleteObjects":
            headers = {"Content-MD5": md5(body), **headers}
        request = AWSRequest(method, f"{api.url}{path}", headers, body)
        S3SigV4Auth(Credentials(KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
        connection.request(method, path, body, dict(request.headers.items()))
        answer = connection.getresponse()
        answer.read()
        if answer.status == 500 or (answer.status == 403 and "owner" not in str(headers)):
            faults.append((answer.status, path, headers))
    connection.close()
    assert not faults


def test_nothing_odd_has_been_lost(s3: Any) -> None:
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"0123456789"
