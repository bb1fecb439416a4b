"""Script mode: the source archive, and the command that runs its program."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path, PurePosixPath

from pilothouse.catalog.training_jobs import TrainingJob, below_root
from pilothouse.contract import environment, pack
from pilothouse.contract.opt_ml import OptMl
from pilothouse.errors import DataError, S3Error
from pilothouse.objects import uri
from pilothouse.objects.base import Objects

REQUIREMENTS = "requirements.txt"


def fetch(objects: Objects, job: TrainingJob, folders: OptMl) -> None:
    """Unpacks the source archive into the code folder. `DataError` if it can't be, or lacks the program."""
    address = job.submit_directory or ""
    shutil.rmtree(folders.code, ignore_errors=True)
    if address.startswith("s3://"):
        _unpack(objects, address, folders.code)
    else:
        _take(folders, address)
    program = folders.code / (job.program or "")
    if not program.is_file():
        raise DataError(f"The source archive {address} does not hold the program {job.program}.")


def command(job: TrainingJob, folders: OptMl, python: str) -> list[str]:
    """The program's command line, to be run in the code folder."""
    program = job.program or ""
    words = environment.arguments(job.user_hyperparameters)
    if (folders.code / "setup.py").exists():
        return [python, "-m", ".".join(PurePosixPath(program).with_suffix("").parts), *words]
    if program.endswith(".py"):
        return [python, program, *words]
    path = folders.code / program
    path.chmod(path.stat().st_mode | 0o100)
    return ["/bin/sh", "-c", 'exec "./$0" "$@"', program, *words]


def entry_point(job: TrainingJob, root: str) -> list[str]:
    """ContainerEntrypoint with its arguments, with /opt/ml as it is called here."""
    return [environment.located(word, root) for word in (*job.entrypoint, *job.arguments)]


def python_first(path: str | None) -> str:
    """A PATH on which `python` is the one that Pilothouse runs on."""
    rest = path or os.defpath
    return f"{Path(sys.executable).parent}{os.pathsep}{rest}"


def _unpack(objects: Objects, address: str, folder: Path) -> None:
    place = uri.parse(address)
    try:
        with objects.open(place.bucket, place.key) as stream:
            pack.unpack(stream, folder)
    except S3Error as error:
        raise DataError(f"The source archive {address} cannot be read: {error.message}") from error


def _take(folders: OptMl, address: str) -> None:
    """Source that a channel brought: an archive, or a folder of files."""
    found = folders.base / (below_root(address) or "")
    if found.is_dir():
        shutil.copytree(found, folders.code)
    elif found.is_file():
        pack.unpack(found, folders.code)
    else:
        raise DataError(f"There is no source archive at {address}. Give its S3 URI, or the channel that brings it.")
