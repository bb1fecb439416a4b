"""A training job's create request, read once: what its program is, what it is given, and where its output goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pilothouse.catalog import kms

Document = dict[str, Any]

KIND = "training-job"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ROOT = "/opt/ml"
"""Where a program finds everything, in AWS's containers."""

DEFAULT_MAX_RUNTIME = 86_400
DEFAULT_CHECKPOINTS = f"{ROOT}/checkpoints"
DEFAULT_VOLUME_GIB = 30
PROGRAM, SUBMIT_DIRECTORY = "sagemaker_program", "sagemaker_submit_directory"
_OWN = "sagemaker_"
_OBJECTIVE = "_tuning_objective_metric"


HOMOGENEOUS = "homogeneousCluster"
"""What AWS calls the one group of a job whose instances are all alike."""


@dataclass(frozen=True)
class InstanceGroup:
    """Instances of one type: the hosts with these numbers, which are counted from 1 over all groups."""

    name: str
    type: str
    hosts: range


@dataclass(frozen=True)
class Channel:
    """A named input: the objects that `uri` means, as `data_type` says. `shuffle`: a seed for their order.

    `hosts`: the numbers of those that get it; none for all.
    """

    name: str
    uri: str
    data_type: str
    content_type: str | None
    input_mode: str
    distribution: str
    compression: str
    record_wrapper: str
    shuffle: int | None = None
    hosts: tuple[int, ...] = ()

    @property
    def is_sharded(self) -> bool:
        """Whether each host gets a part of the objects."""
        return self.distribution == "ShardedByS3Key"


@dataclass(frozen=True)
class TrainingJob:
    """The members of a CreateTrainingJob request that somebody acts on. `checkpoints` is (S3 URI, local path)."""

    name: str
    image: str | None
    metrics: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    hyperparameters: Mapping[str, str]
    channels: tuple[Channel, ...]
    output_path: str
    compressed: bool
    kms_key: str | None
    checkpoints: tuple[str, str] | None
    environment: Mapping[str, str]
    max_runtime: int
    groups: tuple[InstanceGroup, ...]
    volume_gib: int
    volume_key: str | None
    isolated: bool

    @classmethod
    def of(cls, request: Document) -> TrainingJob:
        """Reads a request whose shape has been checked."""
        algorithm = request.get("AlgorithmSpecification", {})
        resources, output = request.get("ResourceConfig", {}), request["OutputDataConfig"]
        mode, groups = algorithm.get("TrainingInputMode", "File"), _groups(resources)
        return cls(
            name=request["TrainingJobName"],
            image=algorithm.get("TrainingImage"),
            metrics=tuple((m["Name"], m["Regex"]) for m in algorithm.get("MetricDefinitions", ())),
            entrypoint=tuple(algorithm.get("ContainerEntrypoint", ())),
            arguments=tuple(algorithm.get("ContainerArguments", ())),
            hyperparameters=request.get("HyperParameters", {}),
            channels=tuple(_channel(channel, mode, groups) for channel in request.get("InputDataConfig", ())),
            output_path=output["S3OutputPath"].rstrip("/"),
            compressed=output.get("CompressionType", "GZIP") == "GZIP",
            kms_key=kms.of_output(request),
            checkpoints=_checkpoints(request.get("CheckpointConfig")),
            environment=request.get("Environment", {}),
            max_runtime=request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME),
            groups=groups,
            volume_gib=resources.get("VolumeSizeInGB") or DEFAULT_VOLUME_GIB,
            volume_key=kms.of_volume(request),
            isolated=request.get("EnableNetworkIsolation", False),
        )

    @property
    def instances(self) -> int:
        """How many there are, over all groups."""
        return sum(len(group.hosts) for group in self.groups)

    def group(self, host: int) -> InstanceGroup:
        """The one that the host with this number belongs to."""
        return next(group for group in self.groups if host in group.hosts)

    @property
    def program(self) -> str | None:
        """The script to run, relative to its source archive; None if the job is not in script mode."""
        value = self.hyperparameters.get(PROGRAM)
        return None if value is None else str(decoded(value))

    @property
    def submit_directory(self) -> str | None:
        """Where the source archive is."""
        value = self.hyperparameters.get(SUBMIT_DIRECTORY)
        return None if value is None else str(decoded(value))

    @property
    def user_hyperparameters(self) -> dict[str, Any]:
        """What the script is given, without what is meant for the machinery, values decoded."""
        mine = {k: v for k, v in self.hyperparameters.items() if not k.startswith(_OWN) and k != _OBJECTIVE}
        return {name: decoded(value) for name, value in mine.items()}

    @property
    def output_prefix(self) -> str:
        """The S3 URI below which the job's output goes."""
        return f"{self.output_path}/{self.name}/output"

    @property
    def model_uri(self) -> str:
        """What ModelArtifacts names: the archive, or the prefix of the files if they are not to be packed."""
        return f"{self.output_prefix}/model.tar.gz" if self.compressed else f"{self.output_prefix}/model/"


def decoded(value: str) -> Any:
    """A hyperparameter's value: SDK v2 sends JSON, SDK v3 and people send bare text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def below_root(path: str) -> str | None:
    """The part of an absolute `path` below /opt/ml; None if it does not lie there."""
    pure = PurePosixPath(path)
    if ".." in pure.parts or not pure.is_relative_to(ROOT) or pure == PurePosixPath(ROOT):
        return None
    return str(pure.relative_to(ROOT))


def _channel(channel: Document, mode: str, groups: tuple[InstanceGroup, ...]) -> Channel:
    source = channel["DataSource"].get("S3DataSource", {})
    named = [group for group in groups if group.name in source.get("InstanceGroupNames", ())]
    return Channel(
        name=channel["ChannelName"],
        uri=source.get("S3Uri", ""),
        data_type=source.get("S3DataType", "S3Prefix"),
        content_type=channel.get("ContentType"),
        input_mode=channel.get("InputMode", mode),
        distribution=source.get("S3DataDistributionType", "FullyReplicated"),
        compression=channel.get("CompressionType", "None"),
        record_wrapper=channel.get("RecordWrapperType", "None"),
        shuffle=channel.get("ShuffleConfig", {}).get("Seed"),
        hosts=tuple(number for group in named for number in group.hosts),
    )


def _checkpoints(config: Document | None) -> tuple[str, str] | None:
    if config is None:
        return None
    return config["S3Uri"].rstrip("/"), config.get("LocalPath") or DEFAULT_CHECKPOINTS


def _groups(resources: Document) -> tuple[InstanceGroup, ...]:
    alike = {"InstanceType": "local", "InstanceCount": 1, **resources, "InstanceGroupName": HOMOGENEOUS}
    found, first = [], 1
    for group in resources.get("InstanceGroups") or [alike]:
        hosts = range(first, first := first + group["InstanceCount"])
        found.append(InstanceGroup(group["InstanceGroupName"], group["InstanceType"], hosts))
    return tuple(found)


def first_state(at: float) -> Document:
    """The state of a job that was created at the time `at`."""
    first = {"Status": "Starting", "StartTime": at, "StatusMessage": "Preparing the instances for training"}
    return {"SecondaryStatus": "Starting", "SecondaryStatusTransitions": [first]}
