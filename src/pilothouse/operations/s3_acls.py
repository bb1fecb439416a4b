"""Access control lists of S3: the owner may do everything, and no list can say otherwise.

So it is in a bucket whose Object Ownership is BucketOwnerEnforced, S3's default: lists can be read, and written if they
say just that. Canned lists and grants in headers are judged by `s3_terms`.
"""

from __future__ import annotations

from typing import Any

from pilothouse.errors import S3Error
from pilothouse.operations.context import Context
from pilothouse.operations.s3_buckets import owner, require
from pilothouse.operations.s3_terms import no_acls

_ALL = "FULL_CONTROL"


def get_bucket_acl(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The one list that there is."""
    require(context, request["Bucket"])
    return _list(context)


def put_bucket_acl(context: Context, request: dict[str, Any]) -> None:
    """Nothing to do, if the list is the one that there is."""
    require(context, request["Bucket"])
    _check(context, request)


def get_object_acl(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The one list that there is."""
    context.objects.head(request["Bucket"], request["Key"])
    return _list(context)


def put_object_acl(context: Context, request: dict[str, Any]) -> None:
    """Nothing to do, if the list is the one that there is."""
    context.objects.head(request["Bucket"], request["Key"])
    _check(context, request)


def _list(context: Context) -> dict[str, Any]:
    grantee = {**owner(context), "Type": "CanonicalUser"}
    return {"Owner": owner(context), "Grants": [{"Grantee": grantee, "Permission": _ALL}]}


def _check(context: Context, request: dict[str, Any]) -> None:
    policy = request.get("AccessControlPolicy")
    if policy is None and "ACL" not in request:
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header: x-amz-acl.", 400)
    grants = [] if policy is None else policy.get("Grants", [])
    own = (owner(context)["ID"], _ALL)
    if any((grant.get("Grantee", {}).get("ID"), grant.get("Permission")) != own for grant in grants):
        raise no_acls()
    if policy is not None and not grants:  # a list without grants would lock the owner out
        raise no_acls()
