"""Training images: which of AWS's image URIs run here without a container engine, and as what."""

from __future__ import annotations

import re
from typing import Literal

from pilothouse.catalog.training_jobs import Channel, TrainingJob

Mode = Literal["script", "entrypoint", "xgboost", "linear-learner", "container"]

SCRIPT = "pilothouse/script:1"
"""Pilothouse's own image: the local Python, for people without an AWS image."""

_SCRIPT = ("pilothouse/script", "sagemaker-scikit-learn", "pytorch-training", "huggingface-pytorch-training")
_BUILT_IN: dict[str, Mode] = {
    "sagemaker-xgboost": "xgboost",
    "xgboost": "xgboost",
    "linear-learner": "linear-learner",
}
BUILT_IN = frozenset(_BUILT_IN.values())
"""The modes that are a built-in algorithm."""

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/")


def known(image: str) -> bool:
    """Whether `image` runs here without a container engine."""
    return _repository(image) in (*_SCRIPT, *_BUILT_IN)


def mode(job: TrainingJob) -> Mode | None:
    """How the job's image runs: an entry point of the job's, a script, a built-in algorithm, or as a container, since
    it is none of those that Pilothouse answers for; None if it can't.

    A built-in algorithm's image is a framework image too: with a program of the user's it runs that.
    """
    if job.image is None:
        return None
    if not known(job.image):
        return "container" if _REFERENCE.fullmatch(job.image) else None
    if job.entrypoint or job.arguments:
        return "entrypoint"
    if job.program is not None:
        return "script"
    return _BUILT_IN.get(_repository(job.image))


def hosts(job: TrainingJob) -> int:
    """How many hosts run the job's program: its InstanceCount, but one for a built-in algorithm, which has all the data
    there and would come to the same result on several.
    """
    return 1 if mode(job) in BUILT_IN else job.instances


def piped(job: TrainingJob) -> tuple[Channel, ...]:
    """The channels that the job's program reads from named pipes. A built-in algorithm reads files in any mode."""
    if mode(job) in BUILT_IN:
        return ()
    return tuple(channel for channel in job.channels if channel.input_mode == "Pipe")


def examples() -> str:
    """The images that run here without a container engine, for an error message."""
    return ", ".join((*_SCRIPT, *_BUILT_IN))


def _repository(image: str) -> str:
    """The repository's name, if the image is AWS's (its registry may be left out) or Pilothouse's own."""
    name = _REGISTRY.sub("", image, count=1).split("@", 1)[0]
    return name.partition(":")[0]
