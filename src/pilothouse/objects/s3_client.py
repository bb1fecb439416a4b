"""A botocore client for one S3 endpoint, whose errors are ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus
from typing import Any

from pilothouse.errors import S3Error, ServiceUnavailable
from pilothouse.objects.base import Encryption

_CONNECTIONS = 64
_ATTEMPTS = 4
_MAKING = ("put_object", "create_multipart_upload")
_CODES = {"404": "NoSuchKey", "403": "AccessDenied", "412": "PreconditionFailed", "304": "NotModified"}
"""S3's codes for answers to HEAD, which have no body to carry one."""

_MEMBERS = ("BucketName", "Condition", "Key")
"""What else of an error is handed on."""


class S3Client:
    """Calls operations by botocore's names. Made when first used; without keys, any that an AWS client finds."""

    def __init__(self, endpoint: str | None, region: str, access_key: str | None, secret_key: str | None) -> None:
        self._endpoint, self._region = endpoint, region
        self._access_key, self._secret_key = access_key, secret_key
        self._encryption: dict[str, Any] = {}

    def encrypting(self, encryption: Encryption | None) -> S3Client:
        """The same client, which asks for what it makes to be encrypted so; None: it says nothing of it."""
        view = copy.copy(self)
        view.__dict__["_client"] = self._client
        view._encryption = _members(encryption) if encryption else {}
        return view

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """The answer. `S3Error` with the endpoint's code and status; `ServiceUnavailable` if it can't be reached, or
        fails.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if operation in _MAKING:
            request |= self._encryption
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**request)
        except ClientError as error:
            raise self._translated(error.response) from error
        except BotoCoreError as error:
            raise self._away(error) from error
        return answer

    def pages(self, operation: str, **request: Any) -> Iterator[dict[str, Any]]:
        """All pages of a listing."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield from self._client.get_paginator(operation).paginate(**request)
        except ClientError as error:
            raise self._translated(error.response) from error
        except BotoCoreError as error:
            raise self._away(error) from error

    def _translated(self, response: dict[str, Any]) -> S3Error | ServiceUnavailable:
        error = response.get("Error", {})
        code = str(error.get("Code", "InternalError"))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
        message = str(error.get("Message") or "The object store refused the request.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return self._away(f"{code} ({status}): {message}")
        told = {name: str(error[name]) for name in _MEMBERS if name in error}
        return S3Error(_CODES.get(code, code), message, status, **told)

    def _away(self, why: object) -> ServiceUnavailable:
        return ServiceUnavailable(f"The object store at {self._endpoint or 'AWS'} cannot be used: {why}")

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=self._region,
            aws_access_key_id=self._access_key,
            aws_secret_access_key=self._secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=_CONNECTIONS,
            ),
        )


def _members(encryption: Encryption) -> dict[str, Any]:
    asked = {
        "ServerSideEncryption": encryption.algorithm,
        "SSEKMSKeyId": encryption.kms_key,
        "BucketKeyEnabled": encryption.bucket_key,
    }
    return {name: value for name, value in asked.items() if value}
