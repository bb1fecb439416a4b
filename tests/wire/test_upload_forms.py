"""Uploads by form, as `generate_presigned_post` makes them and browsers send them."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from http.client import HTTPConnection
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from pilothouse.api import upload_form

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
BUCKET = "uploads"


@pytest.fixture(scope="module")
def s3(api: Any) -> Any:
    client = api.client("s3", signature_version="s3v4")
    client.create_bucket(Bucket=BUCKET)
    return client


def form(fields: dict[str, str], content: bytes | None, filename: str = "a.csv", after: str = "") -> bytes:
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    if content is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/csv\r\n\r\n'
        parts.append(f"--{BOUNDARY}\r\n{head}")
        return "".join(parts).encode() + content + f"\r\n--{BOUNDARY}{after}--\r\n".encode()
    return "".join(parts).encode() + f"--{BOUNDARY}--\r\n".encode()


def post(
    url: str, body: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}"
) -> tuple[int, dict[str, str], bytes]:
    request = AWSRequest("POST", url, headers={"Content-Type": content_type}, data=body)
    answer = URLLib3Session().send(request.prepare())
    return answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content


def told(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str]:
    """Status, code and message of an error."""
    document = ElementTree.fromstring(answer[2])
    return answer[0], document.findtext("Code", ""), document.findtext("Message", "")


def sent(s3: Any, key: str, content: bytes = b"a,b\n", filename: str = "a.csv", **options: Any) -> Any:
    """The answer to a form for this key; `add` puts fields into it that the signer did not."""
    added = options.pop("add", {})
    signed = s3.generate_presigned_post(BUCKET, key, **options)
    return post(signed["url"], form({**signed["fields"], **added}, content, filename))


def test_a_form_stores_a_file_with_what_its_fields_say(s3: Any) -> None:
    fields = {
        "Content-Type": "text/csv",
        "Cache-Control": "no-store",
        "x-amz-meta-who": "Jürgen",
        "acl": "private",
        "x-amz-server-side-encryption": "AES256",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>",
    }
    conditions = [{name: value} for name, value in fields.items()]
    status, headers, body = sent(s3, "in/a.csv", Fields=fields, Conditions=conditions)
    stored = s3.get_object(Bucket=BUCKET, Key="in/a.csv")
    assert (status, body, headers["etag"]) == (204, b"", stored["ETag"])
    assert headers["location"].endswith(f"/{BUCKET}/in/a.csv")
    assert (stored["Body"].read(), stored["ContentType"], stored["CacheControl"]) == (b"a,b\n", "text/csv", "no-store")
    assert stored["ServerSideEncryption"] == "AES256"
    assert s3.get_object_tagging(Bucket=BUCKET, Key="in/a.csv")["TagSet"] == [{"Key": "a", "Value": "b c"}]


def test_what_no_header_could_carry_is_refused(s3: Any) -> None:
    for value, code in (("日本 ☃", ""), ("a\nb", "InvalidArgument"), ("a\x00b", "InvalidArgument")):
        fields = {"x-amz-meta-a": value}
        answer = sent(s3, "headers", Fields=fields, Conditions=[fields])
        assert (told(answer)[1] if code else answer[0]) == (code or 204)
    for name in ("my name", "日本", "a:b", ""):
        fields = {f"x-amz-meta-{name}": "x"}
        assert told(sent(s3, "headers", Fields=fields, Conditions=[fields]))[1] == "InvalidArgument"
    answer = s3.head_object(Bucket=BUCKET, Key="headers")
    assert answer["Metadata"]["a"].encode("latin-1").decode() == "日本 ☃"


@pytest.mark.parametrize(
    ("filename", "name"),
    [("b c.csv", "b c.csv"), ("C:\\data\\ü.csv", "ü.csv"), ("/tmp/../x", "x"), ("", "")],
)
def test_the_name_of_the_file_becomes_part_of_the_key(s3: Any, filename: str, name: str) -> None:
    assert sent(s3, "from/${filename}", b"x", filename)[0] == 204
    assert s3.get_object(Bucket=BUCKET, Key=f"from/{name}")["Body"].read() == b"x"


def test_a_large_file_passes_in_pieces(s3: Any) -> None:
    content = bytes(range(256)) * (12 << 10) + b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n"
    assert sent(s3, "large", content)[0] == 204
    assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == content


@pytest.mark.parametrize("status", ["200", "201", "204", "999"])
def test_the_form_chooses_the_status(s3: Any, status: str) -> None:
    wanted = {"success_action_status": status}
    code, headers, body = sent(s3, "s", Fields=wanted, Conditions=[wanted])
    assert code == (204 if status == "999" else int(status))
    if status == "201":
        document = ElementTree.fromstring(body)
        assert [document.findtext(name) for name in ("Bucket", "Key", "ETag")] == [BUCKET, "s", headers["etag"]]
        assert document.findtext("Location") == headers["location"]


def test_the_form_chooses_where_the_browser_goes(s3: Any) -> None:
    wanted = {"success_action_redirect": "http://127.0.0.1:1/done?x=1"}
    signed = s3.generate_presigned_post(BUCKET, "r", Fields=wanted, Conditions=[wanted])
    address = signed["url"].removeprefix("http://").partition("/")
    connection = HTTPConnection(address[0], timeout=60)
    connection.request(
        "POST",
        f"/{address[2]}",
        form(signed["fields"], b"x"),
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    answer = connection.getresponse()
    etag = s3.head_object(Bucket=BUCKET, Key="r")["ETag"].strip('"')
    assert answer.status == 303
    assert answer.headers["Location"] == f"http://127.0.0.1:1/done?x=1&bucket={BUCKET}&key=r&etag=%22{etag}%22"
    connection.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add": {"x-amz-meta-a": "1"}}, "Extra input fields: x-amz-meta-a"),
        ({"add": {"key": "other"}}, 'Policy Condition failed: ["eq", "$key", "k"]'),
        ({"add": {"key": "${filename}"}}, 'Policy Condition failed: ["eq", "$key", "k"]'),
        (
            {"Fields": {"Content-Type": "text/html"}, "Conditions": [["starts-with", "$Content-Type", "image/"]]},
            'Policy Condition failed: ["starts-with", "$Content-Type", "image/"]',
        ),
        ({"Conditions": [{"acl": "private"}]}, 'Policy Condition failed: ["eq", "$acl", "private"]'),
        ({"ExpiresIn": -10}, "Policy expired."),
    ],
)
def test_what_the_policy_does_not_allow_is_denied(s3: Any, options: dict[str, Any], message: str) -> None:
    assert told(sent(s3, "k", **options)) == (403, "AccessDenied", f"Invalid according to Policy: {message}")
    with pytest.raises(ClientError):
        s3.head_object(Bucket=BUCKET, Key="k")


def test_a_policy_is_for_its_own_bucket(api: Any, s3: Any) -> None:
    s3.create_bucket(Bucket="another")
    signed = s3.generate_presigned_post(BUCKET, "k")
    answer = told(post(f"{api.url}/another", form(signed["fields"], b"x")))
    assert answer == (
        403,
        "AccessDenied",
        f'Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "{BUCKET}"]',
    )


@pytest.mark.parametrize(("size", "code"), [(4, "EntityTooSmall"), (5, ""), (10, ""), (11, "EntityTooLarge")])
def test_the_size_of_the_file_stays_within_the_policys_bounds(s3: Any, size: int, code: str) -> None:
    answer = sent(s3, f"size-{size}", b"x" * size, Conditions=[["content-length-range", 5, 10]])
    assert answer[0] == (400 if code else 204)
    if code:
        assert told(answer)[1] == code
    keys = [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET, Prefix="size-").get("Contents", [])]
    assert (f"size-{size}" in keys) is not bool(code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"x-amz-signature": ""}, "InvalidArgument"),
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "AuthorizationHeaderMalformed"),
        ({"x-amz-credential": "PHKAWRONG/20260101/us-east-1/s3/aws4_request"}, "AuthorizationHeaderMalformed"),
        ({"x-amz-credential": "nonsense"}, "AuthorizationHeaderMalformed"),
        ({"policy": base64.b64encode(b'{"conditions": []}').decode()}, "SignatureDoesNotMatch"),
        ({"policy": ""}, "AccessDenied"),
    ],
)
def test_a_form_that_was_not_signed_so_is_refused(s3: Any, changes: dict[str, str], code: str) -> None:
    signed = s3.generate_presigned_post(BUCKET, "k")
    fields = {name: value for name, value in {**signed["fields"], **changes}.items() if value}
    assert told(post(signed["url"], form(fields, b"x")))[1] == code


@pytest.mark.parametrize("policy", ["{", "[]", '{"conditions": []}', '{"expiration": "soon", "conditions": []}'])
def test_a_signed_policy_that_is_none_is_told(s3: Any, policy: str) -> None:
    from pilothouse.wire import sigv4

    signed = s3.generate_presigned_post(BUCKET, "k")
    text = base64.b64encode(policy.encode()).decode()
    date, region, service = signed["fields"]["x-amz-credential"].split("/")[1:4]
    secret = s3._request_signer._credentials.secret_key
    key = sigv4._signing_key(secret, sigv4.Claim("", date, region, service, (), "", ""))
    fields = {**signed["fields"], "policy": text, "x-amz-signature": sigv4.sign(key, text)}
    assert told(post(signed["url"], form(fields, b"x")))[1] == "InvalidPolicyDocument"


def test_a_form_of_an_old_signature_is_told_how_to_sign(api: Any, s3: Any) -> None:
    signed = api.client("s3").generate_presigned_post(BUCKET, "k")
    assert "AWSAccessKeyId" in signed["fields"]
    _, code, message = told(post(signed["url"], form(signed["fields"], b"x")))
    assert code == "AuthorizationHeaderMalformed"
    assert 'Config(signature_version="s3v4")' in message


def test_conditions_that_s3_has_not_got_are_told() -> None:
    from pilothouse.errors import S3Error
    from pilothouse.wire import post_policy

    for condition in (
        ["ends-with", "$key", "x"],
        ["eq", "key", "x"],
        {"key": 1},
        ["content-length-range", 1],
        ["content-length-range", 1, float("inf")],
        "key",
        [],
    ):
        document = {"expiration": "2040-01-01T00:00:00Z", "conditions": [condition]}
        with pytest.raises(S3Error, match="no form that S3 has"):
            post_policy.read(base64.b64encode(json.dumps(document).encode()).decode())


def test_a_stranger_has_not_all_the_time_for_the_fields_of_a_form(
    api: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_form, "FIELDS_PATIENCE", 0.2)
    host, _, port = api.url.removeprefix("http://").partition(":")
    head = f"POST /{BUCKET} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10000\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n--".encode())
        answer = b""
        while b"</Error>" not in answer:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")  # it goes on all the while
            answer += connection.recv(4096)
    assert b"<Code>RequestTimeout</Code>" in answer


def test_a_form_that_is_malformed_is_told(s3: Any) -> None:
    signed = s3.generate_presigned_post(BUCKET, "k")
    fields = signed["fields"]
    whole = form(fields, b"x" * 100)
    assert told(post(signed["url"], form(fields, None)))[1] == "InvalidArgument"
    assert (
        told(post(signed["url"], form({k: v for k, v in fields.items() if k != "key"}, b"x")))[1] == "InvalidArgument"
    )
    assert told(post(signed["url"], whole[:-60]))[1] == "MalformedPOSTRequest"
    assert told(post(signed["url"], whole, "multipart/form-data"))[1] == "MalformedPOSTRequest"
    assert told(post(signed["url"], form({"x": "y" * 30_000, **fields}, b"x")))[1] == "MaxPostPreDataLengthExceeded"
    assert told(post(f"{signed['url']}/key", whole))[1] == "MethodNotAllowed"
    assert told(post(signed["url"], b"", "application/octet-stream"))[1] == "AccessDenied"
    with pytest.raises(ClientError):
        s3.head_object(Bucket=BUCKET, Key="k")
