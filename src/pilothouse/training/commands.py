"""What a run of a training job's program consists of: its command lines, and the variables that it finds."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pilothouse import environment, home, names
from pilothouse.catalog import instances, training_images
from pilothouse.catalog.training_jobs import ROOT, TrainingJob
from pilothouse.config import Settings
from pilothouse.contract import environment as contract
from pilothouse.contract.environment import Surroundings
from pilothouse.credentials import Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.launch import isolation
from pilothouse.launch.handle import ADDRESS
from pilothouse.launch.isolation import Cell
from pilothouse.launch.orphans import MARK
from pilothouse.launch.slots import memory_share
from pilothouse.store.store import Resource
from pilothouse.training import containers, source
from pilothouse.training.documents import Command
from pilothouse.training.environments import Environment
from pilothouse.training.instances import Instance
from pilothouse.volumes import Volumes

ENVIRONMENTS = "environments"
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "OMP_NUM_THREADS")
_KEPT_PREFIXES = ("PIP_", "CUDA_", "NVIDIA_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Commands:
    """Those of the job in `row` on one of its instances, which is laid out."""

    def __init__(
        self, settings: Settings, spec: TrainingJob, row: Resource, instance: Instance, threads: int | None
    ) -> None:
        self._settings, self._spec, self._row = settings, spec, row
        self._instance, self._host, self._folders = instance, instance.host, instance.folders
        self._threads = threads
        self._mode = training_images.mode(spec)
        self._isolation = isolation.isolation(settings.isolation)

    def opening(self) -> Iterator[str]:
        """What the log begins with: how the program is kept apart, and what its other hosts are."""
        if self._spec.volume_key is not None:
            yield f"Keys of volumes, as this job has one, {Volumes(self._settings).meaning()}."
        if self._mode in training_images.BUILT_IN:
            if self._spec.instances > 1:
                yield f"The built-in {self._mode} does on one host what {self._spec.instances} were asked for."
            return
        if instances.has_gpus(self._type) and not gpus():
            yield f"{self._type} has GPUs, and this machine has none of NVIDIA's: the program has none."
        if not self._host.is_alone:
            yield f"Pilothouse runs {self._host.of} hosts on this machine, which share one trial's memory."
        if self._mode == "container":
            yield f"Pilothouse runs this image as {containers.engine(self._settings).meaning}."
            return
        yield f"Pilothouse runs this program as {self._isolation.meaning}."
        if self._spec.isolated and not self._isolation.wraps:
            yield "EnableNetworkIsolation has no effect: without namespaces the program can reach the network."
        if not (self._host.is_alone or self._isolation.wraps):
            yield f"Without namespaces {', '.join(self._host.names)} are no names that lead to an address."

    @cached_property
    def all(self) -> tuple[Command, ...]:
        """What is to be run, one after the other; the last one is the program itself."""
        if self._mode == "container":
            return self._container()
        if self._mode == "entrypoint":
            return (self._command(source.entry_point(self._spec, self._root), self._root),)
        if self._mode == "script":
            return self._script()
        target = f"pilothouse.training.algorithms.{str(self._mode).replace('-', '_')}:main"
        arguments = {"base": str(self._folders.base), "threads": self._threads or len(os.sched_getaffinity(0))}
        folder, variables = str(self._folders.base), self._variables()
        shown = f"the built-in {self._mode}"
        return (Command((), shown, folder, variables, target, arguments),)

    @property
    def container(self) -> str:
        """What the container of this host is called, in every run of the job."""
        place, arn, created = self._settings.home.resolve(), self._row.arn, self._row.created_at
        return f"pilothouse-{names.digest(f'{place} {arn} {created!r}')}-{self._host.name}"

    def _container(self) -> tuple[Command, ...]:
        return containers.commands(
            containers.engine(self._settings),
            self._spec,
            container=self.container,
            base=self._folders.base,
            file=self._instance.directory / containers.VARIABLES,
            variables=self._variables(),
            memory=memory_share(self._settings) // self._host.of,
            gpus=self._gpus > 0,
            sealed=self._spec.volume_key is not None and self._settings.volume_keys != "record",
            host=self._host,
        )

    def _script(self) -> tuple[Command, ...]:
        path = self._folders.code / source.REQUIREMENTS
        inside = f"{self._root}/code"
        if not path.is_file():
            return (self._command(source.command(self._spec, self._folders, sys.executable), inside),)
        made = Environment(self._settings.work_root / ENVIRONMENTS, path, self._instance.directory)
        run = self._command(source.command(self._spec, self._folders, made.python), inside, readable=(made.folder,))
        if made.ready:
            return (run,)
        argv = made.command(f"{inside}/{source.REQUIREMENTS}")
        return self._command(argv, inside, writable=(made.folder,), purpose="requirements"), run

    def _command(
        self,
        argv: list[str],
        folder: str,
        *,
        readable: tuple[Path, ...] = (),
        writable: tuple[Path, ...] = (),
        purpose: str = "",
    ) -> Command:
        """`argv` in the working directory `folder`. With a `purpose` it is Pilothouse's own, which has to be found."""
        variables, shown = self._variables(), shlex.join(argv)
        if purpose and "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        if self._isolation.wraps:
            cell = Cell(self._folders.base, self._hidden(), readable, writable, not self._spec.isolated)
            if not self._host.is_alone:
                cell = replace(cell, hostname=self._host.name, table=self._instance.table)
            argv, folder = isolation.wrapped(argv, cell, folder, self._isolation.level), "/"
        return Command(tuple(argv), shown, folder, variables, purpose=purpose)

    def _hidden(self) -> tuple[Path, ...]:
        """What is the server's alone, with where the nursery listens: who talks to it can run anything outside."""
        nursery = os.environ.get(ADDRESS)
        home = self._settings.home.resolve()
        volumes = Volumes(self._settings)
        with suppress(ConfigurationError, OSError):
            volumes.opened()  # there before anything is in it, for later it could not be hidden
        others = [self._settings.master_keys, volumes.root, Path(nursery).parent if nursery else None]
        outside = [folder for folder in others if folder and not folder.resolve().is_relative_to(home)]
        return (home, *(folder for folder in outside if folder.is_dir()))

    @property
    def _root(self) -> str:
        wrapped = self._isolation.wraps and self._mode not in training_images.BUILT_IN
        return ROOT if wrapped or self._mode == "container" else str(self._folders.base)

    def _variables(self) -> dict[str, str]:
        threads = {name: str(max(1, self._threads // self._host.of)) for name in _THREADS} if self._threads else {}
        around = Surroundings(
            self._root, self._row.arn, self._settings.region, len(os.sched_getaffinity(0)), self._gpus, self._host
        )
        theirs = {**threads, **self._access(), **contract.variables(self._spec, around)}
        if self._mode == "container":
            return theirs
        return {
            **{name: value for name, value in os.environ.items() if _is_kept(name)},
            **_pip_configuration(),
            "PATH": source.python_first(os.environ.get("PATH")),
            **theirs,
            MARK: os.environ.get(MARK, ""),  # by which what it starts is found and ended if all else is killed
        }

    @property
    def _gpus(self) -> int:
        """How many the program can use: a container's are none unless its instance type has some."""
        shut_out = self._mode == "container" and not instances.has_gpus(self._type)
        return 0 if shut_out else gpus()

    @property
    def _type(self) -> str:
        return self._spec.group(self._host.number).type

    def _access(self) -> dict[str, str]:
        """What an AWS client in the program needs to reach this installation, as its role lets it in AWS."""
        running = home.Home(self._settings.home).running()
        keys = Credentials(self._settings.credentials_file).all()
        if running is None or not keys:
            return {}
        given = environment.variables(self._settings, next(iter(keys)), running.url)
        return {name: value for name, value in given.items() if name.startswith("AWS_")}


def _is_kept(variable: str) -> bool:
    """Whether a program inherits it from the server: its secrets stay where they are."""
    return variable in _KEPT or variable.startswith(_KEPT_PREFIXES) or variable.lower() in _PROXIES


def gpus() -> int:
    """How many of NVIDIA's this machine has."""
    return sum(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia*"))


def _pip_configuration() -> dict[str, str]:
    """pip's own settings file of this user, whose home the program does not see."""
    for path in ("~/.config/pip/pip.conf", "~/.pip/pip.conf"):
        if Path(path).expanduser().is_file():
            return {"PIP_CONFIG_FILE": str(Path(path).expanduser())}
    return {}
