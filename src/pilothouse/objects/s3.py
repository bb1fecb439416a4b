"""Objects in any S3, through botocore's client.

What is written is gathered first, in memory or beyond some megabytes in a temporary file, so that its checksums are
verified before anything is sent and a failed attempt can be repeated. Where an endpoint lacks a feature (conditional
writes, say), the endpoint's own error is raised.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from pilothouse import clock
from pilothouse.errors import S3Error
from pilothouse.objects import checksums as sums
from pilothouse.objects import keys, s3_shapes, transfer
from pilothouse.objects.base import (
    Attributes,
    Body,
    Bucket,
    ChecksumType,
    Chosen,
    Encryption,
    Listing,
    ObjectInfo,
    Part,
    PartList,
    Upload,
    UploadList,
    by_kms,
)
from pilothouse.objects.refusals import bucket_exists_already, no_such_bucket, no_such_key
from pilothouse.objects.s3_client import S3Client
from pilothouse.objects.stored import chunks

_IN_MEMORY = 16 << 20
_LARGEST_PUT = 1 << 30
_PART = 128 << 20
_PAGE = 1000
_NO_ENCRYPTION = "ServerSideEncryptionConfigurationNotFoundError"
_BUFFER = 1 << 18


class RemoteObjects:
    """`Objects` behind an S3 endpoint. Without keys given, botocore finds them as any AWS client would."""

    def __init__(
        self, endpoint: str | None, region: str, *, access_key: str | None = None, secret_key: str | None = None
    ) -> None:
        self._region = region
        self._client = S3Client(endpoint, region, access_key, secret_key)

    def keyed(self, kms_key: str | None) -> RemoteObjects:
        return self.encrypting(by_kms(kms_key))

    def encrypting(self, encryption: Encryption | None) -> RemoteObjects:
        view = copy.copy(self)
        view._client = self._client.encrypting(encryption)
        return view

    def create_bucket(self, bucket: str) -> None:
        keys.check_bucket(bucket)
        if self.bucket_exists(bucket):  # in us-east-1 S3 itself answers success
            raise bucket_exists_already()
        where = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        self._client.call("create_bucket", Bucket=bucket, **({} if self._region == "us-east-1" else where))

    def delete_bucket(self, bucket: str) -> None:
        self._client.call("delete_bucket", Bucket=bucket)

    def bucket_exists(self, bucket: str) -> bool:
        if not keys.is_bucket(bucket):
            return False
        try:
            self._client.call("head_bucket", Bucket=bucket)
        except S3Error as error:
            if error.status == 404:
                return False
            raise
        return True

    def buckets(self) -> list[Bucket]:
        rows = self._client.call("list_buckets")["Buckets"]
        return sorted((Bucket(r["Name"], r["CreationDate"].timestamp()) for r in rows), key=lambda b: b.name)

    def bucket_encryption(self, bucket: str) -> Encryption | None:
        try:
            answer = self._client.call("get_bucket_encryption", Bucket=bucket)
        except S3Error as error:
            if error.code == _NO_ENCRYPTION:
                return None
            raise
        return s3_shapes.default_encryption(answer)

    def set_bucket_encryption(self, bucket: str, encryption: Encryption | None) -> None:
        if encryption is None:
            self._client.call("delete_bucket_encryption", Bucket=bucket)
        else:
            rules = s3_shapes.encryption_rules(encryption)
            self._client.call("put_bucket_encryption", Bucket=bucket, ServerSideEncryptionConfiguration=rules)

    def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksums: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        replace: bool = True,
        if_match: str | None = None,
    ) -> ObjectInfo:
        keys.check_key(key)
        members = s3_shapes.attribute_members(Attributes(content_type, metadata or {}, headers or {}, tags or {}))
        condition = _condition(replace, if_match)
        with _gathered(body, checksums) as gathered:
            if gathered.size > _LARGEST_PUT:
                return self._put_in_parts(bucket, key, gathered, members, condition)
            members |= s3_shapes.sum_members(gathered.sums) | condition
            self._client.call("put_object", Bucket=bucket, Key=key, Body=gathered.file, **members)
        return self.head(bucket, key)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        keys.check_key(key)
        try:
            answer = self._client.call("head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except S3Error as error:
            raise self._missing(error, bucket, key) from None
        return s3_shapes.info(bucket, key, answer)

    def open(
        self, bucket: str, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> BinaryIO:
        keys.check_key(key)
        wanted: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag is not None else {}
        if start or length is not None:
            wanted["Range"] = f"bytes={start}-" if length is None else f"bytes={start}-{start + max(length, 1) - 1}"
        try:
            answer = self._client.call("get_object", Bucket=bucket, Key=key, **wanted)
        except S3Error as error:
            if error.code == "InvalidRange":
                return io.BytesIO()
            raise
        if length == 0:
            answer["Body"].close()
            return io.BytesIO()
        return cast(BinaryIO, io.BufferedReader(s3_shapes.ResponseStream(answer["Body"]), _BUFFER))

    def read(self, bucket: str, key: str) -> bytes:
        with self.open(bucket, key) as stream:
            return stream.read()

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        keys.check_key(key)
        self._client.call("delete_object", Bucket=bucket, Key=key, **_condition(True, if_match))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        keys.check_key(key)
        return s3_shapes.tags(self._client.call("get_object_tagging", Bucket=bucket, Key=key)["TagSet"])

    def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        keys.check_key(key)
        wanted = {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}
        self._client.call("put_object_tagging", Bucket=bucket, Key=key, Tagging=wanted)

    def made_of(self, bucket: str, key: str) -> PartList:
        keys.check_key(key)
        asked = {"Bucket": bucket, "Key": key, "ObjectAttributes": ["ObjectParts"], "MaxParts": _PAGE}
        found: list[Part] = []
        marker, more = 0, True
        while more:
            answer = self._client.call("get_object_attributes", PartNumberMarker=marker, **asked)
            page = answer.get("ObjectParts", {})
            at = answer["LastModified"].timestamp()
            found += [s3_shapes.made_part(row, at) for row in page.get("Parts", [])]
            marker, more = page.get("NextPartNumberMarker", 0), page.get("IsTruncated", False)
        return found

    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = "", limit: int = 1000
    ) -> Listing:
        given = {"Prefix": prefix, "StartAfter": after, "Delimiter": delimiter}
        wanted = {name: text for name, text in given.items() if text}
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        token: dict[str, str] = {}
        while (left := limit - len(objects) - len(prefixes)) > 0:
            page = self._client.call("list_objects_v2", Bucket=bucket, MaxKeys=min(left, _PAGE), **wanted, **token)
            objects += [s3_shapes.listed(bucket, row) for row in page.get("Contents", [])]
            prefixes += [row["Prefix"] for row in page.get("CommonPrefixes", [])]
            if not page["IsTruncated"]:
                return Listing(objects, prefixes, None)
            token = {"ContinuationToken": page["NextContinuationToken"]}
        last = [info.key for info in objects[-1:]] + prefixes[-1:]
        return Listing(objects, prefixes, max(last, key=str.encode) if last else None)

    def walk(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        after: str | None = ""
        while after is not None:
            page = self.list(bucket, prefix, after=after)
            yield from page.objects
            after = page.next

    def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes | None = None,
        *,
        checksum_algorithm: str | None = None,
        checksum_type: ChecksumType = "COMPOSITE",
    ) -> str:
        keys.check_key(key)
        sum_of = {"ChecksumAlgorithm": checksum_algorithm, "ChecksumType": checksum_type} if checksum_algorithm else {}
        wanted = {**s3_shapes.attribute_members(attributes or Attributes()), **sum_of}
        upload_id: str = self._client.call("create_multipart_upload", Bucket=bucket, Key=key, **wanted)["UploadId"]
        return upload_id

    def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        checksums: Mapping[str, str | None] | None = None,
    ) -> Part:
        algorithm = self.upload_of(bucket, key, upload_id).checksum_algorithm
        asked = {"Bucket": bucket, "Key": key, "UploadId": upload_id, "PartNumber": number}
        with _gathered(body, checksums, algorithm) as gathered:
            members = s3_shapes.sum_members(gathered.sums)
            answer = self._client.call("upload_part", Body=gathered.file, **asked, **members)
            told = s3_shapes.sums_of(members), s3_shapes.encryption(answer)
            return Part(number, gathered.size, answer["ETag"].strip('"'), clock.now(), *told)

    def complete(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Chosen],
        *,
        checksums: Mapping[str, str | None] | None = None,
        replace: bool = True,
        if_match: str | None = None,
    ) -> ObjectInfo:
        known = {
            part.number: s3_shapes.sum_members(part.checksums) for part in self._parts_so_far(bucket, key, upload_id)
        }
        rows = [{"PartNumber": number, "ETag": etag, **known.get(number, {})} for number, etag in parts]
        wanted = {"Bucket": bucket, "Key": key, "UploadId": upload_id, "MultipartUpload": {"Parts": rows}}
        wanted |= s3_shapes.sum_members(checksums or {}) | _condition(replace, if_match)
        self._client.call("complete_multipart_upload", **wanted)
        return self.head(bucket, key)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        self._client.call("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)

    def parts(self, bucket: str, key: str, upload_id: str) -> PartList:
        pages = self._client.pages("list_parts", Bucket=bucket, Key=key, UploadId=upload_id)
        return [s3_shapes.part(row) for page in pages for row in page.get("Parts", [])]

    def upload_of(self, bucket: str, key: str, upload_id: str) -> Upload:
        page = self._client.call("list_parts", Bucket=bucket, Key=key, UploadId=upload_id, MaxParts=1)
        return Upload(bucket, key, upload_id, 0.0, page.get("ChecksumAlgorithm"), page.get("ChecksumType", "COMPOSITE"))

    def uploads(self, bucket: str, prefix: str = "") -> UploadList:
        pages = self._client.pages("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
        found = [s3_shapes.upload(bucket, row) for page in pages for row in page.get("Uploads", [])]
        return sorted(found, key=lambda u: (u.key.encode(), u.started_at, u.upload_id))

    def download(self, uri: str, path: Path) -> None:
        transfer.download(self, uri, path)

    def upload(self, path: Path, uri: str) -> None:
        transfer.upload(self, path, uri)

    def _put_in_parts(
        self, bucket: str, key: str, gathered: _Gathered, members: dict[str, Any], condition: dict[str, Any]
    ) -> ObjectInfo:
        upload_id = self._client.call("create_multipart_upload", Bucket=bucket, Key=key, **members)["UploadId"]
        try:
            parts: list[Chosen] = []
            while content := gathered.file.read(_PART):
                parts.append((len(parts) + 1, self.put_part(bucket, key, upload_id, len(parts) + 1, content).etag))
            return self.complete(
                bucket,
                key,
                upload_id,
                parts,
                replace="IfNoneMatch" not in condition,
                if_match=condition.get("IfMatch"),
            )
        except BaseException:
            self.abort(bucket, key, upload_id)
            raise

    def _parts_so_far(self, bucket: str, key: str, upload_id: str) -> PartList:
        try:
            return self.parts(bucket, key, upload_id)
        except S3Error:  # it may have been completed before: the endpoint knows
            return []

    def _missing(self, error: S3Error, bucket: str, key: str) -> S3Error:
        if error.status != 404:
            return error
        if self.bucket_exists(bucket):
            return no_such_key(key)
        return no_such_bucket(bucket)


class _Gathered:
    """A body as a file, with its size and verified checksums."""

    def __init__(self, file: BinaryIO, size: int, values: Mapping[str, str]) -> None:
        self.file, self.size, self.sums = file, size, values

    def __enter__(self) -> _Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _gathered(body: Body, checksums: Mapping[str, str | None] | None, *algorithms: str | None) -> _Gathered:
    expected = checksums if checksums is not None else {}
    digests = sums.Digests({*expected, *filter(None, algorithms)})
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 (closed by _Gathered)
    try:
        for chunk in chunks(body):
            digests.update(chunk)
            file.write(chunk)
        digests.verify(expected)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return _Gathered(file, size, digests.values())


def _condition(replace: bool, if_match: str | None) -> dict[str, str]:
    condition = {} if replace else {"IfNoneMatch": "*"}
    return condition if if_match is None else {**condition, "IfMatch": if_match}
