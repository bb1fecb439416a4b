"""Asynchronous inference: what an AsyncInferenceConfig asks for, and the invocations that wait for an answer.

An invocation is a row of its own below its endpoint's, from the moment it is accepted until its output or its failure
is stored.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog.hosting import Document

INVOCATION = "async-invocation"
"""The kind of the rows."""

WAITING = "Waiting"
"""The status of all of them: one that has been answered is deleted."""

EXPIRES, LOST = "expires_at", "lost"
"""Members of the state: when an invocation has waited too long (epoch seconds), and how often its replica died."""

MAX_INPUT = 1 << 30
"""Largest input that is read, in bytes."""

DEFAULT_TTL, DEFAULT_TIMEOUT = 21600, 900
"""Seconds that a request may wait, and that a model may take, unless the request says otherwise."""

DEFAULT_CONCURRENCY = 4
"""Requests that a replica has at a time, unless the configuration says otherwise."""


@dataclass(frozen=True)
class Invocation:
    """An accepted request: its input, which is an object or the `body` itself, and where its answer goes.

    `headers` are those that the model server gets; `timeout` is in seconds.
    """

    inference_id: str
    input: str | None
    body: bytes
    headers: Mapping[str, str]
    timeout: float
    output: str
    failure: str
    kms_key: str | None

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Invocation:
        """Reads the request of a row: InvokeEndpointAsync's, its body in base64, with the addresses beside it."""
        headers = {
            "content-type": request.get("ContentType"),
            "accept": request.get("Accept"),
            "x-amzn-sagemaker-custom-attributes": request.get("CustomAttributes"),
            "x-amzn-sagemaker-inference-id": request["InferenceId"],
        }
        return cls(
            inference_id=request["InferenceId"],
            input=request.get("InputLocation"),
            body=base64.b64decode(request.get("Body", "")),
            headers={name: value for name, value in headers.items() if value},
            timeout=request.get("InvocationTimeoutSeconds", DEFAULT_TIMEOUT),
            output=request["OutputLocation"],
            failure=request["FailureLocation"],
            kms_key=request.get("KmsKeyId") or None,
        )


def concurrency(config: Document | None) -> int:
    """How many requests a replica has at a time."""
    client = (config or {}).get("ClientConfig", {})
    return int(client.get("MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENCY))
