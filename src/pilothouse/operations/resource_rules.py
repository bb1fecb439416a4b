"""What the instances that a training job asks for must satisfy, and their groups."""

from __future__ import annotations

from pilothouse.catalog.training_jobs import Document
from pilothouse.errors import ValidationError

_MOST_INSTANCES = 100
_ALIKE = ("InstanceType", "InstanceCount")


def check(request: Document, *, built_in: bool) -> None:
    """Raises ValidationError for the first rule that the request breaks; `built_in`: its image is such an algorithm."""
    resources = request["ResourceConfig"]
    groups: list[Document] = resources.get("InstanceGroups") or []
    missing = [name for name in (*(() if groups else _ALIKE), "VolumeSizeInGB") if name not in resources]
    if missing:
        raise ValidationError(f"ResourceConfig needs {', '.join(missing)}.")
    if groups:
        _groups(resources, groups, built_in)
    _channels(request, {group["InstanceGroupName"] for group in groups})
    counts = [each["InstanceCount"] for each in groups or [resources]]
    if min(counts) < 1 or sum(counts) > _MOST_INSTANCES:
        raise ValidationError(
            f"InstanceCount is {sum(counts)}. Set it to between 1 and {_MOST_INSTANCES}: this one machine runs all."
        )
    if sum(counts) > 1 and request.get("EnableNetworkIsolation"):
        raise ValidationError(
            "EnableNetworkIsolation cannot be combined with an InstanceCount above 1 in this version of Pilothouse: "
            "the hosts could not reach each other. Leave one of them out."
        )
    if resources["VolumeSizeInGB"] < 1:
        raise ValidationError("VolumeSizeInGB must be at least 1: it limits the size of the files that are written.")


def _groups(resources: Document, groups: list[Document], built_in: bool) -> None:
    beside = [name for name in _ALIKE if name in resources]
    if beside:
        raise ValidationError(
            f"ResourceConfig has both InstanceGroups and {beside[0]}. Each group has a type and a count of its own: "
            "leave the others out."
        )
    if built_in:
        raise ValidationError(
            "A built-in algorithm has no InstanceGroups: one host does the whole. Give InstanceType and InstanceCount."
        )
    names = [group["InstanceGroupName"] for group in groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationError(f"InstanceGroups has two groups named {twice[0]}. Their names must be unique.")


def _channels(request: Document, groups: set[str]) -> None:
    for channel in request.get("InputDataConfig", ()):
        named = channel["DataSource"].get("S3DataSource", {}).get("InstanceGroupNames", ())
        unknown = sorted(set(named) - groups)
        if unknown:
            raise ValidationError(
                f"The channel {channel['ChannelName']} is for the instance group {unknown[0]}, which is none of "
                "ResourceConfig's InstanceGroups. Correct the name."
            )
