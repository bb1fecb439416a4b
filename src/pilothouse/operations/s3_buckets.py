"""S3's operations on buckets."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pilothouse.errors import S3Error
from pilothouse.objects.refusals import no_such_bucket
from pilothouse.operations import s3_tokens
from pilothouse.operations.context import Context

_MOST_BUCKETS = 10_000


def list_buckets(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """All buckets, or a page of them."""
    prefix, after = request.get("Prefix", ""), s3_tokens.read(request.get("ContinuationToken"))
    limit = s3_tokens.limit(request.get("MaxBuckets"), "max-buckets", _MOST_BUCKETS)
    wanted = (b for b in context.objects.buckets() if b.name.startswith(prefix) and b.name > after)
    page = list(islice(wanted, limit + 1))
    return {
        "Buckets": [
            {"Name": b.name, "CreationDate": b.created_at, "BucketRegion": context.settings.region}
            for b in page[:limit]
        ],
        "Owner": owner(context),
        "Prefix": request.get("Prefix"),
        "ContinuationToken": s3_tokens.write(page[limit - 1].name) if len(page) > limit else None,
    }


def create_bucket(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make a bucket in this installation's region."""
    wanted = request.get("CreateBucketConfiguration", {})
    for member in ("Bucket", "Location", "Tags"):
        if wanted.get(member):
            raise S3Error("NotImplemented", f"A new bucket's {member} is not served. Leave {member} out.", 501)
    region = wanted.get("LocationConstraint")
    if region and region != context.settings.region:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {region} location constraint is incompatible for the region specific endpoint this request was sent "
            f"to. Use {context.settings.region}.",
            400,
        )
    try:
        context.objects.create_bucket(request["Bucket"])
    except S3Error as error:
        # In us-east-1, and only there, S3 lets an owner create a bucket again.
        if error.code != "BucketAlreadyOwnedByYou" or context.settings.region != "us-east-1":
            raise
    return {"Location": f"/{request['Bucket']}"}


def head_bucket(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Whether the bucket exists."""
    require(context, request["Bucket"])
    return {"BucketRegion": context.settings.region, "AccessPointAlias": False}


def delete_bucket(context: Context, request: dict[str, Any]) -> None:
    """Remove an empty bucket."""
    context.objects.delete_bucket(request["Bucket"])


def get_bucket_location(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The bucket's region; nothing for us-east-1, as S3 has it."""
    require(context, request["Bucket"])
    region = context.settings.region
    return {"LocationConstraint": None if region == "us-east-1" else region}


def require(context: Context, bucket: str) -> None:
    """NoSuchBucket unless there is such a bucket."""
    if not context.objects.bucket_exists(bucket):
        raise no_such_bucket(bucket)


def owner(context: Context) -> dict[str, str]:
    """The one owner of everything here."""
    return {"ID": context.settings.account_id.rjust(64, "0"), "DisplayName": "pilothouse"}
