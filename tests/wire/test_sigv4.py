"""Signatures: botocore signs, Pilothouse verifies, and nothing that was changed on the way gets through."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import (
    AuthenticationError,
    IncompleteSignature,
    MissingAuthentication,
    RequestTimeSkewed,
    S3Error,
    SignatureMismatch,
    UnknownAccessKey,
    WrongScope,
)
from pilothouse.wire import sigv4
from pilothouse.wire.sigv4 import Identity, Message

KEY_ID = "PHKAEXAMPLE000000000"
SECRET = "a+secret/of_forty-characters0123456789abcd"
REGION = "us-east-1"
SERVICES = ["sagemaker", "sts", "iam", "logs"]


class OneKey:
    def secret(self, access_key_id: str) -> str | None:
        return SECRET if access_key_id == KEY_ID else None


def signed(
    service: str, url: str, body: bytes = b"{}", method: str = "POST", region: str = REGION, **headers: str
) -> Message:
    request = AWSRequest(method, url, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(KEY_ID, SECRET), service, region).add_auth(request)
    return message(request)


def presigned(url: str, method: str = "GET", expires: int = 60, service: str = "s3") -> Message:
    request = AWSRequest(method, url)
    S3SigV4QueryAuth(Credentials(KEY_ID, SECRET), service, REGION, expires=expires).add_auth(request)
    return message(request)


def message(request: AWSRequest) -> Message:
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    headers = {name.lower(): value for name, value in prepared.headers.items()}
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
    headers.setdefault("host", parts.netloc)
    return Message(request.method, parts.path or "/", parts.query, tuple(headers.items()))


def with_header(original: Message, name: str, value: str | None) -> Message:
    rest = tuple(pair for pair in original.headers if pair[0] != name)
    return replace(original, headers=rest if value is None else (*rest, (name, value)))


def verify(what: Message, body: bytes | None = b"{}", now: datetime | None = None, region: str = REGION) -> Identity:
    payload = None if body is None else hashlib.sha256(body).hexdigest()
    return sigv4.verify(what, OneKey(), region=region, payload=payload, now=now)


@pytest.mark.parametrize("service", SERVICES)
def test_botocores_signature_is_accepted(service: str) -> None:
    identity = verify(signed(service, "http://127.0.0.1:8642/", X_Amz_Target="SageMaker.ListTags"))
    assert (identity.access_key_id, identity.service, identity.region) == (KEY_ID, service, REGION)


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(key=KEYS, prefix=st.text(max_size=10))
def test_any_object_key_and_query_of_s3_is_verified(key: str, prefix: str) -> None:
    from botocore.utils import percent_encode, percent_encode_sequence

    try:
        prefix.encode()
    except UnicodeEncodeError:
        return
    query = percent_encode_sequence({"prefix": prefix, "delimiter": "/", "list-type": "2"})
    url = f"http://localhost:8642/bucket/{percent_encode(key, safe='/~')}?{query}"
    assert verify(signed("s3", url, b"", "GET"), body=None).service == "s3"


@given(name=st.text("abc-_.~ %/+é", min_size=1, max_size=20))
def test_any_path_of_the_runtime_is_verified(name: str) -> None:
    from botocore.utils import percent_encode

    url = f"http://localhost:8642/endpoints/{percent_encode(name, safe='-._~')}/invocations"
    assert verify(signed("sagemaker", url, b"1,2"), b"1,2")


def test_a_path_left_unencoded_by_the_client_is_verified_as_encoded() -> None:
    from pilothouse.api.gateway import message_of

    original = signed("s3", "http://localhost/b/%C3%BC", b"", "PUT")
    headers = [(name.encode(), value.encode()) for name, value in original.headers]
    scope = {"method": "PUT", "path": "/b/ü", "raw_path": "/b/ü".encode(), "query_string": b"", "headers": headers}
    assert verify(message_of(scope), body=None)


def test_headers_are_compared_without_their_spacing() -> None:
    assert verify(signed("s3", "http://localhost/b/k", b"", "PUT", x_amz_meta_a="  two   words "), body=None)


def test_a_date_header_does_in_place_of_x_amz_date() -> None:
    original = signed("sagemaker", "http://localhost/", Date="Thu, 01 Jan 1970 00:00:00 GMT")
    assert original.header("x-amz-date") is None
    assert verify(original)


TAMPERINGS: dict[str, Callable[[Message], Message]] = {
    "method": lambda m: replace(m, method="PUT"),
    "path": lambda m: replace(m, path=m.path + "x"),
    "query added": lambda m: replace(m, query="a=b"),
    "header changed": lambda m: with_header(m, "x-amz-target", "SageMaker.DeleteTags"),
    "header removed": lambda m: with_header(m, "x-amz-target", None),
    "header added": lambda m: with_header(m, "x-amz-security-token", "stolen"),
    "header doubled": lambda m: replace(m, headers=(*m.headers, ("x-amz-target", "SageMaker.DeleteTags"))),
    "host": lambda m: with_header(m, "host", "attacker.example"),
    "content type": lambda m: with_header(m, "content-type", "text/plain"),
    "date": lambda m: with_header(m, "x-amz-date", other_time(m)),
    "signature": lambda m: authorization(m, lambda a: a[:-1] + ("0" if a[-1] != "0" else "1")),
    "signature cut": lambda m: authorization(m, lambda a: a[:-1]),
    "signed headers": lambda m: authorization(m, lambda a: a.replace("content-type;", "")),
    "service": lambda m: authorization(m, lambda a: a.replace("/sagemaker/", "/logs/")),
    "region": lambda m: authorization(m, lambda a: a.replace("/us-east-1/", "/eu-west-1/")),
    "scope date": lambda m: authorization(m, lambda a: re.sub(r"/\d{8}/", "/20200101/", a)),
    "scope end": lambda m: authorization(m, lambda a: a.replace("aws4_request", "aws5_request")),
    "signature in the query": lambda m: replace(m, query="X-Amz-Signature=0"),
    "host not signed": lambda m: authorization(m, lambda a: a.replace("host;", "")),
    "key": lambda m: authorization(m, lambda a: a.replace(KEY_ID, "PHKAANOTHER000000000")),
    "scheme": lambda m: authorization(m, lambda a: a.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")),
    "no authorization": lambda m: with_header(m, "authorization", None),
}


def other_time(original: Message) -> str:
    stamp = original.header("x-amz-date") or ""
    return stamp[:-2] + ("1Z" if stamp[-2] == "0" else "0Z")


def authorization(original: Message, change: Callable[[str], str]) -> Message:
    return with_header(original, "authorization", change(original.header("authorization") or ""))


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_request_that_was_tampered_with_is_refused(tampering: str) -> None:
    original = signed(
        "sagemaker",
        "http://127.0.0.1:8642/",
        X_Amz_Target="SageMaker.ListTags",
        Content_Type="application/x-amz-json-1.1",
    )
    assert verify(original)
    with pytest.raises(AuthenticationError):
        verify(TAMPERINGS[tampering](original))


def test_a_body_that_was_tampered_with_is_refused() -> None:
    with pytest.raises(SignatureMismatch):
        verify(signed("sagemaker", "http://localhost/", b'{"a":1}'), b'{"a":2}')


def test_s3_takes_the_hash_of_the_body_from_the_signed_header() -> None:
    original = signed("s3", "http://localhost/b/k", b"content", "PUT")
    assert verify(original, body=None).payload == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(SignatureMismatch):
        verify(with_header(original, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"), body=None)
    with pytest.raises(S3Error, match="x-amz-content-sha256"):
        verify(authorization(with_header(original, "x-amz-content-sha256", None), lambda a: a), body=None)


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_signature_more_than_a_quarter_of_an_hour_off_is_refused_with_the_servers_time(minutes: int) -> None:
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    with pytest.raises(RequestTimeSkewed, match=now.strftime(r"\(%Y%m%dT%H%M%SZ [+-] 15 min")):
        verify(signed("sagemaker", "http://localhost/"), now=now)
    assert verify(
        signed("sagemaker", "http://localhost/"), now=datetime.now(UTC) + timedelta(minutes=minutes * 14 / 16)
    )


def test_a_presigned_url_from_the_future_is_refused_with_the_servers_time() -> None:
    original = presigned("http://localhost:8642/bucket/key", expires=3600)
    now = datetime.now(UTC) - timedelta(minutes=16)
    with pytest.raises(RequestTimeSkewed, match="not yet current") as caught:
        verify(original, body=None, now=now)
    assert caught.value.server_time == now.strftime("%Y%m%dT%H%M%SZ")
    assert caught.value.request_time in original.query
    assert verify(original, body=None, now=now + timedelta(minutes=2))


@pytest.mark.parametrize("days", [-1, 1])
def test_the_date_of_the_scope_must_be_that_of_the_request(days: int) -> None:
    original = signed("sagemaker", "http://localhost/")
    today = (original.header("x-amz-date") or "")[:8]
    other = (datetime.strptime(today, "%Y%m%d") + timedelta(days=days)).strftime("%Y%m%d")
    with pytest.raises(WrongScope, match=f"'{other}' != '{today}'"):
        verify(authorization(original, lambda a: a.replace(f"/{today}/", f"/{other}/")))


@pytest.mark.parametrize(("old", "new"), [("us-east-1", "eu-west-1"), ("=s3", "=sqs")])
def test_the_scope_of_a_presigned_url_is_checked(old: str, new: str) -> None:
    original = presigned("http://localhost:8642/bucket/key")
    scope = f"%2F{old}%2F" if old != "=s3" else "%2Fs3%2F"
    changed = replace(original, query=original.query.replace(scope, scope.replace(old.strip("="), new.strip("="))))
    assert changed != original
    with pytest.raises(AuthenticationError):
        verify(changed, body=None)


def test_the_hash_that_a_client_declares_is_not_taken_for_that_of_the_body() -> None:
    declared = hashlib.sha256(b"{}").hexdigest()
    original = signed("sagemaker", "http://localhost/", b"{}", X_Amz_Content_SHA256=declared)
    assert verify(original, b"{}").payload == declared
    with pytest.raises(SignatureMismatch):
        verify(original, b'{"a":1}')
    unsigned = signed("sagemaker", "http://localhost/", b"{}", X_Amz_Content_SHA256="UNSIGNED-PAYLOAD")
    with pytest.raises(SignatureMismatch):
        verify(unsigned, b'{"a":1}')


@pytest.mark.parametrize("place", [0, 31, 63])
def test_signatures_are_compared_in_constant_time(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    original = signed("sagemaker", "http://localhost/")
    right = (original.header("authorization") or "")[-64:]
    wrong = right[:place] + ("0" if right[place] != "0" else "1") + right[place + 1 :]
    monkeypatch.setattr(hmac, "compare_digest", spy)
    with pytest.raises(SignatureMismatch):
        verify(authorization(original, lambda a: a.replace(right, wrong)))
    assert compared == [(right.encode(), wrong.encode())]


def test_a_key_that_was_revoked_fails_with_the_next_request() -> None:
    keys = Changing({KEY_ID: SECRET})
    header, url = signed("sagemaker", "http://localhost/"), presigned("http://localhost:8642/bucket/key")
    digest = hashlib.sha256(b"{}").hexdigest()
    for original, payload in ((header, digest), (url, None)):
        keys.secrets = {KEY_ID: SECRET}
        assert sigv4.verify(original, keys, region=REGION, payload=payload)
        keys.secrets = {}
        with pytest.raises(UnknownAccessKey):
            sigv4.verify(original, keys, region=REGION, payload=payload)


class Changing:
    """Keys that come and go."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.secrets = secrets

    def secret(self, access_key_id: str) -> str | None:
        return self.secrets.get(access_key_id)


def test_the_region_must_be_the_servers_and_the_error_names_it() -> None:
    with pytest.raises(WrongScope, match="eu-west-1") as caught:
        verify(signed("sagemaker", "http://localhost/"), region="eu-west-1")
    assert caught.value.region == "eu-west-1"


@pytest.mark.parametrize("service", ["iam", "sts"])
def test_global_services_may_be_signed_for_us_east_1(service: str) -> None:
    assert verify(signed(service, "http://localhost/"), region="eu-west-1")


def test_an_unknown_key_is_told_apart_from_a_wrong_secret() -> None:
    original = signed("sagemaker", "http://localhost/")
    with pytest.raises(UnknownAccessKey):
        verify(authorization(original, lambda a: a.replace(KEY_ID, "PHKANOBODY0000000000")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer abc",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=//us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws3_request, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
    ],
)
def test_an_authorization_header_that_lacks_a_part_is_incomplete(text: str) -> None:
    with pytest.raises(IncompleteSignature):
        verify(Message("GET", "/", "", (("host", "localhost"), ("authorization", text))))


@given(text=st.text(max_size=80))
def test_no_authorization_header_brings_the_verifier_down(text: str) -> None:
    with pytest.raises(AuthenticationError):
        verify(
            Message(
                "GET", "/", "", (("host", "h"), ("x-amz-date", text), ("authorization", f"{sigv4.ALGORITHM} {text}"))
            )
        )


UNHEARD_OF = [
    "Fri, 31 Dec 9999 23:59:59 -1200",
    "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Thu, 01 Jan 1970 00:00:00 +99999999999999",
    "Thu, 99999999999 Jan 1970 00:00:00 GMT",
]


@pytest.mark.parametrize("date", UNHEARD_OF)
def test_a_date_header_beyond_all_calendars_is_no_date(date: str) -> None:
    text = f"{sigv4.ALGORITHM} Credential=X/99991231/us-east-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0"
    with pytest.raises(IncompleteSignature, match="is not a valid HTTP date"):
        sigv4.claim(Message("POST", "/", "", (("host", "h"), ("date", date), ("authorization", text))))


@pytest.mark.parametrize("stamp", ["00010101T000000Z", "00010101T235959Z", "99991231T235959Z"])
def test_a_signature_of_the_first_or_the_last_day_is_out_of_time(stamp: str) -> None:
    credential, far = f"X/{stamp[:8]}/us-east-1/s3/aws4_request", (RequestTimeSkewed, S3Error)
    text = f"{sigv4.ALGORITHM} Credential={credential}, SignedHeaders=host, Signature=0"
    query = f"X-Amz-Algorithm={sigv4.ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={stamp}&X-Amz-Expires=604800"
    headers = (("host", "h"), ("x-amz-date", stamp), ("authorization", text))
    with pytest.raises(RequestTimeSkewed):
        verify(Message("GET", "/", "", headers), body=None)
    with pytest.raises(far, match=r"expired|not yet current"):
        verify(Message("GET", "/", f"{query}&X-Amz-SignedHeaders=host&X-Amz-Signature=0", headers[:1]), body=None)
    with pytest.raises(far, match=r"expired|not yet current"):
        sigv4.verify_text("policy", sigv4.ALGORITHM, credential, stamp, "0", OneKey(), region=REGION)


def test_a_request_without_a_signature_misses_authentication() -> None:
    plain = Message("GET", "/", "list-type=2", (("host", "localhost"),))
    assert not sigv4.is_signed(plain)
    with pytest.raises(MissingAuthentication):
        verify(plain)


def test_a_presigned_url_is_verified_and_covers_its_query() -> None:
    original = presigned("http://localhost:8642/bucket/a%20key?response-content-type=text%2Fplain")
    assert sigv4.is_signed(original)
    assert verify(original, body=None).payload == "UNSIGNED-PAYLOAD"
    for old, new in [("text%2Fplain", "text%2Fhtml"), ("X-Amz-Expires=60", "X-Amz-Expires=61"), ("=s3", "=sqs")]:
        changed = replace(original, query=original.query.replace(old, new))
        with pytest.raises(SignatureMismatch):
            verify(changed if changed != original else replace(original, path="/other"), body=None)


def test_a_presigned_url_ends_with_its_time() -> None:
    original = presigned("http://localhost:8642/bucket/key", expires=3600)
    assert verify(original, body=None, now=datetime.now(UTC) + timedelta(minutes=59))
    with pytest.raises(S3Error, match="expired"):
        verify(original, body=None, now=datetime.now(UTC) + timedelta(minutes=61))
    with pytest.raises(IncompleteSignature, match="X-Amz-Expires"):
        verify(presigned("http://localhost:8642/bucket/key", expires=8 * 24 * 3600), body=None)


@pytest.mark.parametrize("service", SERVICES)
def test_only_requests_to_s3_can_be_presigned(service: str) -> None:
    with pytest.raises(IncompleteSignature, match=f"Only requests to s3 can be presigned.*'{service}'"):
        verify(presigned("http://localhost:8642/", "POST", service=service), b"")


def test_all_but_the_signature_is_judged_before_the_body_is_there() -> None:
    original = signed("sagemaker", "http://localhost/")
    forged = authorization(original, lambda a: a[:-8] + "00000000")
    assert sigv4.screen(forged, OneKey(), region=REGION)[0].access_key_id == KEY_ID
    for name in ("key", "region", "date", "no authorization", "header added"):
        with pytest.raises(AuthenticationError):
            sigv4.screen(TAMPERINGS[name](original), OneKey(), region=REGION, now=datetime(2020, 1, 1, tzinfo=UTC))
