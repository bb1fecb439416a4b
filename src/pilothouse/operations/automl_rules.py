"""What an AutoML create request must satisfy beyond its shape, checked before the job is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

from pilothouse.catalog import algorithms, metrics, tabular_jobs
from pilothouse.catalog.tabular_jobs import Channel, TabularJob
from pilothouse.errors import DataError, S3Error, ValidationError
from pilothouse.objects import header, manifest, peek, uri
from pilothouse.operations.context import Context

MAX_OUTPUT_PATH = 512
FEATURE_TYPES = ("numeric", "categorical", "text", "datetime", "sequence")
_MAX_SPECIFICATION_BYTES = 1 << 20
_MOST_BLANK = 200  # objects looked into for a header; a request can't wait for more


def check(context: Context, job: TabularJob) -> None:
    """Raises ValidationError for the first rule that the request breaks; reads headers, never whole objects."""
    _channels(job.channels)
    _split(job)
    _objective(job)
    _mode(job)
    _criteria(job)
    _output(context, job)
    _deployment(context, job)
    _columns(context, job)


def agreement(channels: list[dict[str, Any]]) -> None:
    """The channels of a V1 request name the target and the weight each; they must name the same ones."""
    for member in ("TargetAttributeName", "SampleWeightAttributeName"):
        if len({channel.get(member) for channel in channels}) > 1:
            raise ValidationError(f"All channels in InputDataConfig must have the same {member}.")


def _channels(channels: tuple[Channel, ...]) -> None:
    kinds = sorted(channel.kind for channel in channels)
    if kinds not in (["training"], ["training", "validation"]):
        raise ValidationError(
            f"Channel types {kinds} are not a valid combination. "
            "Give one training channel, or one training channel and one validation channel."
        )
    for channel in channels:
        _channel(channel)
    if len({channel.content_type for channel in channels}) > 1:
        raise ValidationError("The training and validation channels must have the same ContentType.")


def _channel(channel: Channel) -> None:
    if not channel.uri:
        raise ValidationError(f"The {channel.kind} channel has no DataSource. Set DataSource.S3DataSource.")
    if channel.data_type == "AugmentedManifestFile":
        raise ValidationError(
            "S3DataType AugmentedManifestFile is not valid for tabular data; use S3Prefix or ManifestFile."
        )
    if channel.content_type not in tabular_jobs.CONTENT_TYPES:
        raise ValidationError(
            f"ContentType '{channel.content_type}' is not supported. "
            f"Supported: {', '.join(tabular_jobs.CONTENT_TYPES)}."
        )


def _split(job: TabularJob) -> None:
    fraction = job.validation_fraction
    if fraction is None:
        return
    if job.validation is not None:
        raise ValidationError(
            "DataSplitConfig.ValidationFraction cannot be combined with a validation channel. Remove one of them."
        )
    if not 0 < fraction < 1:
        raise ValidationError(f"ValidationFraction must be greater than 0 and less than 1; it is {fraction}.")


def _objective(job: TabularJob) -> None:
    if job.metric is None:
        return
    if job.problem_type is None:
        raise ValidationError(
            "AutoMLJobObjective needs a ProblemType, since each has metrics of its own. Set ProblemType, or leave both "
            "out to be inferred from the data."
        )
    allowed = metrics.objectives(job.problem_type)
    if job.metric not in allowed:
        raise ValidationError(
            f"Objective metric {job.metric} is not supported for problem type {job.problem_type}. "
            f"Supported metrics: {', '.join(allowed)}."
        )


def _mode(job: TabularJob) -> None:
    if job.mode == algorithms.TUNING_MODE and job.weight is not None:
        raise ValidationError(
            "SampleWeightAttributeName is supported in mode ENSEMBLING only. "
            "Set Mode to ENSEMBLING, or remove SampleWeightAttributeName."
        )
    if job.algorithms is None:
        return
    if job.mode == algorithms.AUTO:
        raise ValidationError(
            "AlgorithmsConfig cannot be set when Mode is AUTO. "
            "Set Mode to ENSEMBLING or HYPERPARAMETER_TUNING, or remove AlgorithmsConfig."
        )
    _algorithms(job.algorithms, job.mode or algorithms.ENSEMBLING_MODE)


def _algorithms(chosen: Iterable[str], mode: str) -> None:
    foreign = [name for name in chosen if name not in algorithms.BY_MODE[mode]]
    if foreign:
        raise ValidationError(
            f"Algorithms {', '.join(foreign)} are not available in mode {mode}. "
            f"Available: {', '.join(algorithms.BY_MODE[mode])}."
        )


def _criteria(job: TabularJob) -> None:
    if job.max_runtime and job.max_runtime_per_trial and job.max_runtime < job.max_runtime_per_trial:
        raise ValidationError(
            f"MaxAutoMLJobRuntimeInSeconds ({job.max_runtime}) must be equal to or greater than "
            f"MaxRuntimePerTrainingJobInSeconds ({job.max_runtime_per_trial})."
        )


def _output(context: Context, job: TabularJob) -> None:
    if len(job.output_path) > MAX_OUTPUT_PATH:
        raise ValidationError(
            f"S3OutputPath must be {MAX_OUTPUT_PATH} characters or less; it has {len(job.output_path)}."
        )
    bucket = uri.parse(job.output_path).bucket
    if not context.objects.bucket_exists(bucket):
        raise ValidationError(
            f'The bucket "{bucket}" of S3OutputPath does not exist. Create it, then create the job again.'
        )


def _deployment(context: Context, job: TabularJob) -> None:
    if job.deploy is None:
        return
    if job.definitions_only:
        raise ValidationError(
            "ModelDeployConfig cannot be combined with GenerateCandidateDefinitionsOnly: there is no model to deploy."
        )
    automatic = bool(job.deploy.get("AutoGenerateEndpointName", False))
    name = job.deploy.get("EndpointName")
    if automatic and name:
        raise ValidationError("AutoGenerateEndpointName and EndpointName cannot both be set in ModelDeployConfig.")
    if not automatic and not name:
        raise ValidationError(
            "ModelDeployConfig needs either AutoGenerateEndpointName set to True, or an EndpointName."
        )
    if name and context.store.get("endpoint", name):
        raise ValidationError(f'Cannot create already existing endpoint "{context.arn("endpoint", name)}".')


def _columns(context: Context, job: TabularJob) -> None:
    for channel in job.channels:
        fields = _header(context, channel, job.role_arn)
        if fields is None:
            continue
        _in_header("Target", job.target, fields)
        if job.weight:
            _in_header("Sample weight", job.weight, fields)
        if channel.kind == "training":
            _features(context, job, header.names(fields))
    if job.weight == job.target:
        raise ValidationError("SampleWeightAttributeName must not be the target attribute.")


def _in_header(role: str, name: str, fields: list[str]) -> None:
    if name not in fields:
        raise ValidationError(f"{role} attribute name {name} does not exist in header.")
    if fields.count(name) > 1:
        raise ValidationError(
            f"{role} attribute name {name} exists {fields.count(name)} times in header. Give each column its own name."
        )


def _header(context: Context, channel: Channel, role_arn: str) -> list[str] | None:
    """The header as it stands, in the first object that is not blank; None if none of the first objects has one that
    can be read. That is left to the job, which fails on such data, with a FailureReason.
    """
    objects, region = context.objects, context.settings.region
    infos = manifest.each(objects, channel.data_type, channel.uri, region=region, role_arn=role_arn)
    looked_into = islice(infos, _MOST_BLANK)
    try:
        headers = (peek.header(objects, info, channel.content_type, channel.gzip) for info in looked_into)
        return next((fields for fields in headers if fields is not None), None)
    except DataError:
        return None


def _features(context: Context, job: TabularJob, columns: list[str]) -> None:
    if job.feature_specification_uri is None:
        return
    specification = _specification(context, job.feature_specification_uri)
    names = specification.get("FeatureAttributeNames")
    types = specification.get("FeatureDataTypes", {})
    _specification_shape(names, types)
    _known(names or [], set(columns), job, "FeatureAttributeNames")
    _known(types, set(names or columns), job, "FeatureDataTypes")
    wrong = {name: kind for name, kind in types.items() if kind not in FEATURE_TYPES}
    if wrong:
        raise ValidationError(f"FeatureDataTypes {wrong} are not supported. Supported: {', '.join(FEATURE_TYPES)}.")
    sequences = [name for name, kind in types.items() if kind == "sequence"]
    if sequences and job.mode != algorithms.TUNING_MODE:
        raise ValidationError(
            f"The feature {sequences[0]} has type sequence, which is supported in mode HYPERPARAMETER_TUNING only. "
            "Set Mode to HYPERPARAMETER_TUNING, or give another type."
        )


def _specification(context: Context, location: str) -> dict[str, Any]:
    place = uri.parse(location)
    try:
        with context.objects.open(place.bucket, place.key) as body:
            document = json.loads(body.read(_MAX_SPECIFICATION_BYTES + 1))
    except RecursionError as error:
        raise ValidationError(f'The feature specification at "{location}" is nested too deeply.') from error
    except S3Error as error:
        raise ValidationError(f'FeatureSpecificationS3Uri "{location}" cannot be read: {error.message}') from error
    except ValueError as error:
        raise ValidationError(f'The feature specification at "{location}" is not a JSON document: {error}') from error
    if not isinstance(document, dict):
        raise ValidationError(f'The feature specification at "{location}" must be a JSON object.')
    return document


def _specification_shape(names: object, types: object) -> None:
    if names is None and not types:
        raise ValidationError("The feature specification has neither FeatureAttributeNames nor FeatureDataTypes.")
    if names is not None and (not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not names):
        raise ValidationError("FeatureAttributeNames must be a list of column names with at least one name.")
    if isinstance(names, list) and len(set(names)) < len(names):
        raise ValidationError("FeatureAttributeNames must be unique.")
    if not isinstance(types, dict):
        raise ValidationError("FeatureDataTypes must be a JSON object from column name to type.")


def _known(chosen: Iterable[str], columns: set[str], job: TabularJob, member: str) -> None:
    chosen = list(chosen)
    for role, name in (("target", job.target), ("sample weight", job.weight)):
        if name in chosen:
            raise ValidationError(f"{member} must not include the {role} attribute {name}.")
    unknown = [name for name in chosen if name not in columns]
    if unknown:
        raise ValidationError(f"{member} names columns that do not exist in header: {', '.join(unknown)}.")
