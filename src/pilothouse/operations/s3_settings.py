"""What can be asked of the settings of an S3 bucket: but for encryption they are those of a plain one, and fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pilothouse.errors import S3Error
from pilothouse.operations.context import Context
from pilothouse.operations.s3_buckets import require

_UNSET: Mapping[str, tuple[str, str]] = {
    "GetBucketCors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketLifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    "GetBucketPolicy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketPolicyStatus": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "GetBucketReplication": (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    "GetBucketTagging": ("NoSuchTagSet", "The TagSet does not exist"),
    "GetBucketWebsite": (
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
    ),
    "GetObjectLockConfiguration": (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ),
}
_SET: Mapping[str, dict[str, Any]] = {
    "GetBucketAccelerateConfiguration": {},
    "GetBucketLogging": {},
    "GetBucketNotification": {},
    "GetBucketOwnershipControls": {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
    "GetBucketRequestPayment": {"Payer": "BucketOwner"},
    "GetBucketVersioning": {},
    "GetPublicAccessBlock": {
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
    },
}


def _unset(error: tuple[str, str], context: Context, request: dict[str, Any]) -> dict[str, Any]:
    require(context, request["Bucket"])
    raise S3Error(*error, 404)


def _set(answer: dict[str, Any], context: Context, request: dict[str, Any]) -> dict[str, Any]:
    require(context, request["Bucket"])
    return answer


OPERATIONS: Mapping[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    **{name: partial(_unset, error) for name, error in _UNSET.items()},
    **{name: partial(_set, answer) for name, answer in _SET.items()},
}
"""By operation; of two names for one request, as the newer GetBucketLifecycleConfiguration is, the older."""
