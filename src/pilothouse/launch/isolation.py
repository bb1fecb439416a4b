"""How far a user's program is kept from the rest of this machine: by bubblewrap where that works, else as a process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pilothouse.errors import LaunchFailed

_PROBE_SECONDS = 10
_ROOT = "/opt/ml"
_PROCESS = "a process of its own under limits"


@dataclass(frozen=True)
class Isolation:
    """What was found: the `level` ("bubblewrap" or "process"), and what that means in words."""

    level: str
    meaning: str

    @property
    def wraps(self) -> bool:
        """Whether programs run in namespaces of their own."""
        return self.level == "bubblewrap"


@dataclass(frozen=True)
class Cell:
    """What a wrapped program may see: its own folder `base` as /opt/ml, of `hidden` what is `readable` or `writable`.

    Without `network` it has only an interface of its own to talk to itself.
    """

    base: Path
    hidden: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = True


def isolation(wanted: str = "auto") -> Isolation:
    """The level that this host allows, if `wanted` is "auto". `LaunchFailed` if "bubblewrap" is wanted and fails."""
    if wanted == "process":
        return Isolation("process", f"{_PROCESS}, as PILOTHOUSE_ISOLATION says")
    found = _found()
    if wanted == "bubblewrap" and not found.wraps:
        raise LaunchFailed(f"PILOTHOUSE_ISOLATION asks for bubblewrap, but programs can only run as {found.meaning}.")
    return found


@cache
def _found() -> Isolation:
    """What works here; tried out once in a process."""
    program = shutil.which("bwrap")
    if program is None:
        return Isolation(
            "process", f"{_PROCESS}; with bubblewrap (bwrap) installed it would not see this installation's files"
        )
    probe = [program, "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Isolation("process", f"{_PROCESS}; bubblewrap does not work here: {error}")
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()[:200]
        return Isolation("process", f"{_PROCESS}; bubblewrap does not work here: {reason}")
    return Isolation(
        "bubblewrap", "a process in bubblewrap: no other processes, the file system read-only, the home hidden"
    )


def wrapped(argv: Sequence[str], cell: Cell, folder: str) -> list[str]:
    """The command that runs `argv` in `cell`, in the working directory `folder` as seen from inside."""
    return [
        shutil.which("bwrap") or "bwrap",
        *("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"),
        *([] if cell.network else ["--unshare-net"]),
        *("--ro-bind", "/", "/", *_devices(), "--proc", "/proc", "--tmpfs", "/tmp"),  # noqa: S108
        *_mounted(cell.base),
        *(word for folder in cell.hidden for word in ("--tmpfs", str(folder))),
        *_visible(cell),
        *("--chdir", folder, "--"),
        *argv,
    ]


def _devices() -> list[str]:
    if any(Path("/dev").glob("nvidia*")):
        return ["--dev-bind", "/dev", "/dev"]
    return ["--dev", "/dev"]


def _visible(cell: Cell) -> list[str]:
    """What /tmp and the hidden folder would cover: this Python with its libraries, and what the cell asks for."""
    covered = (Path("/tmp"), *cell.hidden)  # noqa: S108
    own = [path for path in _python() if any(path.is_relative_to(folder) for folder in covered)]
    binds: list[str] = []
    for path in [*own, *cell.readable]:
        binds += ["--ro-bind", str(path), str(path)]
    for path in cell.writable:
        binds += ["--bind", str(path), str(path)]
    return binds


def _python() -> Iterable[Path]:
    paths = {sys.prefix, sys.base_prefix, *sys.path}
    return sorted(path for path in map(Path, paths) if path.is_absolute() and path.exists())


def _mounted(base: Path) -> list[str]:
    """`base` at /opt/ml, which the host need not have: then what /opt holds is shown again beside it."""
    if Path(_ROOT).is_dir():
        return ["--bind", str(base), _ROOT]
    binds = ["--tmpfs", "/opt"]
    for path in sorted(Path("/opt").iterdir()) if Path("/opt").is_dir() else ():
        shown = str(path)
        binds += ["--symlink", str(path.readlink()), shown] if path.is_symlink() else ["--ro-bind", shown, shown]
    return [*binds, "--bind", str(base), _ROOT]
