"""Who asks: AWS Signature Version 4, verified.

The header form serves every service, the presigned (query) form S3 only. A signature covers the method, the path, the
query, the named headers and the hash of the body. S3 names that hash in a header, so that it is checked as the body
streams by (`chunks`); for the other services the caller hands it to `verify`.
Source of the algorithm: AWS's "Signature Version 4 signing process".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes

from pilothouse.errors import (
    IncompleteSignature,
    MissingAuthentication,
    RequestTimeSkewed,
    S3Error,
    SignatureMismatch,
    UnknownAccessKey,
    WrongScope,
)

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
SKEW = timedelta(minutes=15)
LONGEST_PRESIGN = 7 * 24 * 3600  # seconds

_STAMP = "%Y%m%dT%H%M%SZ"
_STAMP_FORM = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_GLOBAL_REGION = "us-east-1"
_GLOBAL_SERVICES = ("iam", "sts")  # signed for us-east-1 wherever the client is
_PARAMETERS = tuple(
    f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^\s,]*)")


class Keys(Protocol):
    """Access keys, by id."""

    def secret(self, access_key_id: str) -> str | None:
        """The secret of a valid key, else None."""


@dataclass(frozen=True)
class Message:
    """The parts of an HTTP request that a signature covers, as they came over the wire.

    `path` and `query` are still percent-encoded; header names are lower case.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """A header's first value."""
        return self.values.get(name, (None,))[0]

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """The headers' values by name."""
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name, []).append(value)
        return values

    @cached_property
    def claim(self) -> Claim:
        """What the request says about its signature; see `claim`."""
        return _claimed(self)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; see `query_parameters`."""
        return query_parameters(self.query)


@dataclass(frozen=True)
class Claim:
    """What a request says about its signature, not yet believed."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    stamp: str
    expires: int | None = None
    """Seconds that a presigned URL is valid; None for the header form."""

    @property
    def scope(self) -> str:
        """The credential scope without the key id."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True)
class Identity:
    """Who signed a request that has been verified, and what its streamed chunks are signed with."""

    access_key_id: str
    service: str
    region: str
    payload: str
    """The hash of the body that the signature covers, or one of S3's words in its place (UNSIGNED-PAYLOAD, …)."""
    stamp: str = ""
    scope: str = ""
    signature: str = ""
    signing_key: bytes = field(default=b"", repr=False)


def is_signed(message: Message) -> bool:
    """Whether the request carries any kind of authentication, good or bad."""
    return message.header("authorization") is not None or any(
        name in message.parameters for name in ("X-Amz-Signature", "AWSAccessKeyId")
    )


def claim(message: Message) -> Claim:
    """The request's signature, not verified. `MissingAuthentication`, `IncompleteSignature`."""
    return message.claim


def _claimed(message: Message) -> Claim:
    authorization = message.header("authorization")
    parameters = message.parameters
    if authorization is not None:
        if "X-Amz-Signature" in parameters:
            raise IncompleteSignature(
                "Only one auth mechanism allowed: the X-Amz-Algorithm query parameter or the Authorization header."
            )
        return _header_claim(message, authorization)
    if "X-Amz-Signature" in parameters:
        return _query_claim(parameters)
    if "AWSAccessKeyId" in parameters:
        raise version_2()
    raise MissingAuthentication


def screen(message: Message, keys: Keys, *, region: str, now: datetime | None = None) -> tuple[Claim, str]:
    """What a request claims and the secret of its key: all that can be refused before the body is read.

    Raises what `verify` raises, except that the signature itself is not looked at.
    """
    claimed = claim(message)
    _check_scope(claimed, region, now)
    _check_coverage(message, claimed)
    return claimed, _secret(claimed, keys)


def verify(message: Message, keys: Keys, *, region: str, payload: str | None, now: datetime | None = None) -> Identity:
    """The identity behind a request, or one of the `AuthenticationError`s.

    `payload` is the SHA-256 of the body in hexadecimal. None leaves it to what the request says in
    x-amz-content-sha256, as S3 does; the reader of the body must then hold the body against `Identity.payload`.
    """
    claimed, secret = screen(message, keys, region=region, now=now)
    payload = payload if payload is not None else _declared_payload(message, claimed)
    key = _signing_key(secret, claimed)
    expected = sign(key, _string_to_sign(claimed, canonical_request(message, claimed, payload)))
    _compare(expected, claimed)
    return Identity(
        claimed.access_key_id, claimed.service, claimed.region, payload, claimed.stamp, claimed.scope, expected, key
    )


def verify_text(
    text: str,
    algorithm: str,
    credential: str,
    stamp: str,
    signature: str,
    keys: Keys,
    *,
    region: str,
    now: datetime | None = None,
) -> None:
    """One of the `AuthenticationError`s unless `text` was signed as it stands, which is how a form's policy is."""
    _check_algorithm(algorithm)
    claimed = _claim(credential, "", signature, stamp, LONGEST_PRESIGN)
    _check_scope(claimed, region, now)
    _compare(sign(_signing_key(_secret(claimed, keys), claimed), text), claimed)


def version_2() -> IncompleteSignature:
    """What to say to Signature Version 2."""
    return IncompleteSignature(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256; in boto3: "
        'Config(signature_version="s3v4").'
    )


def sign(key: bytes, text: str) -> str:
    """The signature of `text`, in hexadecimal."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def _header_claim(message: Message, authorization: str) -> Claim:
    scheme, _, rest = authorization.partition(" ")
    if scheme != ALGORITHM:
        raise IncompleteSignature(f"Unsupported authorization scheme '{scheme[:64]}'. Sign with {ALGORITHM}.")
    fields = dict(_FIELD.findall(rest))
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not fields.get(name)]
    if missing:
        raise IncompleteSignature(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    return _claim(fields["Credential"], fields["SignedHeaders"], fields["Signature"], _header_stamp(message))


def _query_claim(parameters: dict[str, str]) -> Claim:
    missing = [name for name in _PARAMETERS if not parameters.get(name)]
    if missing:
        raise IncompleteSignature(f"Query-string authentication requires the parameters {', '.join(missing)}.")
    _check_algorithm(parameters["X-Amz-Algorithm"])
    expires = parameters["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit() and 1 <= int(expires[:9]) <= LONGEST_PRESIGN):
        raise IncompleteSignature(f"X-Amz-Expires must be from 1 to {LONGEST_PRESIGN} seconds.")
    return _claim(
        parameters["X-Amz-Credential"],
        parameters["X-Amz-SignedHeaders"],
        parameters["X-Amz-Signature"],
        parameters["X-Amz-Date"],
        int(expires[:9]),
    )


def _claim(credential: str, signed_headers: str, signature: str, stamp: str, expires: int | None = None) -> Claim:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise IncompleteSignature("Credential must have the form <access key id>/YYYYMMDD/REGION/SERVICE/aws4_request.")
    key_id, date, region, service, _ = parts
    names = tuple(signed_headers.lower().split(";"))
    if len(set(names)) < len(names):
        raise IncompleteSignature("SignedHeaders must name each header once.")
    return Claim(key_id, date, region, service, names, signature, stamp, expires)


def _header_stamp(message: Message) -> str:
    stamp = message.header("x-amz-date")
    if stamp is not None:
        return stamp
    date = message.header("date")
    if date is None:
        raise IncompleteSignature("Authorization header requires existence of a 'X-Amz-Date' or a 'Date' header.")
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo is None else parsed.astimezone(UTC)).strftime(_STAMP)
    except (ValueError, OverflowError) as error:
        raise IncompleteSignature(f"The Date header '{date[:64]}' is not a valid HTTP date.") from error


def _secret(claimed: Claim, keys: Keys) -> str:
    secret = keys.secret(claimed.access_key_id)
    if secret is None:
        raise UnknownAccessKey
    return secret


def _compare(expected: str, claimed: Claim) -> None:
    if not hmac.compare_digest(expected.encode(), claimed.signature.encode()):
        raise SignatureMismatch


def _check_algorithm(name: str) -> None:
    if name != ALGORITHM:
        raise IncompleteSignature(f'X-Amz-Algorithm only supports "{ALGORITHM}".')


def _check_scope(claimed: Claim, region: str, now: datetime | None) -> None:
    _check_form(claimed)
    _check_region(claimed, region)
    _check_time(claimed, now or datetime.now(UTC))


def _check_form(claimed: Claim) -> None:
    if claimed.expires is not None and claimed.service != "s3":
        raise IncompleteSignature(
            f"Only requests to s3 can be presigned. Sign this one to '{claimed.service[:64]}' in its Authorization "
            "header."
        )


def _check_region(claimed: Claim, region: str) -> None:
    accepted = {region, _GLOBAL_REGION} if claimed.service in _GLOBAL_SERVICES else {region}
    if claimed.region not in accepted:
        raise WrongScope(
            f"Credential should be scoped to a valid region: the request is signed for '{claimed.region}', and this "
            f"server's region is '{region}'. Set AWS_DEFAULT_REGION to it.",
            region,
        )


def _check_time(claimed: Claim, now: datetime) -> None:
    try:
        signed_at = _moment(claimed.stamp)
    except ValueError as error:
        raise IncompleteSignature(f"Date must be in ISO-8601 'basic format'. Got '{claimed.stamp[:64]}'.") from error
    if claimed.date != claimed.stamp[:8]:
        raise WrongScope(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{claimed.date}' != '{claimed.stamp[:8]}', from '{claimed.stamp}'."
        )
    if signed_at - now > SKEW:
        raise _skewed("Signature not yet current", "still later", claimed.stamp, now, SKEW, "+")
    if claimed.expires is None and now - signed_at > SKEW:
        raise _skewed("Signature expired", "now earlier", claimed.stamp, now, -SKEW, "-")
    if claimed.expires is not None and now - signed_at > timedelta(seconds=claimed.expires):
        raise S3Error(
            "AccessDenied",
            f"Request has expired: it was signed at {claimed.stamp} for {claimed.expires} seconds, and now is "
            f"{now.strftime(_STAMP)}. Make a new presigned URL.",
            403,
        )


def _moment(stamp: str) -> datetime:
    """The time that "20260131T235959Z" stands for, in a quarter of the time that `strptime` takes; ValueError."""
    if not _STAMP_FORM.fullmatch(stamp):
        raise ValueError(stamp)
    return datetime.fromisoformat(stamp)


def _skewed(what: str, relation: str, stamp: str, now: datetime, allowed: timedelta, plus: str) -> RequestTimeSkewed:
    limit, at = (now + allowed).strftime(_STAMP), now.strftime(_STAMP)
    message = f"{what}: {stamp} is {relation} than {limit} ({at} {plus} 15 min.). Check the clocks."
    return RequestTimeSkewed(message, stamp, at)


def _check_coverage(message: Message, claimed: Claim) -> None:
    """Headers that change what a request means must be signed, or a stranger could add them."""
    if "host" not in claimed.signed_headers:
        raise SignatureMismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    unsigned = {name for name, _ in message.headers if name.startswith("x-amz-")} - set(claimed.signed_headers)
    if unsigned:
        raise SignatureMismatch(
            "There were headers present in the request which were not signed: "
            f"{', '.join(sorted(unsigned))}. Sign every X-Amz-* header."
        )


def _declared_payload(message: Message, claimed: Claim) -> str:
    declared = message.header("x-amz-content-sha256")
    if claimed.expires is not None:
        return declared or UNSIGNED_PAYLOAD
    if declared is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400)
    return declared


def canonical_request(message: Message, claimed: Claim, payload: str) -> str:
    """The text that both sides hash: AWS's "canonical request" of what arrived."""
    return "\n".join(
        (
            message.method.upper(),
            _canonical_path(message.path, claimed.service),
            _canonical_query(message.query),
            *(f"{name}:{_canonical_header(message, name)}" for name in claimed.signed_headers),
            "",
            ";".join(claimed.signed_headers),
            payload,
        )
    )


def _canonical_path(path: str, service: str) -> str:
    if service == "s3":  # S3 encodes once and keeps dots and repeated slashes: a key is not a file path
        return _quoted(path, safe="/~") or "/"
    return quote(_without_dots(path), safe="/~")


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in ("", ".", ".."):
            kept.append(part)
    tail = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + tail


def _canonical_query(query: str) -> str:
    pairs = [(_quoted(name), _quoted(value)) for name, value in _pairs(query)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs) if name != "X-Amz-Signature")


def _canonical_header(message: Message, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in message.values.get(name, ()))


def _quoted(encoded: str, safe: str = "~") -> str:
    """Percent-encoding brought to AWS's form: everything but unreserved characters, once, in upper case."""
    return quote(unquote_to_bytes(encoded), safe=safe)


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            yield name, value


def query_parameters(query: str) -> dict[str, str]:
    """The parameters of a raw query string, decoded as SigV4 does ("+" is a plus); the first of each name."""
    decoded: dict[str, str] = {}
    for name, value in _pairs(query):
        decoded.setdefault(_decoded(name), _decoded(value))
    return decoded


def _decoded(encoded: str) -> str:
    return unquote_to_bytes(encoded).decode("utf-8", "replace")


def _string_to_sign(claimed: Claim, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{ALGORITHM}\n{claimed.stamp}\n{claimed.scope}\n{digest}"


def _signing_key(secret: str, claimed: Claim) -> bytes:
    return _derived(secret, claimed.date, claimed.region, claimed.service)


@lru_cache(maxsize=64)
def _derived(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that a secret becomes for a day, a region and a service: the same for all requests of a client."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
