"""Encryption at rest, as requests for S3 ask for it and answers tell it."""

from __future__ import annotations

from typing import Any

from pilothouse.catalog import kms
from pilothouse.errors import S3Error
from pilothouse.objects.base import Encryption, Objects
from pilothouse.operations.context import Context

_KMS, _OWN = "aws:kms", "AES256"
_TWICE = "aws:kms:dsse"


def writer(context: Context, request: dict[str, Any], source: Encryption | None = None) -> Objects:
    """The store for what this request makes, a copy perhaps of an object that is encrypted as `source`.

    A copy is encrypted as the request says, not as its source is. In AWS one for which nothing is said comes out as
    AES256; so it does here when its source is encrypted, but for a real S3, which knows best.
    """
    encryption = wanted(request)
    if encryption is None and source is not None and context.settings.s3_endpoint is None:
        encryption = Encryption(_OWN)
    return context.objects.encrypting(encryption) if encryption else context.objects


def wanted(request: dict[str, Any]) -> Encryption | None:
    """How the request wants what it makes to be encrypted; S3's refusals of what can't be."""
    algorithm, key = request.get("ServerSideEncryption"), request.get("SSEKMSKeyId")
    if algorithm == _TWICE:
        raise S3Error("NotImplemented", f"Encryption in two layers is not served. Use {_KMS}.", 501)
    if algorithm not in (None, _OWN, _KMS):
        raise S3Error(
            "InvalidEncryptionAlgorithmError",
            f"The encryption request that you specified is not valid. The valid values are {_OWN} and {_KMS}.",
            400,
        )
    if key is not None and algorithm != _KMS:
        raise S3Error(
            "InvalidArgument",
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
            f"{_KMS}",
            400,
        )
    if key is not None and not kms.names_key(key):
        raise S3Error("KMS.NotFoundException", f"Invalid keyId '{key[:64]}'", 400)
    if algorithm is None:
        return None
    return Encryption(algorithm, key, algorithm == _KMS and bool(request.get("BucketKeyEnabled")))


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
