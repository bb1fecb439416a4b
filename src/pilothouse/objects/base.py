"""The object store: what a bucket and an object are, and what can be asked of them.

Every `Objects` addresses objects by bucket and key as S3 does, lists in UTF-8 byte order, and answers errors as
`S3Error` with S3's own codes: NoSuchBucket, NoSuchKey, NoSuchUpload, BucketNotEmpty, BadDigest, PreconditionFailed, ….
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

Body = bytes | BinaryIO | Iterable[bytes]
ChecksumType = Literal["COMPOSITE", "FULL_OBJECT"]
Chosen = tuple[int, str]
"""A part to make an object of: its number and its ETag."""

CHUNK = 1 << 20
"""Bytes that are held at a time when an object is streamed."""


@dataclass(frozen=True)
class Bucket:
    """A bucket; `created_at` in seconds since the epoch."""

    name: str
    created_at: float


@dataclass(frozen=True)
class Encryption:
    """How an object is encrypted at rest.

    `algorithm` as S3 spells it: "AES256", with a key of the store's own, or "aws:kms", with the KMS key whose id, ARN
    or alias is `kms_key` (None: the one that an account has for S3). `bucket_key` is told again and changes nothing.
    """

    algorithm: str
    kms_key: str | None = None
    bucket_key: bool = False


def by_kms(kms_key: str | None) -> Encryption | None:
    """Encryption with this KMS key; None without one."""
    return Encryption("aws:kms", kms_key) if kms_key else None


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of an object without reading it.

    `size` is in bytes, `modified_at` in seconds since the epoch. `etag` (no quotes) is the MD5 in hexadecimal, or for
    an object that came in n parts the MD5 of the parts' MD5s followed by "-n". `checksums` maps algorithms as S3 spells
    them ("CRC32") to base64; `headers` holds what the writer set of Cache-Control, Content-Disposition,
    Content-Encoding, Content-Language and Expires; `tagged` counts the tags; `encryption` is None for one that lies
    there as it is. Size, etag and checksums are those of the plain bytes in any case. A listing of a remote store
    leaves all but size, etag and modified_at at their defaults; `head` fills them.
    """

    bucket: str
    key: str
    size: int
    etag: str
    modified_at: float
    content_type: str = "binary/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tagged: int = 0
    encryption: Encryption | None = None

    @property
    def uri(self) -> str:
        """The object's address, `s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Attributes:
    """What a writer says about an object beside its bytes; see `ObjectInfo`."""

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """One page. `next`, when there is more, is the `after` of the following page."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    next: str | None


@dataclass(frozen=True)
class Part:
    """One part of a multipart upload, as stored."""

    number: int
    size: int
    etag: str
    modified_at: float
    checksums: Mapping[str, str] = field(default_factory=dict)
    encryption: Encryption | None = None


@dataclass(frozen=True)
class Upload:
    """A multipart upload in progress."""

    bucket: str
    key: str
    upload_id: str
    started_at: float
    checksum_algorithm: str | None = None
    checksum_type: ChecksumType = "COMPOSITE"
    encryption: Encryption | None = None


PartList = list[Part]
UploadList = list[Upload]


class Objects(Protocol):
    """An object store. Safe to use from many threads, and the same store from many processes."""

    def keyed(self, kms_key: str | None) -> Objects:
        """This store for one writer, whose objects it encrypts with this KMS key; as `encrypting` does with None."""

    def encrypting(self, encryption: Encryption | None) -> Objects:
        """This store for one writer, whose objects and uploads it encrypts so, or by None as their bucket says.

        Readers need no view of their own.
        """

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; BucketAlreadyOwnedByYou if it exists, InvalidBucketName if it can't."""

    def delete_bucket(self, bucket: str) -> None:
        """Remove an empty bucket; BucketNotEmpty if it holds an object."""

    def bucket_exists(self, bucket: str) -> bool:
        """Whether there is such a bucket."""

    def buckets(self) -> list[Bucket]:
        """All buckets, by name."""

    def bucket_encryption(self, bucket: str) -> Encryption | None:
        """How a bucket has objects encrypted whose writers don't say; None: not at all."""

    def set_bucket_encryption(self, bucket: str, encryption: Encryption | None) -> None:
        """Change that, for what is written from now on."""

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
        """Store an object, atomically and durably: readers see the old version or the new one, whole.

        `checksums` maps an algorithm to the value that the bytes must have, or to None for one to be computed and kept;
        it is read again once the body is exhausted, so that a trailer may fill it in. "Content-MD5" is verified and not
        kept. A wrong value raises BadDigest and stores nothing. With `replace` False an existing object makes the call
        fail with PreconditionFailed. With `if_match` so does one of another ETag ("*" is any), and none with NoSuchKey;
        no other write comes between that look and this write.
        """

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is known of an object; NoSuchKey or NoSuchBucket."""

    def open(
        self, bucket: str, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> BinaryIO:
        """A stream over `length` bytes from `start` (to the end when None), cut at the end of the object.

        It goes on reading the same version even if the object is replaced. PreconditionFailed when `etag` is given and
        the object's is another.
        """

    def read(self, bucket: str, key: str) -> bytes:
        """The whole content; meant for small objects."""

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        """Remove an object; no error when there is none, except with `if_match`, which is as in `put`."""

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        """An object's tags."""

    def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        """Give an object these tags in place of those that it has; all else stays, its time too."""

    def made_of(self, bucket: str, key: str) -> PartList:
        """The parts that an object was made of, by number; none if it came whole."""

    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = "", limit: int = 1000
    ) -> Listing:
        """The first `limit` keys with `prefix` that come after `after`, in UTF-8 byte order.

        With a delimiter, keys that share what comes before its first occurrence after the prefix are rolled into one
        entry of `prefixes`, which counts as one; such a rolled-up prefix is listed when it comes after `after` itself.
        """

    def walk(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects with `prefix`, in UTF-8 byte order."""

    def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes | None = None,
        *,
        checksum_algorithm: str | None = None,
        checksum_type: ChecksumType = "COMPOSITE",
    ) -> str:
        """Begin a multipart upload; its id."""

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
        """Store part `number` (1 to 10000), in place of an earlier one of that number."""

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
        """Make the object out of `parts`, (number, etag) in ascending order; completing twice gives the same answer.

        InvalidPart for a part that isn't there with that etag, InvalidPartOrder, EntityTooSmall for a part other than
        the last that is under 5 MiB.
        """

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Drop an upload and its parts; NoSuchUpload if there is none."""

    def parts(self, bucket: str, key: str, upload_id: str) -> PartList:
        """The parts stored so far, by number."""

    def upload_of(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload itself; NoSuchUpload if it was completed, aborted or never begun."""

    def uploads(self, bucket: str, prefix: str = "") -> UploadList:
        """The uploads in progress, by key and then by time."""

    def download(self, uri: str, path: Path) -> None:
        """Copy an object to a file, which appears whole or not at all."""

    def upload(self, path: Path, uri: str) -> None:
        """Copy a file to an object."""
