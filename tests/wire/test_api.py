"""The API as boto3 meets it: botocore's own code signs the requests and judges the answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import tempfile
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pilothouse.api import gateway
from pilothouse.catalog import hosting
from pilothouse.operations.table import SERVED
from tests.unit.echo import Replica

pytestmark = pytest.mark.slow

CALLS: dict[str, Callable[[Any], Any]] = {
    "sagemaker": lambda client: client.list_auto_ml_jobs(),
    "logs": lambda client: client.describe_log_streams(logGroupName="/aws/sagemaker/Known"),
    "sts": lambda client: client.get_caller_identity(),
    "iam": lambda client: client.get_role(RoleName="someone"),
    "s3": lambda client: client.list_buckets(),
    "sagemaker-runtime": lambda client: client.invoke_endpoint(EndpointName="nowhere", Body=b"1"),
}


@pytest.fixture(scope="module", autouse=True)
def known_log_group(api: Any) -> None:
    """A log group with one stream."""
    api.context.store.logs.append("/aws/sagemaker/Known", "stream", ["hello"])


def refusal(call: Callable[[], Any]) -> tuple[str, int, str]:
    """Code, status and message of the error that `call` meets."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    assert response["ResponseMetadata"].get("RequestId")
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def post(
    api: Any,
    body: bytes,
    target: str,
    service: str = "sagemaker",
    media_type: str = "application/x-amz-json-1.1",
    method: str = "POST",
) -> tuple[int, dict[str, Any], str | None]:
    """A signed JSON request, whatever it says: status, answer, request id."""
    headers = {"X-Amz-Target": target, "Content-Type": media_type}
    request = AWSRequest(method, api.url, headers, body)
    SigV4Auth(Credentials(api.key_id, api.secret), service, "us-east-1").add_auth(request)
    raw = urllib.request.Request(api.url, body, dict(request.headers), method=method)
    try:
        with urllib.request.urlopen(raw, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"{}"), answer.headers["x-amzn-RequestId"]
    except HTTPError as error:
        return error.code, json.loads(error.read()), error.headers["x-amzn-RequestId"]


@pytest.mark.parametrize("service", [name for name in CALLS if name != "sagemaker-runtime"])
def test_every_service_answers_boto3(api: Any, service: str) -> None:
    answer = CALLS[service](api.client(service))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ResponseMetadata"]["RequestId"]


def test_the_runtime_is_told_from_the_control_plane_by_its_path(api: Any) -> None:
    code, status, message = refusal(lambda: CALLS["sagemaker-runtime"](api.client("sagemaker-runtime")))
    assert (code, status) == ("ValidationError", 400)
    assert "nowhere" in message


REFUSALS = {
    "unsigned": {
        "sagemaker": "MissingAuthenticationTokenException",
        "logs": "MissingAuthenticationTokenException",
        "sts": "MissingAuthenticationToken",
        "iam": "MissingAuthenticationToken",
        "s3": "AccessDenied",
        "sagemaker-runtime": "MissingAuthenticationTokenException",
    },
    "unknown key": {
        "sagemaker": "UnrecognizedClientException",
        "logs": "UnrecognizedClientException",
        "sts": "InvalidClientTokenId",
        "iam": "InvalidClientTokenId",
        "s3": "InvalidAccessKeyId",
        "sagemaker-runtime": "UnrecognizedClientException",
    },
    "wrong secret": {
        "sagemaker": "InvalidSignatureException",
        "logs": "InvalidSignatureException",
        "sts": "SignatureDoesNotMatch",
        "iam": "SignatureDoesNotMatch",
        "s3": "SignatureDoesNotMatch",
        "sagemaker-runtime": "InvalidSignatureException",
    },
    "old": {
        "sagemaker": "InvalidSignatureException",
        "logs": "InvalidSignatureException",
        "sts": "SignatureDoesNotMatch",
        "iam": "SignatureDoesNotMatch",
        "s3": "RequestTimeTooSkewed",
        "sagemaker-runtime": "InvalidSignatureException",
    },
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("why", REFUSALS)
def test_who_is_not_known_is_refused_in_the_services_own_words(
    api: Any, service: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, dict[str, Any]] = {
        "unsigned": {"signature_version": UNSIGNED},
        "unknown key": {"key": "PHKANOBODY0000000000"},
        "wrong secret": {"secret": "wrong"},
        "old": {},
    }
    if why == "old":
        past = get_current_datetime() - timedelta(minutes=20)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: past)
    code, status, message = refusal(lambda: CALLS[service](api.client(service, **options[why])))
    assert code == REFUSALS[why][service]
    assert status in (400, 403)
    assert message


@pytest.mark.parametrize("service", ["sagemaker", "s3"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Date": "Fri, 31 Dec 9999 23:59:59 -1200"},
        {"Date": "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"},
        {"X-Amz-Date": "00010101T000000Z"},
    ],
)
def test_a_stranger_from_another_age_is_refused_in_the_services_own_form(
    api: Any, service: str, headers: dict[str, str]
) -> None:
    credential = f"X/00010101/us-east-1/{service}/aws4_request"
    signed = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=0"
    request = urllib.request.Request(api.url, b"{}", {**headers, "Authorization": signed})
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert caught.value.code in (400, 403)
    assert caught.value.headers["x-amzn-RequestId"]


def capture(client: Any, call: Callable[[Any], Any]) -> Any:
    """The request that botocore signed for `call`, kept from being sent."""
    seen: list[Any] = []

    def instead(request: Any, **_: Any) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())  # type: ignore[no-untyped-call]

    client.meta.events.register("before-send", instead)
    try:
        call(client)
    except Exception:
        assert seen
    return seen[0]


class _Nothing:
    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return []

    def read(self, *_: Any, **__: Any) -> bytes:
        return b""


def send(api: Any, method: str, path: str, body: bytes | None, headers: dict[str, Any]) -> int:
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=60)
    connection.request(method, path, body, {k: v.decode() if isinstance(v, bytes) else v for k, v in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


def other(value: str | bytes) -> str:
    """`value` with another last character."""
    text = value if isinstance(value, str) else value.decode()
    return text[:-1] + ("8" if text.endswith("9") else "9")


@pytest.mark.parametrize("service", [name for name in CALLS if name != "sagemaker-runtime"])
def test_what_botocore_signed_is_accepted_and_nothing_else(api: Any, service: str) -> None:
    request = capture(api.client(service), CALLS[service])
    parts = urlsplit(request.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    body = request.body.encode() if isinstance(request.body, str) else request.body or None
    headers = dict(request.headers)
    assert send(api, request.method, path, body, headers) == 200
    assert send(api, request.method, f"{path}/more", body, headers) in (400, 403)
    assert send(api, request.method, f"{path}?more=1" if "?" not in path else f"{path}&more=1", body, headers) in (
        400,
        403,
    )
    assert send(api, "PUT", path, body, headers) in (400, 403)
    for name in headers:
        if name.lower() in ("x-amz-date", "authorization", "x-amz-target", "x-amz-content-sha256"):
            changed = {**headers, name: other(headers[name])}
            assert send(api, request.method, path, body, changed) in (400, 403), name
    if body is not None:
        changed = {**headers, "Content-Length": str(len(body) + 1)}
        assert send(api, request.method, path, body + b" ", changed) in (400, 403)


def test_a_request_for_another_region_is_told_which_one(api: Any) -> None:
    code, _, message = refusal(lambda: api.client("sagemaker", region="eu-west-1").list_auto_ml_jobs())
    assert code == "InvalidSignatureException"
    assert "'us-east-1'" in message


def test_constraints_are_told_in_the_services_sentence(api: Any) -> None:
    code, status, message = refusal(lambda: api.client("sagemaker").list_auto_ml_jobs(SortOrder="Up", MaxResults=101))
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith("2 validation errors detected: Value 'Up' at 'sortOrder' failed to satisfy constraint: ")


def test_a_known_operation_that_is_not_served_is_named(api: Any) -> None:
    code, status, message = refusal(lambda: api.client("sagemaker").list_notebook_instances())
    assert (code, status) == ("UnsupportedOperationException", 400)
    assert message.startswith("ListNotebookInstances is an operation of SageMaker that this version")
    assert refusal(lambda: api.client("iam").list_users())[0] == "UnsupportedOperation"


def test_an_unknown_operation_is_unknown(api: Any) -> None:
    for target in ("SageMaker.MakeCoffee", "SageMaker.", "Nonsense", "DynamoDB_20120810.ListTables", ""):
        status, answer, request_id = post(api, b"{}", target)
        assert (status, answer["__type"]) == (400, "UnknownOperationException")
        assert request_id


@pytest.mark.parametrize(
    ("method", "media_type"),
    [("POST", "application/x-www-form-urlencoded"), ("POST", "text/xml"), ("GET", "application/x-amz-json-1.1")],
)
def test_what_is_not_posted_as_json_is_no_operation(api: Any, method: str, media_type: str) -> None:
    status, answer, _ = post(api, b"{}", "SageMaker.ListAutoMLJobs", media_type=media_type, method=method)
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert media_type in answer["message"]


@pytest.mark.parametrize("media_type", ["application/x-amz-json-1.1; charset=utf-8", "Application/JSON"])
def test_json_may_say_its_character_set(api: Any, media_type: str) -> None:
    assert post(api, b"{}", "SageMaker.ListAutoMLJobs", media_type=media_type)[0] == 200


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (b"", b"MissingAction"),
        (b"Version=2011-06-15", b"MissingAction"),
        (b"Action=&Version=2011-06-15", b"MissingAction"),
        (b"Action=MakeCoffee&Version=2011-06-15", b"InvalidAction"),
        (b"Action=GetCallerIdentity&Version=1999-12-31", b"InvalidAction"),
        (b"Action=GetCallerIdentity&Version=\xff", b"MalformedInput"),
        (b'{"Action": "GetCallerIdentity"}', b"MissingAction"),
    ],
)
def test_a_form_without_an_operation_of_its_service_is_refused(api: Any, form: bytes, code: bytes) -> None:
    request = AWSRequest("POST", api.url, {"Content-Type": "application/x-www-form-urlencoded"}, form)
    SigV4Auth(Credentials(api.key_id, api.secret), "sts", "us-east-1").add_auth(request)
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(api.url, form, dict(request.headers), method="POST"), timeout=60)
    assert caught.value.code == 400
    assert b"<Code>" + code + b"</Code>" in caught.value.read()


@pytest.mark.parametrize(
    ("target", "signed_for"), [("SageMaker.ListTags", "logs"), ("Logs_20140328.GetLogEvents", "sagemaker")]
)
def test_a_request_signed_for_another_service_is_told_which_one(api: Any, target: str, signed_for: str) -> None:
    status, answer, _ = post(api, b"{}", target, signed_for)
    assert (status, answer["__type"]) == (400, "InvalidSignatureException")
    wanted = "sagemaker" if signed_for == "logs" else "logs"
    assert answer["message"] == f"Credential should be scoped to correct service: '{wanted}'."


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b'{"Tags": [{"Key": 1}, 2], "ResourceArn": null}',
            "SerializationException",
            "NUMBER_VALUE can not be converted to a String at 'tags.1.member.key'; "
            "NUMBER_VALUE can not be converted to a Structure at 'tags.2.member'",
        ),
        (
            b'{"Tags": [{"Key": ""}]}',
            "ValidationException",
            "3 validation errors detected: "
            "Value null at 'resourceArn' failed to satisfy constraint: Member must not be null; "
            "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null; "
            "Value '' at 'tags.1.member.key' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
    ],
)
def test_all_faults_of_a_request_come_in_one_answer(api: Any, body: bytes, code: str, message: str) -> None:
    status, answer, _ = post(api, body, "SageMaker.AddTags")
    assert (status, answer["__type"], answer["message"]) == (400, code, message)


def test_a_service_that_is_not_here_says_which_are(api: Any) -> None:
    status, answer, _ = post(api, b"{}", "DynamoDB_20120810.ListTables", "dynamodb")
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert "'dynamodb' is not served here" in answer["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"MaxResults": "ten"}', b"\xff\xfe", b"[" * 5000])
def test_a_body_that_cannot_be_read_is_a_serialization_exception(api: Any, body: bytes) -> None:
    status, answer, _ = post(api, body, "SageMaker.ListAutoMLJobs")
    assert (status, answer["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("mebibytes", [11, 64])
def test_a_body_that_is_too_large_is_refused(api: Any, mebibytes: int) -> None:
    status, answer, _ = post(api, b" " * (mebibytes << 20), "SageMaker.ListAutoMLJobs")
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")


def test_an_endpoint_takes_6_mib_and_not_a_byte_more(api: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="ph") as sockets, Replica(Path(sockets), "main") as replica:
        variants = [{"VariantName": "main", "InitialVariantWeight": 1.0}]
        state = {"_variants": variants, "_replicas": [replica.address]}
        api.context.store.insert(hosting.ENDPOINT, "large", {}, status="InService", state=state)
        ask = partial(api.client("sagemaker-runtime").invoke_endpoint, EndpointName="large", ContentType="text/csv")
        largest = b"1" * (6 << 20)
        assert ask(Body=largest)["Body"].read().endswith(b" " + largest)
        code, status, message = refusal(lambda: ask(Body=largest + b"1"))
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert "larger than 6291456 bytes" in message


def test_a_body_of_unknown_length_is_counted(api: Any) -> None:
    request = AWSRequest("POST", api.url, {"X-Amz-Target": "SageMaker.ListAutoMLJobs"}, b"")
    SigV4Auth(Credentials(api.key_id, api.secret), "sagemaker", "us-east-1").add_auth(request)
    pieces = (b" " * (1 << 20) for _ in range(11))
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=60)
    connection.request("POST", "/", pieces, dict(request.headers), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [("sts", "GetCallerIdentity", "InternalFailure"), ("sagemaker", "ListAutoMLJobs", "InternalFailure")],
)
def test_an_unexpected_error_stays_in_the_log(
    api: Any,
    service: str,
    operation: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setitem(SERVED[service], operation, fail)  # type: ignore[arg-type]
    found, status, message = refusal(lambda: CALLS[service](api.client(service)))
    assert (found, status) == (code, 500)
    assert "secret" not in message
    written = capsys.readouterr()
    assert "a secret of the house" in written.out + written.err
    assert message.rsplit(" ", 1)[1].rstrip(".") in written.out + written.err


def test_health_needs_no_signature_and_takes_no_bucket_away(api: Any) -> None:
    with urllib.request.urlopen(f"{api.url}/health", timeout=60) as answer:
        assert json.loads(answer.read()) == {"status": "ok"}
    s3 = api.client("s3")
    s3.create_bucket(Bucket="health")
    assert s3.list_objects_v2(Bucket="health")["KeyCount"] == 0


def test_tags_are_added_listed_and_deleted(api: Any) -> None:
    arn = api.context.store.insert("model", "tagged", {}).arn
    client = api.client("sagemaker")
    assert client.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "1"}, {"Key": "a", "Value": "é"}])["Tags"] == [
        {"Key": "a", "Value": "é"},
        {"Key": "b", "Value": "1"},
    ]
    client.add_tags(
        ResourceArn=arn.upper().replace("ARN:AWS:SAGEMAKER:US-EAST-1", "arn:aws:sagemaker:us-east-1"), Tags=[]
    )
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["a", "never-there"])
    assert list(client.get_paginator("list_tags").paginate(ResourceArn=arn).search("Tags")) == [
        {"Key": "b", "Value": "2"}
    ]


def test_tags_that_two_add_at_the_same_time_are_no_more_than_50(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arn, client = api.context.store.insert("model", "popular", {}).arn, api.client("sagemaker")
    both, really = Barrier(2), api.context.store.add_tags

    def together(*arguments: Any, **options: Any) -> Any:
        both.wait(60)
        return really(*arguments, **options)

    def add(letter: str) -> str:
        try:
            client.add_tags(ResourceArn=arn, Tags=[{"Key": f"{letter}-{i}", "Value": ""} for i in range(30)])
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "added"

    monkeypatch.setattr(api.context.store, "add_tags", together)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(add, "ab")) == ["ValidationException", "added"]
    assert len(api.context.store.tags(arn)) == 30


def test_tags_that_cannot_be_are_refused(api: Any) -> None:
    arn = api.context.store.insert("model", "full", {}).arn
    client = api.client("sagemaker")
    client.add_tags(ResourceArn=arn, Tags=[{"Key": f"k{i}", "Value": ""} for i in range(50)])
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "k1", "Value": "again"}])
    assert "50" in refusal(lambda: client.add_tags(ResourceArn=arn, Tags=[{"Key": "one-more", "Value": ""}]))[2]
    assert "aws:" in refusal(lambda: client.add_tags(ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}]))[2]
    missing = arn.replace("full", "missing")
    assert refusal(lambda: client.list_tags(ResourceArn=missing))[:2] == ("ValidationException", 400)
    assert "nextToken" in refusal(lambda: client.list_tags(ResourceArn=arn, NextToken="x"))[2].replace(
        "NextToken", "nextToken"
    )


def test_the_caller_is_a_session_of_a_role_that_iam_knows(api: Any) -> None:
    identity = api.client("sts").get_caller_identity()
    kind, role, _ = identity["Arn"].split(":")[5].split("/")
    assert (kind, identity["Account"]) == ("assumed-role", "000000000000")
    found = api.client("iam").get_role(RoleName=role)["Role"]
    assert found["Arn"] == api.context.settings.role_arn
    assert found["CreateDate"].year == 1970


def test_a_role_name_that_cannot_be_is_refused(api: Any) -> None:
    code, status, message = refusal(lambda: api.client("iam").get_role(RoleName="no spaces"))
    assert (code, status) == ("ValidationError", 400)
    assert "at 'roleName'" in message


def test_a_refused_upload_leaves_the_connection_usable(api: Any) -> None:
    api.client("s3").create_bucket(Bucket="uploads")
    wrong = api.client("s3", secret="wrong", max_pool_connections=1)
    body = b"x" * (3 << 20)
    for _ in range(3):  # botocore sends Expect: 100-continue and holds the body back
        assert refusal(lambda: wrong.put_object(Bucket="uploads", Key="k", Body=body))[0] == "SignatureDoesNotMatch"
    right = api.client("s3", max_pool_connections=1)
    right.put_object(Bucket="uploads", Key="k", Body=body)
    assert right.get_object(Bucket="uploads", Key="k")["Body"].read() == body


@pytest.mark.parametrize(
    "key", ["a b", "line\nbreak", "..", "a//b/../c", "é/ü~(1)!*'", "%2F", "+plus+", "?#", "x" * 1024]
)
def test_any_key_is_verified_and_found_again(api: Any, key: str) -> None:
    s3 = api.client("s3")
    if not any(bucket["Name"] == "keys" for bucket in s3.list_buckets()["Buckets"]):
        s3.create_bucket(Bucket="keys")
    s3.put_object(Bucket="keys", Key=key, Body=b"content", Metadata={"note": "two words"})
    assert s3.get_object(Bucket="keys", Key=key)["Body"].read() == b"content"


def test_presigned_urls_read_and_write_without_a_key(api: Any) -> None:
    s3 = api.client("s3", signature_version="s3v4")
    s3.create_bucket(Bucket="shared")
    put = s3.generate_presigned_url("put_object", {"Bucket": "shared", "Key": "a b"})
    with urllib.request.urlopen(urllib.request.Request(put, b"content", method="PUT"), timeout=60) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": "shared", "Key": "a b"})
    with urllib.request.urlopen(get, timeout=60) as answer:
        assert answer.read() == b"content"
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(get.replace("a%20b", "other"), timeout=60)
    assert caught.value.code == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in caught.value.read()


def test_a_signature_of_version_2_is_told_the_way_to_version_4(api: Any) -> None:
    url = api.client("s3", signature_version="s3").generate_presigned_url(
        "get_object", {"Bucket": "shared", "Key": "a"}
    )
    assert "AWSAccessKeyId=" in url
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(url, timeout=60)
    assert caught.value.code == 400
    assert b"signature_version" in caught.value.read()


def test_logs_are_read_forward_and_backward(api: Any) -> None:
    group, logs = "/aws/sagemaker/TrainingJobs", api.client("logs")
    api.context.store.logs.append(group, "job/1", [(float(i), f"line {i}") for i in range(1, 8)])
    names = {"logGroupName": group, "logStreamName": "job/1"}

    def page(**how: Any) -> tuple[list[str], str, str]:
        answer = logs.get_log_events(**names, limit=3, **how)
        lines = [event["message"].removeprefix("line ") for event in answer["events"]]
        return lines, answer["nextForwardToken"], answer["nextBackwardToken"]

    first, forward, _ = page(startFromHead=True)
    second, forward, _ = page(nextToken=forward, startFromHead=True)
    third, forward, backward = page(nextToken=forward, startFromHead=True)
    assert [first, second, third] == [list("123"), list("456"), list("7")]
    assert page(nextToken=forward)[:2] == ([], forward)
    assert page(nextToken=backward)[0] == list("456")
    last, _, backward = page()
    assert last == list("567")
    assert page(nextToken=backward)[0] == list("234")
    api.context.store.logs.append(group, "job/1", ["line 8"])
    assert page(nextToken=forward)[0] == ["8"]
    timed = logs.get_log_events(**names, startTime=2000, endTime=4000, startFromHead=True)["events"]
    assert [event["timestamp"] for event in timed] == [2000, 3000]


def test_log_streams_are_found_by_prefix_and_in_pages(api: Any) -> None:
    group, logs = "/aws/sagemaker/ProcessingJobs", api.client("logs")
    for number in range(5):
        api.context.store.logs.append(group, f"a/{number}", [(100.0 - number, "x")])
    api.context.store.logs.append(group, "b/0", [(1.0, "x")])
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix="a/", PaginationConfig={"PageSize": 2}
    )
    assert [stream["logStreamName"] for stream in pages.search("logStreams")] == [f"a/{i}" for i in range(5)]
    recent = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert [stream["logStreamName"] for stream in recent] == ["a/0", "a/1", "a/2", "a/3", "a/4", "b/0"]
    assert recent[0]["firstEventTimestamp"] == recent[0]["lastEventTimestamp"] == 100_000
    by_arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"
    assert len(logs.describe_log_streams(logGroupIdentifier=by_arn)["logStreams"]) == 6
    assert logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="none")["logStreams"] == []


def test_events_are_found_across_streams_by_their_time_and_in_pages(api: Any) -> None:
    group, logs = "/aws/sagemaker/Searched", api.client("logs")
    for stream, first in (("a/1", 1.0), ("b/1", 1.5)):
        api.context.store.logs.append(group, stream, [(first + i, f"{stream} line {i}") for i in range(4)])

    def found(**how: Any) -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **how)
        return [event["logStreamName"][0] + event["message"][-1] for page in pages for event in page["events"]]

    everything = ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]
    assert found(PaginationConfig={"PageSize": 3}) == found(PaginationConfig={"PageSize": 4}) == found() == everything
    assert found(startFromHead=False, PaginationConfig={"PageSize": 3}) == everything[::-1]
    assert found(startTime=1500, endTime=3000) == ["b0", "a1", "b1", "a2"]
    assert found(logStreamNames=["b/1"]) == found(logStreamNamePrefix="b") == ["b0", "b1", "b2", "b3"]
    assert found(filterPattern='"b/1 line" -2', PaginationConfig={"PageSize": 2}) == ["b0", "b1", "b3"]
    event = logs.filter_log_events(logGroupName=group, limit=1)["events"][0]
    assert (event["timestamp"], event["message"], len(event["eventId"])) == (1000, "a/1 line 0", 56)


def test_log_groups_are_found_by_name_and_in_pages(api: Any) -> None:
    logs = api.client("logs")
    for name in ("one", "two", "three"):
        api.context.store.logs.append(f"/groups/{name}", "stream", ["x"])

    def found(**how: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_groups").paginate(**how)
        return [group["logGroupName"].removeprefix("/groups/") for page in pages for group in page["logGroups"]]

    assert found(logGroupNamePrefix="/groups/", PaginationConfig={"PageSize": 2}) == ["one", "three", "two"]
    assert found(logGroupNamePattern="OUPS/T") == ["three", "two"]
    [group] = logs.describe_log_groups(logGroupNamePrefix="/groups/one")["logGroups"]
    assert found(logGroupIdentifiers=[group["logGroupArn"]]) == ["one"]
    both = {"logGroupNamePrefix": "/groups", "logGroupNamePattern": "t"}
    assert refusal(lambda: logs.describe_log_groups(**both))[0] == "InvalidParameterException"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"logGroupName": "/nowhere"}, "ResourceNotFoundException"),
        ({"logStreamNames": ["none"]}, "ResourceNotFoundException"),
        ({"logStreamNames": ["stream"], "logStreamNamePrefix": "s"}, "InvalidParameterException"),
        ({"nextToken": "f/1"}, "InvalidParameterException"),
        ({"filterPattern": "{ $.a = 1"}, "InvalidParameterException"),
        ({"filterPattern": "%(%"}, "InvalidParameterException"),
        ({"filterPattern": 'open "quote'}, "InvalidParameterException"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(api: Any, how: dict[str, Any], code: str) -> None:
    logs = api.client("logs")
    assert refusal(lambda: logs.filter_log_events(**{"logGroupName": "/aws/sagemaker/Known", **how}))[0] == code


def test_logs_that_are_not_there_are_told_as_the_sdk_expects(api: Any) -> None:
    logs = api.client("logs")
    names = {"logGroupName": "/nowhere", "logStreamName": "none"}
    assert refusal(lambda: logs.describe_log_streams(logGroupName="/nowhere"))[0] == "ResourceNotFoundException"
    assert refusal(lambda: logs.get_log_events(**names))[0] == "ResourceNotFoundException"
    known = {**names, "logGroupName": "/aws/sagemaker/Known", "logStreamName": "stream"}
    assert refusal(lambda: logs.get_log_events(**known, nextToken="x"))[0] == "InvalidParameterException"
    assert refusal(logs.describe_log_streams)[0] == "InvalidParameterException"
    group = {"logGroupName": "/aws/sagemaker/Known"}
    call = lambda: logs.describe_log_streams(**group, orderBy="LastEventTime", logStreamNamePrefix="a")  # noqa: E731
    assert refusal(call)[0] == "InvalidParameterException"


def half_sent(api: Any, service: str, target: str, key: str, method: str = "POST") -> bytes:
    """What the server says to a request that announces a body and sends none of it."""
    request = AWSRequest(method, api.url + target, {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, b"{}")
    SigV4Auth(Credentials(key, api.secret), service, "us-east-1").add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as client:
        client.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: {place.netloc}\r\n{head}Content-Length: 99\r\n\r\n".encode()
        )
        answer = b""
        while not complete(answer):
            answer += client.recv(65536) or pytest.fail(f"the connection ended after {answer!r}")
        return answer


def complete(answer: bytes) -> bool:
    """Whether an answer is there to its end."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


@pytest.mark.parametrize("service", ["sagemaker", "logs", "sts", "iam"])
def test_a_stranger_is_refused_before_the_body_is_read(api: Any, service: str) -> None:
    answer = half_sent(api, service, "/", "PHKANOBODY0000000000")
    assert answer.startswith(b"HTTP/1.1 40")
    assert REFUSALS["unknown key"][service].encode() in answer


@pytest.mark.parametrize(
    ("service", "target", "method", "status", "code"),
    [
        ("sagemaker", "/", "POST", b"408", b"RequestTimeoutException"),
        ("sagemaker", "/endpoints/e/invocations", "POST", b"408", b"RequestTimeoutException"),
        ("sts", "/", "POST", b"408", b"<Code>RequestTimeout</Code>"),
        ("s3", "/stalled/key", "PUT", b"400", b"<Code>RequestTimeout</Code>"),
    ],
)
def test_a_body_that_stands_still_is_given_up(
    api: Any, monkeypatch: pytest.MonkeyPatch, service: str, target: str, method: str, status: bytes, code: bytes
) -> None:
    monkeypatch.setattr(gateway, "BODY_PATIENCE", 0.2)
    answer = half_sent(api, service, target, api.key_id, method)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert code in answer
    assert b"connection: close" in answer.lower()


def test_a_presigned_request_to_another_service_is_refused_in_its_own_words(api: Any) -> None:
    url = api.client("sts").generate_presigned_url("get_caller_identity")
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(url, timeout=60)
    assert b"<Code>IncompleteSignature</Code>" in caught.value.read()
