"""botocore's S3 shapes to this package's values, and back."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from pilothouse.errors import ServiceUnavailable
from pilothouse.objects.base import Attributes, Encryption, ObjectInfo, Part, Upload
from pilothouse.objects.checksums import KINDS

_HEADERS = {
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
}


class ResponseStream(io.RawIOBase):
    """A response's body as a raw stream, for `io.BufferedReader`. `ServiceUnavailable` where it breaks off."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as there is something."""
        from botocore.exceptions import BotoCoreError

        try:
            content = self._body.read(len(buffer))
        except BotoCoreError as error:
            raise ServiceUnavailable(f"The object store broke off within an object: {error}") from error
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Give the connection back."""
        self._body.close()
        super().close()


def info(bucket: str, key: str, head: Mapping[str, Any]) -> ObjectInfo:
    """What HeadObject tells."""
    headers = {header: head[name] for name, header in _HEADERS.items() if name in head}
    if "Expires" in head:
        headers["Expires"] = formatdate(head["Expires"].timestamp(), usegmt=True)
    return ObjectInfo(
        bucket,
        key,
        head["ContentLength"],
        head["ETag"].strip('"'),
        head["LastModified"].timestamp(),
        head.get("ContentType", "binary/octet-stream"),
        head.get("Metadata", {}),
        sums_of(head),
        headers,
        head.get("TagCount", 0),
        encryption(head),
    )


def listed(bucket: str, row: Mapping[str, Any]) -> ObjectInfo:
    """What a listing tells."""
    return ObjectInfo(bucket, row["Key"], row["Size"], row["ETag"].strip('"'), row["LastModified"].timestamp())


def part(row: Mapping[str, Any]) -> Part:
    """A row of ListParts."""
    etag = row["ETag"].strip('"')
    return Part(row["PartNumber"], row["Size"], etag, row["LastModified"].timestamp(), sums_of(row))


def made_part(row: Mapping[str, Any], at: float) -> Part:
    """A row of what GetObjectAttributes tells of the parts of an object."""
    return Part(row["PartNumber"], row["Size"], "", at, sums_of(row))


def tags(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """A set of tags."""
    return {row["Key"]: row["Value"] for row in rows}


def upload(bucket: str, row: Mapping[str, Any]) -> Upload:
    """A row of ListMultipartUploads."""
    algorithm, kind = row.get("ChecksumAlgorithm"), row.get("ChecksumType", "COMPOSITE")
    return Upload(bucket, row["Key"], row["UploadId"], row["Initiated"].timestamp(), algorithm, kind)


def encryption(answer: Mapping[str, Any]) -> Encryption | None:
    """How an object or a part is encrypted, as the answer tells."""
    if "ServerSideEncryption" not in answer:
        return None
    return Encryption(answer["ServerSideEncryption"], answer.get("SSEKMSKeyId"), answer.get("BucketKeyEnabled", False))


def default_encryption(answer: Mapping[str, Any]) -> Encryption | None:
    """What GetBucketEncryption tells, whose one rule is about what writers don't say."""
    rules = answer["ServerSideEncryptionConfiguration"].get("Rules", [])
    rule = next((rule for rule in rules if "ApplyServerSideEncryptionByDefault" in rule), None)
    if rule is None:
        return None
    told = rule["ApplyServerSideEncryptionByDefault"]
    return Encryption(told["SSEAlgorithm"], told.get("KMSMasterKeyID"), rule.get("BucketKeyEnabled", False))


def encryption_rules(encryption: Encryption) -> dict[str, Any]:
    """The configuration that says so."""
    wanted = {"SSEAlgorithm": encryption.algorithm, "KMSMasterKeyID": encryption.kms_key}
    default = {name: value for name, value in wanted.items() if value is not None}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": encryption.bucket_key}]}


def sums_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The checksums among an answer's members."""
    return {name: row[f"Checksum{name}"] for name in KINDS if f"Checksum{name}" in row}


def sum_members(values: Mapping[str, str | None]) -> dict[str, str]:
    """The members that carry these checksums."""
    return {f"Checksum{name}": value for name, value in values.items() if value is not None and name in KINDS}


def attribute_members(attributes: Attributes) -> dict[str, Any]:
    """The members that carry what a writer says of an object."""
    members: dict[str, Any] = {name: attributes.headers.get(header) for name, header in _HEADERS.items()}
    members |= {"ContentType": attributes.content_type, "Metadata": dict(attributes.metadata)}
    members["Tagging"] = urlencode(attributes.tags)
    if "Expires" in attributes.headers:
        members["Expires"] = parsedate_to_datetime(attributes.headers["Expires"])
    return {name: value for name, value in members.items() if value}
