"""The container engine of this machine: Docker or Podman, through its command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pilothouse.catalog.training_jobs import ROOT
from pilothouse.errors import LaunchFailed
from pilothouse.launch.base import AT_WORK

_ENGINES = ("docker", "podman")
_PROBE_SECONDS = 20
_OWN = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSL_CERT_FILE")
_OWN_PREFIXES = ("DOCKER_", "CONTAINER_", "CONTAINERS_", "REGISTRY_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_SEALED = ("--read-only", *(word for path in ("/tmp", "/var/tmp", "/run") for word in ("--tmpfs", f"{path}:exec")))  # noqa: S108
_SHARES = int(1024 / 1.25**AT_WORK)
"""What the kernel gives a process of that niceness where one of none has 1024."""

_UNLIKE_EVERYWHERE = ('"', "'", "`", " ", "\t")
"""What a value in a file of variables may begin or end with that engines do not read alike."""

_FETCH = """
"$1" rm --force "$2" > /dev/null 2>&1
"$1" image inspect "$3" > /dev/null 2>&1 || exec "$1" pull "$3"
"""


@dataclass(frozen=True)
class Engine:
    """An engine that answered: its `name`, the path of its `program`, and the `version` that it says it has."""

    name: str
    program: str
    version: str

    @property
    def meaning(self) -> str:
        """What runs a program, in words."""
        return f"a container of {self.name} {self.version}"

    def fetching(self, image: str, container: str) -> list[str]:
        """The command that removes what an earlier run left, and pulls the image unless it is here."""
        return ["/bin/sh", "-c", _FETCH, "sh", self.program, container, image]

    def running(self, box: Box, entry: Sequence[str], words: Sequence[str]) -> list[str]:
        """The command that runs the image of `box`: its own entry point unless `entry` gives one, with `words`."""
        by_daemon = []
        if self.name == "docker":  # which does not hand down the niceness of its command, as Podman does
            by_daemon = ["--cpu-shares", str(_SHARES)]
            if os.getuid() != 0:  # else what it writes would be root's
                by_daemon += ["--user", f"{os.getuid()}:{os.getgid()}"]
        return [
            *(self.program, "run", "--rm", "--name", box.container),
            *("--mount", f"type=bind,src={box.base},dst={ROOT}", "--network", "host" if box.network else "none"),
            *("--security-opt", "no-new-privileges", "--log-driver", "none"),
            *("--pids-limit", str(box.processes), "--memory", str(box.memory)),
            *by_daemon,
            *(self._gpus if box.gpus else ()),
            *(_SEALED if box.sealed else ()),
            *box.named(),
            *box.given(),
            *(["--entrypoint", entry[0]] if entry else []),
            box.image,
            *entry[1:],
            *words,
        ]

    @property
    def _gpus(self) -> tuple[str, str]:
        """The option by which a container gets all GPUs: Docker by its runtime of NVIDIA's, Podman by CDI."""
        return ("--gpus", "all") if self.name == "docker" else ("--device", "nvidia.com/gpu=all")

    def removing(self, container: str) -> list[str]:
        """The command that ends and removes a container."""
        return [self.program, "rm", "--force", container]

    def environment(self) -> dict[str, str]:
        """The variables of the engine's own commands: this process's, and none of the container's."""
        return {name: value for name, value in os.environ.items() if _is_own(name)}


@dataclass(frozen=True)
class Box:
    """A container to be: `base` is the host's folder at /opt/ml, `memory` in bytes, `file` where its variables go.

    With `gpus` it gets all of this machine's. What a `sealed` one writes outside of `base` is in memory, or refused: an
    engine would keep it on a disk. `hostname` is what it is called among `addresses`, those of the containers that it
    can talk to by name.
    """

    container: str
    image: str
    base: Path
    variables: Mapping[str, str]
    file: Path
    memory: int
    processes: int
    network: bool
    gpus: bool = False
    sealed: bool = False
    hostname: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)

    def write(self) -> None:
        """Writes the file of variables, for this user only: there are keys among them."""
        lines = [f"{name}={value}\n" for name, value in self.variables.items() if _is_plain(value)]
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.writelines(lines)

    def named(self) -> list[str]:
        """The options that give it its name, and those of others."""
        known = [word for name, address in self.addresses.items() for word in ("--add-host", f"{name}:{address}")]
        return [*(["--hostname", self.hostname] if self.hostname else []), *known]

    def given(self) -> list[str]:
        """The options that give it its variables."""
        others = [f"{name}={value}" for name, value in self.variables.items() if not _is_plain(value)]
        return ["--env-file", str(self.file), *(word for other in others for word in ("--env", other))]


def engine() -> Engine:
    """The first of Docker and Podman that works here; `LaunchFailed` says why none does."""
    found = _probed()
    if isinstance(found, str):
        raise LaunchFailed(f"PILOTHOUSE_LAUNCHER asks for docker, and no container engine works here: {found}.")
    return found


@cache
def _probed() -> Engine | str:
    faults = []
    for name in _ENGINES:
        program = shutil.which(name)
        if program is None:
            faults.append(f"{name} is not installed")
            continue
        probe = [program, "version", "--format", "{{.Server.Version}}" if name == "docker" else "{{.Client.Version}}"]
        try:
            done = subprocess.run(probe, capture_output=True, timeout=_PROBE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            faults.append(f"{name}: {error}")
            continue
        said = (done.stdout if done.returncode == 0 else done.stderr).decode(errors="replace").strip()
        if done.returncode == 0 and said:
            return Engine(name, program, said)
        faults.append(f"{name}: {said[-200:] or f'exit code {done.returncode}'}")
    return "; ".join(faults)


def _is_own(variable: str) -> bool:
    return variable in _OWN or variable.startswith(_OWN_PREFIXES) or variable.lower() in _PROXIES


def _is_plain(value: str) -> bool:
    """Whether every engine takes the value from a file as it stands there."""
    return "\n" not in value and "\r" not in value and value.strip("".join(_UNLIKE_EVERYWHERE)) == value
