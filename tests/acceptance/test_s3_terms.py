"""What boto3 may ask of an S3 object and of a bucket beyond its bytes: conditions, parts, checksums, tags, settings."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

pytestmark = pytest.mark.slow

MIB = 1 << 20
FIRST, SECOND = b"x" * 5 * MIB, b"the end"
KEY_OF_OURS = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(scope="module")
def s3(s3_door: Any) -> Any:
    return s3_door.client()


@pytest.fixture(scope="module")
def presigner(s3_door: Any) -> Any:
    return s3_door.client(config=Config(signature_version="s3v4"))


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    s3.create_bucket(Bucket=name)
    return name


def refused(call: Callable[..., Any], **request: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call(**request)
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def in_parts(s3: Any, bucket: str, key: str, **options: Any) -> dict[str, Any]:
    """Stores FIRST and SECOND as an object of two parts; what completing them answered."""
    here = {"Bucket": bucket, "Key": key}
    upload = {**here, "UploadId": s3.create_multipart_upload(**here, **options)["UploadId"]}
    kind = {"ChecksumAlgorithm": options["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in options else {}
    parts = []
    for number, content in ((1, FIRST), (2, SECOND)):
        part = s3.upload_part(**upload, PartNumber=number, Body=content, **kind)
        sums = {name: value for name, value in part.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": part["ETag"], **sums})
    answer: dict[str, Any] = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return answer


class TestConditions:
    def test_a_put_replaces_only_the_version_that_it_names(self, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        assert refused(s3.put_object, **here, Body=b"x", IfMatch='"0"') == ("NoSuchKey", 404)
        one = s3.put_object(**here, Body=b"one")["ETag"]
        s3.put_object(**here, Body=b"two", IfMatch=one)
        assert refused(s3.put_object, **here, Body=b"x", IfMatch=one) == ("PreconditionFailed", 412)
        assert refused(s3.put_object, **here, Body=b"x", IfNoneMatch=one) == ("NotImplemented", 501)
        assert refused(s3.delete_object, **here, IfMatch=one) == ("PreconditionFailed", 412)
        assert s3.get_object(**here)["Body"].read() == b"two"

    def test_a_copy_holds_conditions_on_both_ends(self, s3: Any, bucket: str) -> None:
        etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
        copy = {"Bucket": bucket, "Key": "b", "CopySource": {"Bucket": bucket, "Key": "a"}}
        assert refused(s3.copy_object, **copy, CopySourceIfMatch='"0"') == ("PreconditionFailed", 412)
        assert refused(s3.copy_object, **copy, CopySourceIfNoneMatch=etag) == ("PreconditionFailed", 412)
        s3.copy_object(**copy, CopySourceIfMatch=etag, IfNoneMatch="*")
        assert refused(s3.copy_object, **copy, IfNoneMatch="*") == ("PreconditionFailed", 412)

    def test_a_batch_deletes_only_the_versions_that_it_names(self, s3: Any, bucket: str) -> None:
        etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
        s3.put_object(Bucket=bucket, Key="b", Body=b"y")
        named = [{"Key": key, "ETag": etag} for key in ("a", "b")] + [{"Key": "b", "VersionId": "1"}]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
        assert [row["Key"] for row in answer["Deleted"]] == ["a"]
        assert [row["Code"] for row in answer["Errors"]] == ["PreconditionFailed", "InvalidArgument"]

    @pytest.mark.parametrize("call", ["head_bucket", "list_objects_v2", "get_bucket_location"])
    def test_another_owner_than_the_expected_one_is_refused(self, s3: Any, bucket: str, call: str) -> None:
        getattr(s3, call)(Bucket=bucket, ExpectedBucketOwner="000000000000")
        assert refused(getattr(s3, call), Bucket=bucket, ExpectedBucketOwner="111111111111")[1] == 403

    def test_objects_of_another_owner_than_the_expected_one_are_left_alone(self, s3: Any, bucket: str) -> None:
        ours, theirs, denied = "000000000000", "111111111111", ("AccessDenied", 403)
        here, copy = {"Bucket": bucket, "Key": "k"}, {"Bucket": bucket, "Key": "copy"}
        s3.put_object(**here, Body=b"x", ExpectedBucketOwner=ours)
        assert refused(s3.put_object, **here, Body=b"y", ExpectedBucketOwner=theirs) == denied
        assert s3.get_object(**here, ExpectedBucketOwner=ours)["Body"].read() == b"x"
        assert refused(s3.get_object, **here, ExpectedBucketOwner=theirs) == denied
        for pair in ((ours, theirs), (theirs, ours)):
            owners = dict(zip(("ExpectedBucketOwner", "ExpectedSourceBucketOwner"), pair, strict=True))
            assert refused(s3.copy_object, **copy, CopySource=here, **owners) == denied
        assert refused(s3.head_object, **copy)[1] == 404
        s3.copy_object(**copy, CopySource=here, ExpectedBucketOwner=ours, ExpectedSourceBucketOwner=ours)
        assert s3.get_object(**copy)["Body"].read() == b"x"


class TestParts:
    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
    def test_checksums_of_checksums_are_verified_kept_and_told(self, s3: Any, bucket: str, algorithm: str) -> None:
        done = in_parts(s3, bucket, "k", ChecksumAlgorithm=algorithm)
        told = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert done[f"Checksum{algorithm}"] == told[f"Checksum{algorithm}"]
        assert done[f"Checksum{algorithm}"].endswith("-2")
        assert (done["ChecksumType"], told["ChecksumType"]) == ("COMPOSITE", "COMPOSITE")

    def test_a_part_with_another_checksum_than_stored_is_refused(self, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        upload = {**here, "UploadId": s3.create_multipart_upload(**here, ChecksumAlgorithm="SHA256")["UploadId"]}
        part = s3.upload_part(**upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA256")
        row = {"PartNumber": 1, "ETag": part["ETag"]}
        wrong = {"Parts": [{**row, "ChecksumSHA256": base64.b64encode(bytes(32)).decode()}]}
        assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=wrong) == ("InvalidPart", 400)
        right = {"Parts": [{**row, "ChecksumSHA256": part["ChecksumSHA256"]}]}
        size = refused(s3.complete_multipart_upload, **upload, MultipartUpload=right, MpuObjectSize=2)
        assert size == ("InvalidRequest", 400)
        s3.complete_multipart_upload(**upload, MultipartUpload=right, MpuObjectSize=1)

    @pytest.mark.parametrize(
        ("algorithm", "kind"),
        [("SHA256", "FULL_OBJECT"), ("XXHASH3", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), (None, "FULL_OBJECT")],
    )
    def test_checksums_of_a_whole_are_for_the_kinds_that_have_them(
        self, s3_door: Any, bucket: str, algorithm: str | None, kind: str
    ) -> None:
        asked = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        unasked = s3_door.client(config=Config(request_checksum_calculation="when_required"))
        code = refused(unasked.create_multipart_upload, Bucket=bucket, Key="k", ChecksumType=kind, **asked)
        assert code == ("InvalidRequest", 400)

    def test_single_parts_are_read_and_counted(self, s3: Any, bucket: str) -> None:
        in_parts(s3, bucket, "k")
        here = {"Bucket": bucket, "Key": "k"}
        second = s3.get_object(**here, PartNumber=2)
        assert (second["Body"].read(), second["PartsCount"]) == (SECOND, 2)
        assert second["ContentRange"] == f"bytes {len(FIRST)}-{len(FIRST) + len(SECOND) - 1}/{len(FIRST + SECOND)}"
        assert s3.head_object(**here, PartNumber=1)["ContentLength"] == len(FIRST)
        assert refused(s3.get_object, **here, PartNumber=3) == ("InvalidPartNumber", 416)
        assert refused(s3.get_object, **here, PartNumber=1, Range="bytes=0-1") == ("InvalidRequest", 400)
        s3.put_object(Bucket=bucket, Key="whole", Body=b"hello")
        assert s3.get_object(Bucket=bucket, Key="whole", PartNumber=1)["Body"].read() == b"hello"

    def test_attributes_tell_what_was_asked_for(self, s3: Any, bucket: str) -> None:
        done = in_parts(s3, bucket, "k", ChecksumAlgorithm="SHA256")
        asked = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
        answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=asked, MaxParts=1)
        assert answer["ETag"] == done["ETag"].strip('"')
        assert answer["Checksum"] == {"ChecksumSHA256": done["ChecksumSHA256"], "ChecksumType": "COMPOSITE"}
        assert (answer["StorageClass"], answer["ObjectSize"]) == ("STANDARD", len(FIRST + SECOND))
        sha = base64.b64encode(hashlib.sha256(FIRST).digest()).decode()
        assert answer["ObjectParts"]["Parts"] == [{"PartNumber": 1, "Size": len(FIRST), "ChecksumSHA256": sha}]
        assert (answer["ObjectParts"]["TotalPartsCount"], answer["ObjectParts"]["IsTruncated"]) == (2, True)
        only = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"])
        assert not {"ETag", "Checksum", "ObjectParts"} & set(only)
        wrong = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["Colour"]}
        assert refused(s3.get_object_attributes, **wrong) == ("InvalidArgument", 400)

    def test_uploads_in_progress_are_rolled_up_across_pages(self, s3: Any, bucket: str) -> None:
        for key in ("a", "d/1", "d/2", "e"):
            s3.create_multipart_upload(Bucket=bucket, Key=key)
        for size in (1, 2, 1000):
            pages = list(
                s3.get_paginator("list_multipart_uploads").paginate(
                    Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
                )
            )
            assert [row["Key"] for page in pages for row in page.get("Uploads", [])] == ["a", "e"]
            assert [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])] == ["d/"]

    def test_uploads_that_end_between_pages_hide_no_others(self, s3: Any, bucket: str) -> None:
        begun = {s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in ("a", "k", "k", "k", "l")}
        listed = []
        for page in s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 1}
        ):
            (row,) = page["Uploads"]
            listed.append(row["UploadId"])
            s3.abort_multipart_upload(Bucket=bucket, Key=row["Key"], UploadId=row["UploadId"])
        assert (len(listed), set(listed)) == (5, begun)


class TestTags:
    def test_tags_travel_with_puts_and_copies(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="stage=raw&who=me%20%26%20you")
        tags = [{"Key": "stage", "Value": "raw"}, {"Key": "who", "Value": "me & you"}]
        assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == tags
        assert s3.get_object(Bucket=bucket, Key="a")["TagCount"] == 2
        copy = {"Bucket": bucket, "Key": "b", "CopySource": {"Bucket": bucket, "Key": "a"}}
        s3.copy_object(**copy)
        assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == tags
        s3.copy_object(**copy, TaggingDirective="REPLACE", Tagging="new=1")
        assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == [{"Key": "new", "Value": "1"}]

    def test_tags_are_set_and_taken_away_later(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        tags = [{"Key": "ü", "Value": ""}]
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
        s3.delete_object_tagging(Bucket=bucket, Key="k")
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []

    @pytest.mark.parametrize(
        ("tags", "code"),
        [("&".join(f"t{n}=1" for n in range(11)), "BadRequest"), ("a=1&a=2", "InvalidTag"), ("=1", "InvalidTag")],
    )
    def test_tags_against_the_rules_store_nothing(self, s3: Any, bucket: str, tags: str, code: str) -> None:
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", Tagging=tags) == (code, 400)
        assert refused(s3.head_object, Bucket=bucket, Key="k")[1] == 404


class TestEncryption:
    ARN = "arn:aws:kms:us-east-1:000000000000:"

    @staticmethod
    def told(answer: dict[str, Any]) -> tuple[Any, Any, Any]:
        return answer.get("ServerSideEncryption"), answer.get("SSEKMSKeyId"), answer.get("BucketKeyEnabled")

    @pytest.mark.parametrize(
        ("asked", "answered"),
        [
            ({}, (None, None, None)),
            ({"ServerSideEncryption": "AES256"}, ("AES256", None, None)),
            ({"ServerSideEncryption": "aws:kms"}, ("aws:kms", ARN + "alias/aws/s3", None)),
            ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "12ab-34"}, ("aws:kms", ARN + "key/12ab-34", None)),
            (
                {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN + "alias/a", "BucketKeyEnabled": True},
                ("aws:kms", ARN + "alias/a", True),
            ),
        ],
    )
    def test_an_object_is_encrypted_as_its_writer_asks(
        self, s3_door: Any, s3: Any, bucket: str, asked: dict[str, Any], answered: tuple[Any, Any, Any]
    ) -> None:
        here, body = {"Bucket": bucket, "Key": "k"}, b"0123456789" * 200_000
        assert self.told(s3.put_object(**here, Body=body, **asked)) == answered
        assert self.told(s3.head_object(**here)) == answered
        whole = s3.get_object(**here)
        assert (whole["Body"].read(), self.told(whole)) == (body, answered)
        part = s3.get_object(**here, Range="bytes=1000005-1000014")
        assert (part["Body"].read(), self.told(part)) == (b"5678901234", answered)
        on_disk = (s3_door.home / "objects" / bucket / "keys" / "k").read_bytes()
        assert (body[:1000] in on_disk) == (answered[0] is None)

    def test_parts_are_encrypted_as_their_upload_asks(self, s3_door: Any, s3: Any, bucket: str) -> None:
        asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/a"}
        answered = ("aws:kms", self.ARN + "alias/a", None)
        here = {"Bucket": bucket, "Key": "k"}
        s3.put_object(**here, Body=FIRST)
        begun = s3.create_multipart_upload(**here, **asked)
        upload = {**here, "UploadId": begun["UploadId"]}
        copied = s3.upload_part_copy(**upload, PartNumber=1, CopySource=here)
        sent = s3.upload_part(**upload, PartNumber=2, Body=SECOND)
        parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}, {"PartNumber": 2, "ETag": sent["ETag"]}]
        done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert {self.told(answer) for answer in (begun, copied, sent, done)} == {answered}
        whole = s3.get_object(**here)
        assert (whole["Body"].read(), self.told(whole)) == (FIRST + SECOND, answered)
        assert s3.get_object(**here, PartNumber=2)["Body"].read() == SECOND
        assert SECOND not in (s3_door.home / "objects" / bucket / "keys" / "k").read_bytes()

    def test_a_copy_is_encrypted_as_asked_and_never_less_than_its_source_by_default(self, s3: Any, bucket: str) -> None:
        source = {"Bucket": bucket, "Key": "k"}
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/a"}
        s3.put_object(**source, Body=b"x", **kms, Tagging="a=1")
        copy = {"Bucket": bucket, "Key": "copy", "CopySource": source}
        for asked, answered in [
            ({}, ("AES256", None, None)),
            (kms, ("aws:kms", self.ARN + "alias/a", None)),
            ({"ServerSideEncryption": "AES256"}, ("AES256", None, None)),
        ]:
            assert self.told(s3.copy_object(**copy, **asked)) == answered
            assert self.told(s3.head_object(Bucket=bucket, Key="copy")) == answered
            assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"x"
        s3.put_object(Bucket=bucket, Key="plain", Body=b"y")
        plain = {"Bucket": bucket, "Key": "plain"}
        assert self.told(s3.copy_object(**copy | {"CopySource": plain})) == (None, None, None)
        assert self.told(s3.copy_object(**plain, CopySource=plain, **kms))[0] == "aws:kms"
        s3.put_object_tagging(**plain, Tagging={"TagSet": [{"Key": "a", "Value": "2"}]})
        assert s3.get_object(**plain)["Body"].read() == b"y"

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "no key"}, "KMS.NotFoundException"),
            ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": "alias/a"}, "InvalidArgument"),
            ({"SSEKMSKeyId": "alias/a"}, "InvalidArgument"),
            ({"ServerSideEncryption": "aws:kms:dsse"}, "NotImplemented"),
            ({"ServerSideEncryption": "rot13"}, "InvalidEncryptionAlgorithmError"),
            ({"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "e30="}, "NotImplemented"),
        ],
    )
    def test_encryption_that_cannot_be_is_refused(self, s3: Any, bucket: str, asked: Any, code: str) -> None:
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **asked)[0] == code
        assert refused(s3.create_multipart_upload, Bucket=bucket, Key="k", **asked)[0] == code
        assert refused(s3.head_object, Bucket=bucket, Key="k")[1] == 404

    @pytest.mark.parametrize(
        ("default", "answered"),
        [
            ({"SSEAlgorithm": "AES256"}, ("AES256", None, None)),
            ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/a"}, ("aws:kms", ARN + "alias/a", None)),
        ],
    )
    def test_a_bucket_says_how_objects_are_encrypted_whose_writers_do_not(
        self, s3: Any, bucket: str, default: dict[str, str], answered: tuple[Any, Any, Any]
    ) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        s3.put_object(**here, Body=b"before")
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": False}]}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
        assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == rules
        assert self.told(s3.head_object(**here)) == (None, None, None)
        assert self.told(s3.put_object(**here, Body=b"after")) == answered
        copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=here)
        assert (self.told(copied), self.told(in_parts(s3, bucket, "parts"))) == (answered, answered)
        asked = s3.put_object(**here, Body=b"asked", ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/b")
        assert self.told(asked)[1] == self.ARN + "alias/b"
        s3.delete_bucket_encryption(Bucket=bucket)
        assert refused(s3.get_bucket_encryption, Bucket=bucket)[1] == 404
        assert self.told(s3.put_object(**here, Body=b"plain")) == (None, None, None)
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"after"

    @pytest.mark.parametrize(
        ("default", "code"),
        [
            ({"SSEAlgorithm": "aws:kms:dsse"}, "NotImplemented"),
            ({"SSEAlgorithm": "rot13"}, "InvalidEncryptionAlgorithmError"),
            ({"SSEAlgorithm": "AES256", "KMSMasterKeyID": "alias/a"}, "InvalidArgument"),
            ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "no key"}, "KMS.NotFoundException"),
            (None, "MalformedXML"),
        ],
    )
    def test_a_default_that_cannot_be_is_refused(self, s3: Any, bucket: str, default: Any, code: str) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": default} if default else {"BucketKeyEnabled": True}
        wanted = {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
        assert refused(s3.put_bucket_encryption, Bucket=bucket, **wanted)[0] == code
        assert refused(s3.get_bucket_encryption, Bucket=bucket)[1] == 404
        assert refused(s3.delete_bucket_encryption, Bucket="no-such-bucket") == ("NoSuchBucket", 404)

    def test_a_large_object_that_was_changed_on_the_disk_breaks_off(self, s3_door: Any, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        s3.put_object(**here, Body=FIRST, ServerSideEncryption="AES256")
        with (s3_door.home / "objects" / bucket / "keys" / "k").open("r+b") as file:
            file.seek(3 * MIB)
            file.write(b"changed")
        body = s3.get_object(**here)["Body"]
        assert body.read(2 * MIB) == FIRST[: 2 * MIB]
        with pytest.raises((ResponseStreamingError, IncompleteReadError)):
            body.read()
        assert refused(s3.get_object, **here, Range=f"bytes={3 * MIB - 100}-{3 * MIB}") == ("InternalError", 500)

    def test_an_object_whose_key_is_lost_is_an_error_in_words(self, s3_door: Any, s3: Any, bucket: str) -> None:
        here = {"Bucket": bucket, "Key": "k"}
        s3.put_object(**here, Body=FIRST, ServerSideEncryption="AES256")
        keys = s3_door.home / "master-keys.json"
        keys.rename(keys.with_suffix(".away"))
        try:
            with pytest.raises(ClientError, match=r"Put that file back from a backup") as error:
                s3.get_object(**here)
            assert error.value.response["Error"]["Code"] == "KMS.NotFoundException"
            assert s3.head_object(**here)["ContentLength"] == len(FIRST)
        finally:
            keys.with_suffix(".away").rename(keys)
        assert s3.get_object(**here)["Body"].read() == FIRST


class TestBucketSettings:
    @pytest.mark.parametrize(
        ("call", "code"),
        [
            ("get_bucket_cors", "NoSuchCORSConfiguration"),
            ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
            ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
            ("get_bucket_policy", "NoSuchBucketPolicy"),
            ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
            ("get_bucket_tagging", "NoSuchTagSet"),
            ("get_bucket_website", "NoSuchWebsiteConfiguration"),
            ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ],
    )
    def test_what_a_plain_bucket_lacks_is_told_by_its_own_code(
        self, s3: Any, bucket: str, call: str, code: str
    ) -> None:
        assert refused(getattr(s3, call), Bucket=bucket) == (code, 404)
        assert refused(getattr(s3, call), Bucket="no-such-bucket") == ("NoSuchBucket", 404)

    def test_what_a_plain_bucket_has_is_told(self, s3: Any, bucket: str) -> None:
        assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
        assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
        assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
        assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
        assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
        rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert all(blocked.values())

    def test_the_owner_may_do_everything_and_nobody_else_can_be_let_in(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control")
        for read, write, where in (
            (s3.get_bucket_acl, s3.put_bucket_acl, {"Bucket": bucket}),
            (s3.get_object_acl, s3.put_object_acl, {"Bucket": bucket, "Key": "k"}),
        ):
            found = read(**where)
            (grant,) = found["Grants"]
            assert grant == {"Grantee": {**found["Owner"], "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
            write(**where, ACL="private")
            write(**where, AccessControlPolicy={"Owner": found["Owner"], "Grants": found["Grants"]})
            for refusal in (
                {"ACL": "public-read"},
                {"GrantRead": "id=1"},
                {"AccessControlPolicy": {"Owner": found["Owner"], "Grants": [{**grant, "Permission": "READ"}]}},
                {"AccessControlPolicy": {"Owner": found["Owner"], "Grants": []}},
            ):
                assert refused(write, **where, **refusal) == ("AccessControlListNotSupported", 400)
            assert refused(write, **where) == ("MissingSecurityHeader", 400)
            assert refused(read, **{**where, "Bucket": "no-such-bucket"}) == ("NoSuchBucket", 404)
        assert refused(s3.get_object_acl, Bucket=bucket, Key="none") == ("NoSuchKey", 404)

    def test_every_object_has_the_one_version_null(self, s3: Any, bucket: str) -> None:
        for key in ("a", "b", "c/1"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
        rows = [row for page in pages for row in page["Versions"]]
        assert [(row["Key"], row["VersionId"], row["IsLatest"]) for row in rows] == [
            (key, "null", True) for key in ("a", "b", "c/1")
        ]
        assert s3.get_object(Bucket=bucket, Key="a", VersionId="null")["Body"].read() == b"x"
        assert refused(s3.get_object, Bucket=bucket, Key="a", VersionId="1") == ("InvalidArgument", 400)
        source = {"Bucket": bucket, "Key": "a", "VersionId": "1"}
        assert refused(s3.copy_object, Bucket=bucket, Key="d", CopySource=source) == ("InvalidArgument", 400)

    @pytest.mark.parametrize(
        ("term", "code"),
        [
            ({"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY_OF_OURS}, "NotImplemented"),
            ({"ACL": "public-read"}, "AccessControlListNotSupported"),
            ({"GrantRead": "id=1"}, "AccessControlListNotSupported"),
            ({"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2040-01-01"}, "InvalidRequest"),
            ({"ObjectLockEventHold": "ON"}, "InvalidRequest"),
            ({"WebsiteRedirectLocation": "/x"}, "NotImplemented"),
            ({"WriteOffsetBytes": 1}, "NotImplemented"),
        ],
    )
    def test_a_term_that_cannot_be_kept_is_refused(self, s3: Any, bucket: str, term: Any, code: str) -> None:
        assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **term)[0] == code
        assert refused(s3.head_object, Bucket=bucket, Key="k")[1] == 404


class TestPresigned:
    def test_a_presigned_put_stores_what_its_signer_said(self, s3: Any, bucket: str, presigner: Any) -> None:
        wanted = {"Bucket": bucket, "Key": "ü k", "ContentType": "text/csv", "Metadata": {"who": "me"}}
        url = presigner.generate_presigned_url("put_object", Params=wanted)
        headers = {"Content-Type": "text/csv", "x-amz-meta-who": "me"}
        with urllib.request.urlopen(urllib.request.Request(url, b"a,b\n", headers, method="PUT")) as answer:
            assert answer.status == 200
        stored = s3.get_object(Bucket=bucket, Key="ü k")
        assert (stored["ContentType"], stored["Metadata"]) == ("text/csv", {"who": "me"})
        assert stored["Body"].read() == b"a,b\n"

    def test_a_presigned_url_is_for_one_method_and_one_key(self, s3: Any, bucket: str, presigner: Any) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        url = presigner.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        for changed in (
            urllib.request.Request(url, b"y", method="PUT"),
            urllib.request.Request(url.replace("/k?", "/l?")),
            urllib.request.Request(url + "&response-content-type=text/html"),
            urllib.request.Request(url, headers={"x-amz-meta-a": "1"}),
        ):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(changed)
            assert error.value.code == 403
            error.value.close()
