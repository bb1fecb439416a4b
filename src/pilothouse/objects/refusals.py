"""S3's refusals that several places give."""

from __future__ import annotations

from pilothouse.errors import S3Error


class DamagedError(S3Error):
    """A file among the objects that is not as this store wrote it."""

    def __init__(self, name: str) -> None:
        super().__init__("InternalError", f'The stored file "{name}" is damaged. Restore it from a backup.', 500)


def no_such_bucket(bucket: str) -> S3Error:
    """There is no bucket of that name."""
    return S3Error("NoSuchBucket", f'The specified bucket does not exist: "{bucket}".', 404, BucketName=bucket)


def no_such_key(key: str) -> S3Error:
    """There is no object of that key in the bucket."""
    return S3Error("NoSuchKey", f'The specified key does not exist: "{key}".', 404, Key=key)


def precondition_failed(header: str) -> S3Error:
    """The condition that the request set in `header` does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return S3Error("PreconditionFailed", message, 412, Condition=header)


def bucket_exists_already() -> S3Error:
    """BucketAlreadyOwnedByYou."""
    message = "Your previous request to create the named bucket succeeded and you already own it."
    return S3Error("BucketAlreadyOwnedByYou", message, 409)
