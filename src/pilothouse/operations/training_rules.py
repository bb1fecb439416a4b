"""What a training job's create request must satisfy beyond its shape, checked before the job is accepted."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pilothouse.catalog import built_in_training, metric_definitions, training_images, training_jobs
from pilothouse.catalog.training_jobs import Channel, Document, TrainingJob
from pilothouse.errors import S3Error, ValidationError
from pilothouse.objects import manifest, uri
from pilothouse.operations import resource_rules
from pilothouse.operations.context import Context

_LARGEST_PROGRAM_NAME = 1024


def check(context: Context, request: Document) -> None:
    """Raises ValidationError for the first rule that the request breaks; reads listings, never whole objects."""
    _members(request)
    job = TrainingJob.of(request)
    definition(job, engine=context.settings.launcher == "docker")
    resource_rules.check(request, built_in=training_images.mode(job) in training_images.BUILT_IN)
    _stopping(request)
    _output(context, job)
    piped = training_images.piped(job)
    for channel in job.channels:
        _channel(context, channel, request["RoleArn"], piped=channel in piped)
    _source(context, job)
    _checkpoints(context, job)


def definition(job: TrainingJob, *, engine: bool) -> None:
    """The rules on the program and its metrics, which hold for each trial of a tuning job too.

    `engine`: whether a container engine runs the images that need one.
    """
    mode = _image(job, engine)
    _texts(job)
    _names(job)
    if built_in_training.metric_definitions(mode) and job.metrics:
        raise ValidationError(
            f"You can't override the metric definitions of the built-in algorithm {mode}. Leave MetricDefinitions out: "
            "it reports metrics of its own, which DescribeTrainingJob lists."
        )
    metric_definitions.check(job.metrics)


def _members(request: Document) -> None:
    if "ServerlessJobConfig" in request:
        raise ValidationError(
            "ServerlessJobConfig is not served by this version of Pilothouse. Give AlgorithmSpecification, "
            "ResourceConfig and StoppingCondition."
        )
    for member in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if member not in request:
            raise ValidationError(f"{member} is required to create a training job.")


def _image(job: TrainingJob, engine: bool) -> training_images.Mode:
    if job.image is None:
        raise ValidationError(
            "AlgorithmSpecification needs TrainingImage. Algorithms by AlgorithmName are not served by this version of "
            "Pilothouse."
        )
    mode = training_images.mode(job)
    if not training_images.known(job.image):
        if mode is None:
            raise ValidationError(f"The training image {job.image} is not the name of an image.")
        if not engine:
            raise ValidationError(
                f"The training image {job.image} cannot run here: no container engine is used "
                "(PILOTHOUSE_LAUNCHER=docker uses Docker or Podman). Images that run on the local Python or a built-in "
                f"engine: {training_images.examples()}."
            )
    if mode is None:
        raise ValidationError(
            f"The image {job.image} runs a script of yours: name it in the hyperparameter "
            f"{training_jobs.PROGRAM} and its source archive in {training_jobs.SUBMIT_DIRECTORY}, as the SageMaker SDK "
            "does, or give ContainerEntrypoint."
        )
    return mode


def _texts(job: TrainingJob) -> None:
    """Variables and arguments of a process end at a NUL."""
    given = {"HyperParameters": job.hyperparameters.items(), "Environment": job.environment.items()}
    words = {member: [text for pair in pairs for text in pair] for member, pairs in given.items()}
    words |= {"ContainerEntrypoint": list(job.entrypoint), "ContainerArguments": list(job.arguments)}
    for member, texts in words.items():
        if any("\0" in text for text in texts):
            raise ValidationError(f"{member} holds a NUL character, which cannot reach a program. Take it out.")


def _names(job: TrainingJob) -> None:
    names = [channel.name for channel in job.channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationError(f"InputDataConfig has two channels named {twice[0]}. Channel names must be unique.")
    odd = [name for name in names if name in (".", "..")]
    if odd:
        raise ValidationError(f'"{odd[0]}" cannot be the name of a channel, which becomes a folder. Rename it.')
    pipes = [channel.name for channel in training_images.piped(job)]
    taken = [name for name in names for pipe in pipes if re.fullmatch(rf"{re.escape(pipe)}_\d+", name)]
    if taken:
        raise ValidationError(f"The channel {taken[0]} has the name of a pipe of another channel. Rename it.")


def _stopping(request: Document) -> None:
    condition = request["StoppingCondition"]
    longest, wait = condition.get("MaxRuntimeInSeconds"), condition.get("MaxWaitTimeInSeconds")
    spot = request.get("EnableManagedSpotTraining", False)
    if spot and wait is None:
        raise ValidationError("MaxWaitTimeInSeconds must be given if EnableManagedSpotTraining is set to True.")
    if wait is not None and not spot:
        raise ValidationError("MaxWaitTimeInSeconds must be left out unless EnableManagedSpotTraining is set to True.")
    if wait is not None and longest is not None and wait < longest:
        raise ValidationError(
            f"MaxWaitTimeInSeconds ({wait}) must be equal to or greater than MaxRuntimeInSeconds ({longest})."
        )


def _output(context: Context, job: TrainingJob) -> None:
    bucket = uri.parse(job.output_path).bucket
    if not context.objects.bucket_exists(bucket):
        raise ValidationError(
            f'The bucket "{bucket}" of S3OutputPath does not exist. Create it, then create the job again.'
        )


def _channel(context: Context, channel: Channel, role_arn: str, *, piped: bool) -> None:
    if not channel.uri:
        raise ValidationError(
            f"The channel {channel.name} has no S3DataSource. Other data sources are not served by this version of "
            "Pilothouse."
        )
    forms = (("CompressionType", channel.compression), ("RecordWrapperType", channel.record_wrapper))
    given = [f"{member} {value}" for member, value in forms if value != "None"]
    if given and not piped:
        raise ValidationError(
            f"The channel {channel.name} has {given[0]}, which is for Pipe mode only, and not for built-in algorithms. "
            "Leave it out: the program finds the objects as they are."
        )
    if len(given) > 1:
        raise ValidationError(
            f"The channel {channel.name} has {' and '.join(given)}, which cannot be combined in this version of "
            "Pilothouse. Leave one of them out."
        )
    if channel.data_type not in ("S3Prefix", "ManifestFile"):
        raise ValidationError(
            f"The channel {channel.name} has S3DataType {channel.data_type}, which is not served by this version of "
            "Pilothouse. Use S3Prefix or ManifestFile."
        )
    region = context.settings.region
    manifest.first(context.objects, channel.data_type, channel.uri, region=region, role_arn=role_arn)


def _source(context: Context, job: TrainingJob) -> None:
    if training_images.mode(job) != "script":
        return
    program, source = PurePosixPath(job.program or ""), job.submit_directory
    if not program.name or program.is_absolute() or ".." in program.parts or len(str(program)) > _LARGEST_PROGRAM_NAME:
        raise ValidationError(
            f"The hyperparameter {training_jobs.PROGRAM} is not the path of a file in the source archive."
        )
    if source is None:
        raise ValidationError(
            f"The hyperparameter {training_jobs.PROGRAM} needs {training_jobs.SUBMIT_DIRECTORY} beside it: the S3 "
            "URI of the tar.gz archive that holds the program."
        )
    if not source.startswith("s3://"):
        if training_jobs.below_root(source) is None:
            raise ValidationError(
                f"The hyperparameter {training_jobs.SUBMIT_DIRECTORY} must be an S3 URI or a path below "
                f"{training_jobs.ROOT}/input/data."
            )
        return
    address = uri.parse(source)
    try:
        context.objects.head(address.bucket, address.key)
    except S3Error as error:
        raise ValidationError(f"Could not find the source archive at {source}: {error.message}") from error


def _checkpoints(context: Context, job: TrainingJob) -> None:
    if job.checkpoints is None:
        return
    address, path = job.checkpoints
    below = training_jobs.below_root(path)
    if below is None or PurePosixPath(below).parts[0] in ("input", "model", "output", "code"):
        raise ValidationError(
            f"CheckpointConfig.LocalPath {path} must lie below {training_jobs.ROOT}, and not where input, model, "
            f"output or code are. The default is {training_jobs.DEFAULT_CHECKPOINTS}."
        )
    bucket = uri.parse(address).bucket
    if not context.objects.bucket_exists(bucket):
        raise ValidationError(f'The bucket "{bucket}" of CheckpointConfig.S3Uri does not exist. Create it first.')
