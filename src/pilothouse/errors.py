"""The errors that Pilothouse raises, as one tree.

    PilothouseError
    ├── RequestError                 the caller's fault; wire.faults turns each into AWS's own answer
    │   ├── ValidationError
    │   ├── SerializationError
    │   ├── RequestTooLarge
    │   ├── ResourceNotFound
    │   ├── ResourceInUse
    │   ├── ResourceLimitExceeded
    │   ├── UnknownOperation
    │   │   └── MissingAction
    │   ├── OperationNotServed
    │   ├── EndpointNotFound
    │   ├── ModelError
    │   ├── Throttled
    │   ├── RequestTimeout
    │   ├── ServiceUnavailable
    │   │   └── StoreAway             no fault of the job that meets it: the next attempt goes on
    │   ├── AuthenticationError
    │   │   ├── MissingAuthentication
    │   │   ├── IncompleteSignature
    │   │   ├── UnknownAccessKey
    │   │   ├── SignatureMismatch
    │   │   ├── WrongScope
    │   │   └── RequestTimeSkewed
    │   └── S3Error                  carries S3's own code and status
    ├── JobFailed                    the job ends Failed with this FailureReason
    │   └── DataError                … because of the data it was given
    ├── InvocationFailed             what an asynchronous request gets in place of an answer
    ├── LaunchFailed                 a process could not be started
    ├── TrialTimeout                 the trial ran out of its time; the job goes on without it
    ├── LeaseLost                    another worker owns the job now; stop writing
    └── ConfigurationError           the installation cannot run like this

A class's docstring is its default message.
"""

from __future__ import annotations

import inspect


class PilothouseError(Exception):
    """Pilothouse could not do this."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(self.message)


class RequestError(PilothouseError):
    """The request cannot be served as it stands."""


class ValidationError(RequestError):
    """The request does not satisfy the constraints of the service."""


class SerializationError(RequestError):
    """The request body cannot be read as the operation's input."""


class RequestTooLarge(RequestError):
    """The request body is larger than the service accepts."""


class ResourceNotFound(RequestError):
    """The resource being accessed is not found."""


class ResourceInUse(RequestError):
    """The resource being accessed is in use."""


class ResourceLimitExceeded(RequestError):
    """A resource limit has been exceeded."""


class UnknownOperation(RequestError):
    """The requested operation is not known to the service."""


class MissingAction(UnknownOperation):
    """The request is missing an action: name one in the field Action."""


class OperationNotServed(RequestError):
    """The requested operation exists in AWS but is not served by this version of Pilothouse."""


class EndpointNotFound(RequestError):
    """The endpoint was not found."""


class ModelError(RequestError):
    """The model answered a request with an error.

    `original_status` is the HTTP status and `original_message` the body that the model server gave.
    """

    def __init__(self, original_status: int, original_message: str, log_stream_arn: str = "") -> None:
        said = (
            f'({original_status}) from model with message "{original_message}". '
            f"See {log_stream_arn or 'the endpoint log'} for more information."
        )
        refused = 400 <= original_status < 500
        super().__init__(f"Received client error {said}" if refused else f"Received server error {said}")
        self.original_status = original_status
        self.original_message = original_message
        self.log_stream_arn = log_stream_arn


class Throttled(RequestError):
    """Rate exceeded"""


class RequestTimeout(RequestError):
    """The request body did not arrive in time. Send the request again."""


class ServiceUnavailable(RequestError):
    """The service is unavailable. Try the call again."""


class StoreAway(ServiceUnavailable):
    """The metadata store cannot be used right now. Try the call again."""


class AuthenticationError(RequestError):
    """The request is not authenticated."""


class MissingAuthentication(AuthenticationError):
    """Request is missing Authentication Token"""


class IncompleteSignature(AuthenticationError):
    """The Authorization header is incomplete."""


class UnknownAccessKey(AuthenticationError):
    """The security token included in the request is invalid."""


class SignatureMismatch(AuthenticationError):
    """The request signature we calculated does not match the signature you provided.
    Check your AWS Secret Access Key and signing method. Consult the service documentation for details."""


class WrongScope(AuthenticationError):
    """The signature's credential scope does not fit this server or this request.

    `region` is the region to sign for when that is what differs, else "".
    """

    def __init__(self, message: str, region: str = "") -> None:
        super().__init__(message)
        self.region = region


class RequestTimeSkewed(AuthenticationError):
    """The request was signed too long ago, or in the future.

    `request_time` is when it says that it was signed, `server_time` when it came, both as 20260131T235959Z.
    """

    def __init__(self, message: str, request_time: str, server_time: str) -> None:
        super().__init__(message)
        self.request_time = request_time
        self.server_time = server_time


class S3Error(RequestError):
    """The object store refused the request.

    `code` is S3's error code (NoSuchKey, BucketAlreadyExists, …) and `status` the HTTP status that goes with it;
    `members` are further elements of the answer, which some clients look at.
    """

    def __init__(self, code: str, message: str, status: int = 400, **members: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.members = members

    @property
    def refused(self) -> bool:
        """Whether asking once more is of no use."""
        return self.status < 500


class JobFailed(PilothouseError):
    """The job failed."""


class DataError(JobFailed):
    """The data cannot be used for training."""


class InvocationFailed(PilothouseError):
    """The asynchronous request has no answer."""


class LaunchFailed(PilothouseError):
    """The process could not be started."""


class TrialTimeout(PilothouseError):
    """The trial could not finish within its time limit."""


class LeaseLost(PilothouseError):
    """The lease on this job has passed to another worker."""


class ConfigurationError(PilothouseError):
    """The installation is not usable as configured."""


def reason_of(error: Exception) -> str:
    """The FailureReason of a job that `error` ended, for which its own code had no words."""
    if isinstance(error, S3Error) and error.refused:
        return f"ClientError: {error.message}"
    return f"InternalServerError: {type(error).__name__}: {error}"
