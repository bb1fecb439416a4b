"""Training images that run as containers: what a run of one consists of."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.config import Settings
from pilothouse.contract.hosts import Host
from pilothouse.errors import JobFailed
from pilothouse.launch import engine as engines
from pilothouse.launch.confined import MOST_PROCESSES
from pilothouse.launch.engine import Box, Engine
from pilothouse.launch.orphans import MARK
from pilothouse.training.documents import Command

VARIABLES = "variables.env"
_TRAIN = ("train",)
_PATIENCE = 60.0


def engine(settings: Settings) -> Engine:
    """The engine that runs containers. `JobFailed` if the settings ask for none; `LaunchFailed` if none works."""
    if settings.launcher != "docker":
        raise JobFailed(
            "The training image needs a container engine. Start the server with PILOTHOUSE_LAUNCHER=docker."
        )
    return engines.engine()


def remove(settings: Settings, container: str) -> None:
    """Ends a container that outlived the processes around it, and waits for that. There need not be one."""
    by, quiet = engine(settings), subprocess.DEVNULL
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            by.removing(container),
            env=by.environment(),
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            timeout=_PATIENCE,
            check=False,
        )


def commands(
    by: Engine,
    job: TrainingJob,
    *,
    container: str,
    base: Path,
    file: Path,
    variables: Mapping[str, str],
    memory: int,
    gpus: bool,
    sealed: bool,
    host: Host,
) -> tuple[Command, ...]:
    """Fetches the job's image, then runs it with `base` at /opt/ml: its entry point with the word `train`, or what
    ContainerEntrypoint and ContainerArguments say. Its variables are written to `file`. One of several hosts is called
    by its name, and knows those of the others. With `gpus` the container gets this machine's.
    A `sealed` one writes to `base` and to memory only.
    """
    image = job.image or ""
    box = Box(container, image, base, variables, file, memory, MOST_PROCESSES, not job.isolated, gpus, sealed)
    if not host.is_alone:
        box = replace(box, hostname=host.name, addresses=host.addresses)
    box.write()
    words = job.arguments or (() if job.entrypoint else _TRAIN)
    own = {**by.environment(), MARK: os.environ.get(MARK, "")}
    shown = shlex.join([image, *job.entrypoint, *words])
    return (
        Command(tuple(by.fetching(image, container)), shown, "/", own, purpose="image"),
        Command(tuple(by.running(box, job.entrypoint, words)), shown, "/", own, removal=tuple(by.removing(container))),
    )
