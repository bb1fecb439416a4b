"""The terms that a request to S3 may set, and the refusal of those that cannot be kept.

A term that was passed over would let its sender believe in it: that a key of his own protects the object, say.
"""

from __future__ import annotations

from typing import Any

from pilothouse.errors import S3Error
from pilothouse.operations.context import Context

_OWNERS = ("ExpectedBucketOwner", "ExpectedSourceBucketOwner")
_PRIVATE = (None, "private", "bucket-owner-full-control")
_NOT_SERVED = {
    "CopySourceSSECustomerAlgorithm": "Encryption with keys that the caller holds",
    "IfMatchInitiatedTime": "A condition on the time of an upload",
    "IfMatchLastModifiedTime": "A condition on the time of an object that is deleted",
    "IfMatchSize": "A condition on the size of an object that is deleted",
    "ObjectLockEnabledForBucket": "Object Lock",
    "SSECustomerAlgorithm": "Encryption with keys that the caller holds",
    "SSECustomerKey": "Encryption with keys that the caller holds",
    "SSEKMSEncryptionContext": "An encryption context",
    "WebsiteRedirectLocation": "A website",
    "WriteOffsetBytes": "Appending to an object",
}
_LOCKS = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus", "ObjectLockEventHold")


def check(context: Context, request: dict[str, Any]) -> None:
    """`S3Error` if the request sets a term that does not hold here."""
    if any(request.get(member) not in (None, context.settings.account_id) for member in _OWNERS):
        raise S3Error("AccessDenied", "Access Denied: the bucket's owner is not the expected one.", 403)
    check_version(request.get("VersionId"))
    if request.get("ACL") not in _PRIVATE or any(name.startswith("Grant") for name in request):
        raise no_acls()
    if any(member in request for member in _LOCKS):
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration", 400)
    for member in sorted(_NOT_SERVED.keys() & request.keys()):
        if request[member]:
            raise S3Error("NotImplemented", f"{_NOT_SERVED[member]} is not served. Leave {member} out.", 501)


def no_acls() -> S3Error:
    """AccessControlListNotSupported, as of a bucket whose Object Ownership is enforced."""
    return S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs: its owner owns all.", 400)


def check_version(version: str | None) -> None:
    """InvalidArgument for a version other than the one that an object has in a bucket without versioning."""
    if version not in (None, "", "null"):
        raise S3Error("InvalidArgument", "Invalid version id specified: without versioning there is only null.", 400)
