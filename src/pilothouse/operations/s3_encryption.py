"""Encryption at rest, as requests for S3 ask for it and answers tell it, and as a bucket has it for all others."""

from __future__ import annotations

from typing import Any

from pilothouse.catalog import kms
from pilothouse.errors import S3Error
from pilothouse.objects import s3_shapes
from pilothouse.objects.base import Encryption, Objects
from pilothouse.operations.context import Context

_KMS, _OWN = "aws:kms", "AES256"
_TWICE = "aws:kms:dsse"


def writer(context: Context, request: dict[str, Any], source: Encryption | None = None) -> Objects:
    """The store for what this request makes, a copy perhaps of an object that is encrypted as `source`.

    A copy is encrypted as the request or else its bucket says, not as its source is. In AWS one for which nothing is
    said comes out as AES256; so it does here when its source is encrypted. A real S3 sees to that itself.
    """
    encryption = wanted(request)
    at_home = context.settings.s3_endpoint is None
    if encryption is None and source is not None and at_home:
        encryption = context.objects.bucket_encryption(request["Bucket"]) or Encryption(_OWN)
    return context.objects.encrypting(encryption) if encryption else context.objects


def wanted(request: dict[str, Any]) -> Encryption | None:
    """How the request wants what it makes to be encrypted; S3's refusals of what can't be."""
    algorithm, key = request.get("ServerSideEncryption"), request.get("SSEKMSKeyId")
    if key is not None and algorithm != _KMS:
        raise S3Error(
            "InvalidArgument",
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
            f"{_KMS}",
            400,
        )
    return None if algorithm is None else _encryption(algorithm, key, request.get("BucketKeyEnabled", False))


def get_bucket_encryption(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """How a bucket has objects encrypted whose writers don't say."""
    encryption = context.objects.bucket_encryption(request["Bucket"])
    if encryption is None:
        raise S3Error(
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
            404,
        )
    return {"ServerSideEncryptionConfiguration": s3_shapes.encryption_rules(encryption)}


def put_bucket_encryption(context: Context, request: dict[str, Any]) -> None:
    """Have objects encrypted whose writers don't say how, from now on."""
    rules = request["ServerSideEncryptionConfiguration"]["Rules"]
    if len(rules) != 1 or "ApplyServerSideEncryptionByDefault" not in rules[0]:
        raise S3Error("MalformedXML", "Give one rule that applies encryption by default.", 400)
    default = rules[0]["ApplyServerSideEncryptionByDefault"]
    algorithm, key = default["SSEAlgorithm"], default.get("KMSMasterKeyID")
    if key is not None and algorithm != _KMS:
        raise S3Error("InvalidArgument", f"A KMSMasterKeyID is applicable only if SSEAlgorithm is {_KMS}.", 400)
    encryption = _encryption(algorithm, key, rules[0].get("BucketKeyEnabled", False))
    context.objects.set_bucket_encryption(request["Bucket"], encryption)


def delete_bucket_encryption(context: Context, request: dict[str, Any]) -> None:
    """Leave objects as they come whose writers don't say otherwise, from now on."""
    context.objects.set_bucket_encryption(request["Bucket"], None)


def members(context: Context, encryption: Encryption | None) -> dict[str, Any]:
    """The members of an answer that tell how an object is encrypted; none of one that isn't."""
    if encryption is None:
        return {}
    told: dict[str, Any] = {"ServerSideEncryption": encryption.algorithm}
    if encryption.algorithm != _OWN:
        key = encryption.kms_key or kms.OF_S3
        told["SSEKMSKeyId"] = kms.arn(key, context.settings.region, context.settings.account_id)
        told["BucketKeyEnabled"] = encryption.bucket_key or None
    return told


def _encryption(algorithm: str, key: str | None, bucket_key: bool) -> Encryption:
    if algorithm == _TWICE:
        raise S3Error("NotImplemented", f"Encryption in two layers is not served. Use {_KMS}.", 501)
    if algorithm not in (_OWN, _KMS):
        raise S3Error(
            "InvalidEncryptionAlgorithmError",
            f"The encryption request that you specified is not valid. The valid values are {_OWN} and {_KMS}.",
            400,
        )
    if key is not None and not kms.names_key(key):
        raise S3Error("KMS.NotFoundException", f"Invalid keyId '{key[:64]}'", 400)
    return Encryption(algorithm, key, algorithm == _KMS and bucket_key)
