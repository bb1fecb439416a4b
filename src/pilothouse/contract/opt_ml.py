"""The folder that a training program finds its world in: what AWS's containers have under /opt/ml.

    input/config/      hyperparameters.json, inputdataconfig.json, resourceconfig.json
    input/data/<channel>/
    code/              the source archive of script mode
    model/             becomes model.tar.gz
    output/data/       becomes output.tar.gz
    output/failure     the reason, if the program writes one
    checkpoints/       kept in S3 while the program runs
    tmp/               TMPDIR, and HOME within it

A program sees it as /opt/ml where it runs in namespaces of its own, else where it is: SAGEMAKER_BASE_DIR says so.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from pilothouse.catalog.training_jobs import TrainingJob, below_root
from pilothouse.contract.hosts import ALONE, Host

TEMPORARY, HOME = "tmp", "tmp/home"
NETWORK_INTERFACE = "lo"
_LONGEST_FAILURE = 1024
_MOST_BYTES_OF_FAILURE = 4 * _LONGEST_FAILURE


class OptMl:
    """The folder `base` as the contract lays it out. Its parts are made by `lay_out`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.config = base / "input" / "config"
        self.data = base / "input" / "data"
        self.code = base / "code"
        self.model = base / "model"
        self.output = base / "output"
        self.output_data = base / "output" / "data"
        self.temporary = base / TEMPORARY
        self.home = base / HOME

    def channel(self, name: str) -> Path:
        """A channel's folder."""
        return self.data / name

    def checkpoints(self, job: TrainingJob) -> Path:
        """Where the program keeps its checkpoints."""
        path = below_root(job.checkpoints[1]) if job.checkpoints else None
        return self.base / (path or "checkpoints")

    def lay_out(self, job: TrainingJob, host: Host = ALONE) -> None:
        """For the program of `host`. Makes the folders that are missing, and the configuration files anew.

        A program may have run here before: nothing that it left leads out of the folder.
        """
        settle(self.base)
        for folder in (self.config, self.data, self.code, self.checkpoints(job)):
            folder.mkdir(parents=True, exist_ok=True)
        self.renew_outputs()
        documents = {
            "hyperparameters": dict(job.hyperparameters),
            "inputdataconfig": input_data_config(job, host),
            "resourceconfig": resource_config(job, host),
        }
        for name, document in documents.items():
            (self.config / f"{name}.json").write_text(json.dumps(document))

    def renew_outputs(self) -> None:
        """Empties what a program writes, but for its checkpoints: a program that begins again begins with nothing."""
        for folder in (self.model, self.output, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.model, self.output_data, self.home):
            folder.mkdir(parents=True, exist_ok=True)

    def settle(self) -> list[str]:
        """Makes plain files and folders of what the ended program left; what of its outputs had to be taken out."""
        removed = settle(self.base)
        for folder in (self.model, self.output_data):
            folder.mkdir(parents=True, exist_ok=True)
        return [name for name in removed if name.startswith(("model", "output"))]

    def failure(self) -> str | None:
        """What the program wrote into its failure file, as far as it counts; None if nothing."""
        path = self.output / "failure"
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES_OF_FAILURE)
        return text.decode(errors="replace").strip()[:_LONGEST_FAILURE] or None


def input_data_config(job: TrainingJob, host: Host = ALONE) -> dict[str, Any]:
    """The content of inputdataconfig.json, for the program of `host`."""
    return {
        channel.name: {
            **({"ContentType": channel.content_type} if channel.content_type else {}),
            "TrainingInputMode": channel.input_mode,
            "S3DistributionType": channel.distribution,
            "RecordWrapperType": channel.record_wrapper,
        }
        for channel in filter(host.gets, job.channels)
    }


def resource_config(job: TrainingJob, host: Host = ALONE) -> dict[str, Any]:
    """The content of resourceconfig.json, for the program of `host`."""
    mine = job.group(host.number)
    return {
        "current_host": host.name,
        "current_instance_type": mine.type,
        "current_group_name": mine.name,
        "hosts": host.names,
        "instance_groups": [
            {"instance_group_name": group.name, "instance_type": group.type, "hosts": host.named(group)}
            for group in job.groups
        ],
        "network_interface_name": NETWORK_INTERFACE,
    }


def settle(folder: Path) -> list[str]:
    """Makes `folder`, which nobody writes to any more, a tree of plain files and of folders; names what was taken out.

    A link to a file within the folder becomes that file; other links, sockets and the like are removed. Whoever is
    killed has lost none of it.
    """
    _open(folder)
    removed = []
    root, beside = folder.resolve(), folder.with_name(f"{folder.name}.link")
    for path in list(_odd(folder)):
        target = _linked(path, root)
        if target is None:
            path.unlink()
            removed.append(str(path.relative_to(folder)))
        else:
            beside.unlink(missing_ok=True)
            os.link(target, beside)
            beside.replace(path)
    return sorted(removed)


def _open(folder: Path) -> None:
    """Lets the owner into all folders: what a program has closed could be neither read nor emptied."""
    inner = (Path(parent, name) for parent, folders, _ in os.walk(folder) for name in folders)
    for path in chain([folder], inner):  # each before os.walk goes into it
        if path.is_dir() and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode | stat.S_IRWXU != mode:
                with suppress(PermissionError):  # another's, where a container ran as another
                    path.chmod(mode | stat.S_IRWXU)


def _odd(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield path


def _linked(path: Path, root: Path) -> Path | None:
    """The regular file within `root` that the link `path` leads to."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    inside = path.is_symlink() and target.is_relative_to(root)
    return target if inside and target.is_file() else None
