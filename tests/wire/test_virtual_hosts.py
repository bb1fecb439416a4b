"""S3 requests whose bucket is in the host's name, signed by botocore."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

VIRTUAL = {"addressing_style": "virtual"}


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads every name under localhost to this machine, as most systems do."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith("localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture
def named(api: Any, local: None) -> Any:
    """The API at the name localhost."""
    return type(api)(api.url.replace("127.0.0.1", "localhost"), api.context)


def send(api: Any, method: str, host: str, path: str, body: bytes = b"", wrong: bool = False) -> tuple[int, bytes]:
    """A signed request to a host that needs no resolving; `wrong` sends it to another than was signed."""
    request = AWSRequest(method, f"http://{host}{path}", data=body)
    S3SigV4Auth(Credentials(api.key_id, api.secret), "s3", "us-east-1").add_auth(request)
    connection = HTTPConnection(api.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(
            method, path, body or None, {**dict(request.headers.items()), "Host": f"other.{host}" if wrong else host}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("bucket", ["in-host", "in.host.with.dots"])
def test_a_bucket_in_the_host_is_the_one_in_the_path(api: Any, bucket: str) -> None:
    host, s3 = f"{bucket}.localhost:8642", api.client("s3")
    assert send(api, "PUT", host, "/")[0] == 200
    assert send(api, "PUT", host, "/a/b%20c", b"content")[0] == 200
    assert s3.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == b"content"
    s3.put_object(Bucket=bucket, Key=f"{bucket}/x", Body=b"beneath its own name")
    assert send(api, "GET", host, f"/{bucket}/x") == (200, b"beneath its own name")
    assert b"<Key>a/b c</Key>" in send(api, "GET", host, "/?list-type=2")[1]
    assert send(api, "GET", host, "/a/b%20c", wrong=True)[0] == 403


def test_boto3_may_put_the_bucket_into_the_host(named: Any) -> None:
    s3 = named.client("s3", s3=VIRTUAL)
    s3.create_bucket(Bucket="virtual")
    asked: list[str] = []
    s3.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.url))
    s3.put_object(Bucket="virtual", Key="k", Body=b"x")
    s3.copy_object(Bucket="virtual", Key="l/m", CopySource="virtual/k")
    assert [row["Key"] for row in s3.list_objects_v2(Bucket="virtual")["Contents"]] == ["k", "l/m"]
    upload = s3.create_multipart_upload(Bucket="virtual", Key="parts")["UploadId"]
    assert s3.list_multipart_uploads(Bucket="virtual")["Uploads"][0]["UploadId"] == upload
    s3.delete_objects(Bucket="virtual", Delete={"Objects": [{"Key": "k"}]})
    assert all(url.startswith("http://virtual.localhost:") for url in asked)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] == "virtual"] == ["virtual"]


def test_a_presigned_url_may_have_the_bucket_in_the_host(named: Any) -> None:
    s3 = named.client("s3", s3=VIRTUAL, signature_version="s3v4")
    s3.create_bucket(Bucket="signed")
    s3.put_object(Bucket="signed", Key="k", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "signed", "Key": "k"})
    assert url.startswith("http://signed.localhost:")
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"x"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace("//signed.", "//other."))
    assert error.value.code == 403
    error.value.close()


def test_boto3_keeps_to_the_path_unless_told_otherwise(named: Any) -> None:
    url = named.client("s3", signature_version="s3v4").generate_presigned_url(
        "get_object", Params={"Bucket": "b", "Key": "k"}
    )
    assert url.startswith(f"{named.url}/b/k?")


def test_other_services_take_any_name_of_the_server(api: Any) -> None:
    client = api.client("sts")
    client.meta.events.register(
        "before-sign.sts", lambda request, **_: request.headers.add_header("Host", "sts.localhost:8642")
    )
    assert client.get_caller_identity()["Account"] == "000000000000"
