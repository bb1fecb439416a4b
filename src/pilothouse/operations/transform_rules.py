"""What a transform job's create request must satisfy beyond its shape, checked before the job is accepted."""

from __future__ import annotations

from pilothouse.catalog import hosting
from pilothouse.catalog.json_path import JsonPath
from pilothouse.catalog.transform_jobs import (
    CSV,
    DEFAULT_PAYLOAD_MB,
    JSON,
    JSON_LINES,
    MOST_PAYLOADS_MB,
    Document,
    TransformJob,
)
from pilothouse.errors import ValidationError
from pilothouse.objects import manifest, uri
from pilothouse.operations.context import Context

_WIDE = ("utf-16", "utf16", "utf-32", "utf32", "ucs-2", "ucs2")
"""How names of encodings begin in which a line does not end with the byte of a newline."""


def check(context: Context, request: Document, model: Document) -> None:
    """Raises ValidationError for the first rule that the request breaks; `model` is the CreateModel request."""
    job = TransformJob.of(request, hosting.containers(model))
    _types(job)
    if hosting.is_direct(model):
        raise ValidationError("A transform job needs a model that answers by itself, and this one's Mode is Direct.")
    _sizes(request)
    _split(request, job)
    _processing(job)
    if job.with_ids and job.rows_out is None:
        raise ValidationError(
            "GenerateInferenceId needs text/csv, application/jsonlines or application/json as Accept: an id is "
            "appended to each line."
        )
    _bucket(context, "S3OutputPath", job.output_path)
    if job.capture is not None:
        _bucket(context, "DestinationS3Uri", job.capture.destination)
    manifest.first(context.objects, job.data_type, job.uri, region=context.settings.region)


def _types(job: TransformJob) -> None:
    """They go to the model in headers."""
    for member, value in (("ContentType", job.content_type), ("Accept", job.accept)):
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValidationError(f"{member} must consist of printable US-ASCII characters.")


def _bucket(context: Context, member: str, location: str) -> None:
    bucket = uri.parse(location).bucket
    if not context.objects.bucket_exists(bucket):
        raise ValidationError(
            f'The bucket "{bucket}" of {member} does not exist. Create it, then create the job again.'
        )


def _sizes(request: Document) -> None:
    payload = request.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB)
    concurrent = request.get("MaxConcurrentTransforms") or 1
    if payload * concurrent > MOST_PAYLOADS_MB:
        raise ValidationError(
            f"MaxPayloadInMB ({payload}) times MaxConcurrentTransforms ({concurrent}) must not exceed "
            f"{MOST_PAYLOADS_MB}. Lower one of them."
        )
    if payload == 0 and concurrent > 1:
        raise ValidationError("With MaxPayloadInMB 0, MaxConcurrentTransforms must be 1.")


def _split(request: Document, job: TransformJob) -> None:
    if job.split == "TFRecord":
        raise ValidationError("No container here reads TFRecord. Use SplitType Line, RecordIO or None.")
    if "BatchStrategy" in request and job.split == "None":
        raise ValidationError("BatchStrategy needs a SplitType: it says how many records a request holds.")
    if job.split == "Line" and (job.charset or "").startswith(_WIDE):
        raise ValidationError(
            f"Lines can't be told apart in text that is declared as {job.charset}. Leave charset out: UTF-16 is told "
            "by its byte order mark."
        )
    if job.split == "Line" and job.with_header:
        raise ValidationError(
            "Files with a header can't be split by line, since only their first part would have it. Send files without "
            "a header as text/csv, or use SplitType None."
        )


def _processing(job: TransformJob) -> None:
    filters = [(JsonPath.parse(job.input_filter), job.rows_in), (JsonPath.parse(job.output_filter), job.rows_out)]
    if all(path.everything for path, _ in filters) and not job.join:
        return
    by_line = job.split == "Line" and job.rows_in in (CSV, JSON_LINES) and job.rows_out in (CSV, JSON_LINES)
    if not by_line and (job.split, job.rows_in, job.rows_out) != ("None", JSON, JSON):
        raise ValidationError(
            "Filters and JoinSource need SplitType Line and text/csv or application/jsonlines as ContentType and "
            "Accept, or SplitType None and application/json as both."
        )
    if job.join and job.rows_in != job.rows_out:
        raise ValidationError(
            "JoinSource Input needs the same format in ContentType and Accept, or as the container's default."
        )
    for path, rows in filters:
        if rows == CSV and not path.places_only:
            raise ValidationError(f"The filter {path.text!r} names members; rows of CSV have places only, as in $[1:].")
