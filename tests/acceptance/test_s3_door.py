"""The S3 door as people meet it: boto3 and the `aws` command against a started server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

pytestmark = pytest.mark.slow

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(20 * MIB + 11)


@pytest.fixture(scope="module")
def shared_server(server_with: Callable[..., Any]) -> Any:
    """In place of the fixture of this name: no worker is needed."""
    return server_with("--no-worker")


@pytest.fixture(scope="module")
def s3(shared_server: Any) -> Any:
    return shared_server.client("s3")


@pytest.fixture(scope="module")
def presigner(shared_server: Any) -> Any:
    return shared_server.client("s3", config=Config(signature_version="s3v4"))


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def run(shared_server: Any) -> Callable[..., Any]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PILOTHOUSE_"))}
    environment |= shared_server.environment() | {"AWS_CONFIG_FILE": os.devnull}
    command = Path(sys.executable).parent / "aws"

    def call(*arguments: str) -> str:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    return call


def quoted_md5(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def send_with_trailer(server: Any, path: str, content: bytes, value: str, kind: str = "crc32") -> int:
    """PUT in aws-chunked framing as the SDKs do over TLS; the status."""
    framed = b"".join(
        b"%x\r\n%b\r\n" % (len(content[at : at + MIB]), content[at : at + MIB]) for at in range(0, len(content), MIB)
    )
    body = framed + f"0\r\nx-amz-checksum-{kind}:{value}\r\n\r\n".encode()
    request = AWSRequest("PUT", server.url + path, data=body)
    request.headers["Content-Encoding"] = "aws-chunked"
    request.headers["X-Amz-Trailer"] = f"x-amz-checksum-{kind}"
    request.headers["X-Amz-Decoded-Content-Length"] = str(len(content))
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    environment = server.environment()
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    S3SigV4Auth(keys, "s3", environment["AWS_DEFAULT_REGION"]).add_auth(request)
    status: int = URLLib3Session().send(request.prepare()).status_code
    return status


def refused(call: Callable[..., Any], **request: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call(**request)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


class TestBuckets:
    def test_a_bucket_is_made_found_listed_and_deleted(self, s3: Any) -> None:
        made = s3.create_bucket(Bucket="first-bucket")
        assert made["Location"] == "/first-bucket"
        assert s3.head_bucket(Bucket="first-bucket")["BucketRegion"] == "us-east-1"
        listed = {row["Name"]: row["CreationDate"] for row in s3.list_buckets()["Buckets"]}
        assert abs(listed["first-bucket"] - datetime.now(UTC)) < timedelta(minutes=5)
        assert s3.get_bucket_location(Bucket="first-bucket")["LocationConstraint"] is None
        s3.delete_bucket(Bucket="first-bucket")
        assert refused(s3.head_bucket, Bucket="first-bucket") == ("404", 404)

    def test_an_owner_may_create_a_bucket_again_as_in_us_east_1(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="kept", Body=b"1")
        assert s3.create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"
        assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"1"

    def test_what_cannot_be_a_bucket_is_refused(self, s3: Any) -> None:
        assert refused(s3.create_bucket, Bucket="Not_a_bucket") == ("InvalidBucketName", 400)
        elsewhere = {"LocationConstraint": "eu-west-1"}
        code = refused(s3.create_bucket, Bucket="elsewhere", CreateBucketConfiguration=elsewhere)
        assert code == ("IllegalLocationConstraintException", 400)

    def test_buckets_are_listed_in_pages(self, s3: Any) -> None:
        for n in range(3):
            s3.create_bucket(Bucket=f"paged-{n}")
        pages = s3.get_paginator("list_buckets").paginate(Prefix="paged-", PaginationConfig={"PageSize": 2})
        assert [[row["Name"] for row in page["Buckets"]] for page in pages] == [["paged-0", "paged-1"], ["paged-2"]]


class TestObjects:
    def test_an_object_travels_with_all_that_was_said_of_it(self, s3: Any, bucket: str) -> None:
        sent = {
            "ContentType": "text/csv",
            "Metadata": {"owner": "me"},
            "CacheControl": "max-age=5",
            "ContentDisposition": "attachment",
            "ContentEncoding": "gzip",
            "ContentLanguage": "de",
            "Expires": datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC),
        }
        put = s3.put_object(Bucket=bucket, Key="dir/ä k+y?.csv", Body=b"a,b\n1,2\n", **sent)
        for answer in (
            s3.get_object(Bucket=bucket, Key="dir/ä k+y?.csv"),
            s3.head_object(Bucket=bucket, Key="dir/ä k+y?.csv"),
        ):
            assert {name: answer[name] for name in sent} == sent
            assert answer["ETag"] == put["ETag"] == quoted_md5(b"a,b\n1,2\n")
            assert answer["ContentLength"] == 8
            assert abs(answer["LastModified"] - datetime.now(UTC)) < timedelta(minutes=5)
        assert s3.get_object(Bucket=bucket, Key="dir/ä k+y?.csv")["Body"].read() == b"a,b\n1,2\n"

    def test_ranges_are_answered_with_206(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
        for asked, content, said in [
            ("bytes=2-4", b"234", "bytes 2-4/10"),
            ("bytes=7-", b"789", "bytes 7-9/10"),
            ("bytes=-3", b"789", "bytes 7-9/10"),
            ("bytes=0-99", b"0123456789", "bytes 0-9/10"),
        ]:
            answer = s3.get_object(Bucket=bucket, Key="k", Range=asked)
            assert (answer["Body"].read(), answer["ContentRange"]) == (content, said)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-") == ("InvalidRange", 416)
        assert "ContentRange" not in s3.get_object(Bucket=bucket, Key="k", Range="lines=1-2")

    def test_conditions_are_kept(self, s3: Any, bucket: str) -> None:
        etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
        at = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
        before, after = at - timedelta(hours=1), at + timedelta(hours=1)
        here = {"Bucket": bucket, "Key": "k"}
        for call in (s3.get_object, s3.head_object):
            call(**here, IfMatch=etag, IfNoneMatch='"other"')
            call(**here, IfModifiedSince=before, IfUnmodifiedSince=after)
            assert refused(call, **here, IfNoneMatch=etag)[1] == 304
            assert refused(call, **here, IfModifiedSince=at)[1] == 304
            assert refused(call, **here, IfMatch='"other"')[1] == 412
            assert refused(call, **here, IfUnmodifiedSince=before)[1] == 412
        assert refused(s3.put_object, **here, Body=b"y", IfNoneMatch="*") == ("PreconditionFailed", 412)
        assert s3.get_object(**here)["Body"].read() == b"x"

    def test_what_is_missing_is_told_in_s3s_way(self, s3: Any, bucket: str) -> None:
        assert refused(s3.get_object, Bucket=bucket, Key="none") == ("NoSuchKey", 404)
        assert refused(s3.head_object, Bucket=bucket, Key="none") == ("404", 404)
        assert refused(s3.get_object, Bucket="no-such-bucket", Key="none") == ("NoSuchBucket", 404)
        assert refused(s3.put_object, Bucket="no-such-bucket", Key="none", Body=CONTENT) == ("NoSuchBucket", 404)
        assert refused(s3.list_objects_v2, Bucket="no-such-bucket") == ("NoSuchBucket", 404)
        s3.delete_object(Bucket=bucket, Key="none")

    def test_an_operation_that_is_not_served_says_so(self, s3: Any, bucket: str) -> None:
        with pytest.raises(ClientError, match="PutBucketVersioning") as error:
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert error.value.response["Error"]["Code"] == "NotImplemented"
        assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)

    def test_a_copy_keeps_or_changes_what_is_said_of_the_object(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="a b/ü+", Body=b"x", ContentType="text/csv", Metadata={"n": "1"})
        source = {"Bucket": bucket, "Key": "a b/ü+"}
        copied = s3.copy_object(Bucket=bucket, Key="c", CopySource=source)
        assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key="c")["ETag"]
        assert s3.head_object(Bucket=bucket, Key="c")["Metadata"] == {"n": "1"}
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"})
        answer = s3.get_object(Bucket=bucket, Key="c")
        assert (answer["Metadata"], answer["ContentType"], answer["Body"].read()) == (
            {"n": "2"},
            "binary/octet-stream",
            b"x",
        )
        assert refused(s3.copy_object, CopySource=source, **source) == ("InvalidRequest", 400)
        missing = {"Bucket": bucket, "Key": "none"}
        assert refused(s3.copy_object, Bucket=bucket, Key="d", CopySource=missing) == ("NoSuchKey", 404)

    def test_many_objects_are_deleted_at_once(self, s3: Any, bucket: str) -> None:
        for key in ("a", "b & <c>", "d"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")
        named = [{"Key": key} for key in ("a", "b & <c>", "none")]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
        assert [row["Key"] for row in answer["Deleted"]] == ["a", "b & <c>", "none"]
        assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["d"]
        assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "d"}], "Quiet": True})


class TestListing:
    KEYS = ("a&b", "a/1", "a/2", "b\tc", "d/e/f", "ü", "🙂")

    @pytest.fixture
    def full(self, s3: Any, bucket: str) -> str:
        for key in self.KEYS:
            s3.put_object(Bucket=bucket, Key=key, Body=b"12")
        return bucket

    @pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
    def test_both_listings_page_through_everything(self, s3: Any, full: str, operation: str) -> None:
        pages = s3.get_paginator(operation).paginate(Bucket=full, PaginationConfig={"PageSize": 2})
        rows = [row for page in pages for row in page["Contents"]]
        assert tuple(row["Key"] for row in rows) == self.KEYS
        assert {(row["Size"], row["StorageClass"]) for row in rows} == {(2, "STANDARD")}

    @pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
    @pytest.mark.parametrize("size", [1, 2, 1000])
    def test_folders_are_rolled_up_across_pages(self, s3: Any, full: str, operation: str, size: int) -> None:
        pages = list(
            s3.get_paginator(operation).paginate(Bucket=full, Delimiter="/", PaginationConfig={"PageSize": size})
        )
        assert [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])] == ["a/", "d/"]
        assert [row["Key"] for page in pages for row in page.get("Contents", [])] == ["a&b", "b\tc", "ü", "🙂"]

    def test_start_after_and_prefix_narrow_the_listing(self, s3: Any, full: str) -> None:
        answer = s3.list_objects_v2(Bucket=full, StartAfter="a/1", Prefix="a")
        assert ([row["Key"] for row in answer["Contents"]], answer["KeyCount"]) == (["a/2"], 1)
        assert s3.list_objects_v2(Bucket=full, MaxKeys=0)["KeyCount"] == 0
        assert refused(s3.list_objects_v2, Bucket=full, ContinuationToken="!")[0] == "InvalidArgument"


class TestTransfers:
    @pytest.mark.parametrize("size", [0, 100, MIB + 1, len(CONTENT)])
    def test_files_of_any_size_come_back_the_same(self, s3: Any, bucket: str, size: int, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(CONTENT[:size])
        s3.upload_file(str(tmp_path / "in"), bucket, "f")
        s3.download_file(bucket, "f", str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == CONTENT[:size]

    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
    def test_checksums_are_verified_kept_and_told(self, s3: Any, bucket: str, algorithm: str) -> None:
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
        told = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert put[f"Checksum{algorithm}"] == told[f"Checksum{algorithm}"]
        assert told["ChecksumType"] == "FULL_OBJECT"
        wrong = {f"Checksum{algorithm}": base64.b64encode(b"wrong").decode()}
        assert refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"hello", **wrong) == ("BadDigest", 400)

    def test_a_stream_that_cannot_be_rewound_is_sent_with_a_trailer(self, s3: Any, bucket: str) -> None:
        class Once(io.RawIOBase):
            def __init__(self) -> None:
                self.left = io.BytesIO(CONTENT)

            def readable(self) -> bool:
                return True

            def read(self, size: int = -1) -> bytes:
                return self.left.read(size)

        s3.upload_fileobj(Once(), bucket, "k")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == CONTENT

    def test_a_trailer_is_verified_and_kept(self, s3: Any, bucket: str, shared_server: Any) -> None:
        crc = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
        assert send_with_trailer(shared_server, f"/{bucket}/k", CONTENT, crc) == 200
        answer = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert (answer["ChecksumCRC32"], answer.get("ContentEncoding")) == (crc, None)
        assert answer["Body"].read() == CONTENT
        assert send_with_trailer(shared_server, f"/{bucket}/k2", CONTENT, "AAAAAA==") == 400
        assert send_with_trailer(shared_server, f"/{bucket}/k2", b"small", "AAAAAA==") == 400
        assert send_with_trailer(shared_server, f"/{bucket}/k2", b"small", "AAAAAAAAAAA=", "xxhash3") == 400
        assert refused(s3.head_object, Bucket=bucket, Key="k2")[1] == 404

    def test_a_wrong_md5_is_refused(self, s3: Any, bucket: str) -> None:
        wrong = base64.b64encode(b"0" * 16).decode()
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=wrong) == ("BadDigest", 400)
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="x") == ("InvalidDigest", 400)

    def test_a_presigned_url_needs_no_client(self, s3: Any, bucket: str, presigner: Any) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
        wanted = {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/x-own"}
        with urllib.request.urlopen(presigner.generate_presigned_url("get_object", Params=wanted)) as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"hello", "text/x-own")

    def test_memory_stays_bounded_while_large_objects_pass(self, s3: Any, bucket: str, shared_server: Any) -> None:
        process = psutil.Process(shared_server.process.pid)
        s3.put_object(Bucket=bucket, Key="warm", Body=CONTENT)
        s3.get_object(Bucket=bucket, Key="warm")["Body"].read()
        peak = before = process.memory_info().rss
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            s3.put_object(Bucket=bucket, Key="large", Body=io.BytesIO(bytes(400 * MIB)))
            body = s3.get_object(Bucket=bucket, Key="large")["Body"]
            assert sum(len(piece) for piece in body.iter_chunks(MIB)) == 400 * MIB
        finally:
            done.set()
            watcher.join()
        assert peak - before < 100 * MIB

    def test_a_client_that_asks_first_is_told_to_continue(self, s3: Any, bucket: str, presigner: Any) -> None:
        url = presigner.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
        host, _, path = url.removeprefix("http://").partition("/")
        head = f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(tuple(host.split(":")), timeout=30) as connection:
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"hello")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"

    def test_an_upload_that_breaks_off_leaves_the_old_object(self, s3: Any, bucket: str, presigner: Any) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"old")
        url = presigner.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
        host, _, path = url.removeprefix("http://").partition("/")
        with socket.create_connection(tuple(host.split(":")), timeout=30) as connection:
            connection.sendall(f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {9 * MIB}\r\n\r\n".encode())
            connection.sendall(bytes(3 * MIB))
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"


class TestMultipart:
    def test_an_upload_in_parts_is_listed_while_it_runs(self, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        begun = s3.create_multipart_upload(**here, ContentType="text/csv", Metadata={"n": "1"})
        upload = {**here, "UploadId": begun["UploadId"]}
        etags = [s3.upload_part(**upload, PartNumber=n, Body=CONTENT[: 5 * MIB])["ETag"] for n in (1, 2, 3)]
        running = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
        assert [(row["Key"], row["UploadId"]) for row in running] == [("k", begun["UploadId"])]
        pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
        rows = [row for page in pages for row in page["Parts"]]
        assert [(row["PartNumber"], row["ETag"], row["Size"]) for row in rows] == [
            (n, etag, 5 * MIB) for n, etag in enumerate(etags, 1)
        ]
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
        done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        head = s3.head_object(**here)
        assert (head["ETag"], head["ContentLength"], head["Metadata"]) == (done["ETag"], 15 * MIB, {"n": "1"})
        assert head["ETag"].endswith('-3"')
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)

    def test_a_part_can_be_a_range_of_an_object(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="source", Body=CONTENT)
        here = {"Bucket": bucket, "Key": "k"}
        upload = {**here, "UploadId": s3.create_multipart_upload(**here)["UploadId"]}
        source = {"Bucket": bucket, "Key": "source"}
        parts = []
        for number, asked in ((1, f"bytes=0-{6 * MIB - 1}"), (2, "bytes=10-19")):
            answer = s3.upload_part_copy(**upload, PartNumber=number, CopySource=source, CopySourceRange=asked)
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert s3.get_object(**here)["Body"].read() == CONTENT[: 6 * MIB] + CONTENT[10:20]

    def test_an_aborted_upload_is_gone(self, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        upload = {**here, "UploadId": s3.create_multipart_upload(**here)["UploadId"]}
        s3.abort_multipart_upload(**upload)
        assert refused(s3.list_parts, **upload) == ("NoSuchUpload", 404)
        assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"x") == ("NoSuchUpload", 404)


class TestXml:
    """What a client could send that botocore never would."""

    @pytest.fixture
    def send(self, s3: Any, bucket: str) -> Callable[[bytes], tuple[str, int]]:
        client = s3

        def call(document: bytes) -> tuple[str, int]:
            def replace(request: Any, **_: Any) -> None:
                request.data = document
                request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(document).digest()).decode()
                for name in [name for name in request.headers if name.lower().startswith("x-amz-checksum")]:
                    del request.headers[name]

            client.meta.events.register_first("before-sign.s3.DeleteObjects", replace, unique_id="replace")
            try:
                return refused(client.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "x"}]})
            finally:
                client.meta.events.unregister("before-sign.s3.DeleteObjects", unique_id="replace")

        return call

    @pytest.mark.parametrize(
        "document",
        [
            b"not xml",
            b"<Delete><Object>",
            b"<Delete></Delete>",
            b"<Delete><Object><VersionId>1</VersionId></Object></Delete>",
            b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
            b"<a>" * 100 + b"</a>" * 100,
        ],
    )
    def test_xml_that_is_none_or_not_what_was_agreed_is_malformed(self, send: Any, document: bytes) -> None:
        assert send(document) == ("MalformedXML", 400)


class TestCommand:
    def test_aws_s3_makes_copies_lists_and_removes(self, run: Any, tmp_path: Path) -> None:
        run("s3", "mb", "s3://cli-bucket")
        (tmp_path / "big").write_bytes(CONTENT)
        (tmp_path / "small.csv").write_text("a,b\n")
        run("s3", "cp", str(tmp_path / "big"), "s3://cli-bucket/in/big")
        run("s3", "cp", str(tmp_path / "small.csv"), "s3://cli-bucket/in/small.csv")
        assert "PRE in/" in run("s3", "ls", "s3://cli-bucket")
        assert "small.csv" in run("s3", "ls", "s3://cli-bucket/in/")
        run("s3", "cp", "s3://cli-bucket/in/big", "s3://cli-bucket/copy/big")
        run("s3", "cp", "s3://cli-bucket/copy/big", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == CONTENT
        run("s3", "mv", "s3://cli-bucket/in/small.csv", "s3://cli-bucket/moved.csv")
        assert run("s3", "cp", "s3://cli-bucket/moved.csv", "-") == "a,b\n"
        run("s3", "rb", "s3://cli-bucket", "--force")
        assert "cli-bucket" not in run("s3", "ls")

    def test_aws_s3_sync_carries_over_what_changed(self, run: Any, bucket: str, tmp_path: Path) -> None:
        for name in ("a.csv", "sub/b.csv", "sub/ü c.csv"):
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).write_text(name)
        assert run("s3", "sync", str(tmp_path / "data"), f"s3://{bucket}/d").count("upload:") == 3
        assert run("s3", "sync", str(tmp_path / "data"), f"s3://{bucket}/d") == ""
        run("s3", "sync", f"s3://{bucket}/d", str(tmp_path / "back"))
        assert (tmp_path / "back" / "sub" / "ü c.csv").read_text() == "sub/ü c.csv"

    def test_aws_s3api_answers_as_json(self, run: Any, bucket: str, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("hello")
        run("s3api", "put-object", "--bucket", bucket, "--key", "k", "--body", str(tmp_path / "f"))
        assert json.loads(run("s3api", "head-object", "--bucket", bucket, "--key", "k"))["ContentLength"] == 5
        assert run("s3", "cp", "-", f"s3://{bucket}/none", "--dryrun") is not None


def test_a_wrong_secret_is_refused_in_s3s_way(shared_server: Any) -> None:
    environment = shared_server.environment()
    client = boto3.client(
        "s3",
        endpoint_url=shared_server.url,
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key="wrong",
    )
    assert refused(client.list_buckets) == ("SignatureDoesNotMatch", 403)
