"""The reading of a transform job's request, for the operation that checks it and the job that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KIND = "transform-job"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
CSV, JSON_LINES, JSON = "text/csv", "application/jsonlines", "application/json"
DEFAULT_PAYLOAD_MB = 6
MOST_PAYLOADS_MB = 100
"""Most megabytes that may be on their way to the model at once."""

_JSON_LINES = (JSON_LINES, "application/x-jsonlines", "application/x-ndjson")
_WITHOUT_LIMIT_MB = 256
_DEFAULT_TIMEOUT, _DEFAULT_RETRIES = 600, 3
_MEGABYTE = 1 << 20

Document = dict[str, Any]


@dataclass(frozen=True)
class Capture:
    """A transform job's DataCaptureConfig: where its manifests go, and whether each line of output gets an id."""

    destination: str
    kms_key: str | None
    with_ids: bool

    @classmethod
    def of(cls, config: Document | None) -> Capture | None:
        """Reads a DataCaptureConfig whose shape has been checked; None if there is none."""
        if not config:
            return None
        return cls(
            destination=config["DestinationS3Uri"],
            kms_key=config.get("KmsKeyId") or None,
            with_ids=config.get("GenerateInferenceId", False),
        )


@dataclass(frozen=True)
class TransformJob:
    """A transform job as asked for, with the service's defaults.

    `payload` is the most bytes of a request, `answers` the format of the model's answers: `accept`, or what the last
    container gives unasked. `rows_in` and `rows_out` are CSV, JSON_LINES, JSON for one document, or None for what is
    not taken apart.
    """

    data_type: str
    uri: str
    content_type: str | None
    gzip: bool
    split: str
    single: bool
    output_path: str
    accept: str | None
    answers: str
    lines: bool
    concurrency: int
    payload: int
    timeout: int
    retries: int
    environment: dict[str, str]
    input_filter: str
    output_filter: str
    join: bool
    capture: Capture | None

    @classmethod
    def of(cls, request: Document, containers: Sequence[Document]) -> TransformJob:
        """Reads a request whose shape has been checked, for a model of these container definitions."""
        source, target = request["TransformInput"], request["TransformOutput"]
        processing, client = request.get("DataProcessing", {}), request.get("ModelClientConfig", {})
        data = source["DataSource"]["S3DataSource"]
        environment = {**containers[-1].get("Environment", {}), **request.get("Environment", {})}
        return cls(
            data_type=data["S3DataType"],
            uri=data["S3Uri"],
            content_type=source.get("ContentType"),
            gzip=source.get("CompressionType") == "Gzip",
            split=source.get("SplitType", "None"),
            single=request.get("BatchStrategy") == "SingleRecord",
            output_path=target["S3OutputPath"].rstrip("/"),
            accept=target.get("Accept"),
            answers=target.get("Accept") or environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip() or CSV,
            lines=target.get("AssembleWith") == "Line",
            concurrency=request.get("MaxConcurrentTransforms") or 1,
            payload=(request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB) or _WITHOUT_LIMIT_MB) * _MEGABYTE,
            timeout=client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT),
            retries=client.get("InvocationsMaxRetries", _DEFAULT_RETRIES),
            environment=request.get("Environment", {}),
            input_filter=processing.get("InputFilter", "$"),
            output_filter=processing.get("OutputFilter", "$"),
            join=processing.get("JoinSource") == "Input",
            capture=Capture.of(request.get("DataCaptureConfig")),
        )

    @property
    def with_ids(self) -> bool:
        """Whether each line of output gets an inference id and the time of the job's start."""
        return self.capture is not None and self.capture.with_ids

    @property
    def charset(self) -> str | None:
        """The encoding of the input that ContentType says, in small letters."""
        return self._said("charset")

    @property
    def with_header(self) -> bool:
        """Whether ContentType says that the input has a header."""
        return self._said("header") == "present"

    @property
    def rows_in(self) -> str | None:
        """What a line of the input is, or all of it."""
        return _rows(self.content_type or CSV)

    @property
    def rows_out(self) -> str | None:
        """What a line of an answer is, or all of it."""
        return _rows(self.answers)

    def _said(self, wanted: str) -> str | None:
        """A parameter of ContentType, in small letters."""
        parameters = (part.partition("=") for part in (self.content_type or "").split(";")[1:])
        found = (value.strip().strip('"').lower() for name, _, value in parameters if name.strip().lower() == wanted)
        return next(found, None)


def _rows(media_type: str) -> str | None:
    name = media_type.partition(";")[0].strip().lower()
    if name in _JSON_LINES:
        return JSON_LINES
    return name if name in (CSV, JSON) else None
