"""How far a program is kept from the rest of this machine: by bubblewrap where that works, else by what does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pilothouse.errors import LaunchFailed
from pilothouse.launch import unshared

_PROBE_SECONDS = 10
_ROOT = "/opt/ml"
_PROCESS = "a process of its own under limits"
_IN_BUBBLEWRAP = "a process in bubblewrap: no other processes, the file system read-only, the home hidden"
_UNSHARED = "a process in namespaces: no other processes, the home hidden; with bubblewrap it could write nowhere else"


@dataclass(frozen=True)
class Isolation:
    """What was found: the `level` ("bubblewrap", "unshare" or "process"), and what that means in words."""

    level: str
    meaning: str

    @property
    def wraps(self) -> bool:
        """Whether programs run in namespaces of their own."""
        return self.level != "process"


@dataclass(frozen=True)
class Cell:
    """What a wrapped program may see: its own folder `base` as /opt/ml, of `hidden` what is `readable` or `writable`.

    Without `network` it has only an interface of its own to talk to itself. With a `hostname` it is called so, and
    finds the file `table` at /etc/hosts.
    """

    base: Path
    hidden: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = True
    hostname: str = ""
    table: Path | None = None


def isolation(wanted: str = "auto") -> Isolation:
    """The best level that works here if `wanted` is "auto", else that one; `LaunchFailed` if it does not work."""
    if wanted == "process":
        return Isolation("process", f"{_PROCESS}, as PILOTHOUSE_ISOLATION says")
    bubblewrap = _bubblewrap() if wanted != "unshare" else "it is not wanted"
    if bubblewrap is None:
        return Isolation("bubblewrap", _IN_BUBBLEWRAP)
    unshare = _unshare() if wanted != "bubblewrap" else "it is not wanted"
    if unshare is None:
        return Isolation("unshare", _UNSHARED)
    if wanted != "auto":
        reason = bubblewrap if wanted == "bubblewrap" else unshare
        raise LaunchFailed(f"PILOTHOUSE_ISOLATION asks for {wanted}, which does not work here: {reason}.")
    return Isolation("process", f"{_PROCESS}; bubblewrap does not work here ({bubblewrap}), nor unshare ({unshare})")


@cache
def _unshare() -> str | None:
    return unshared.works()


@cache
def _bubblewrap() -> str | None:
    """None if it works, else the reason why not; tried out once in a process."""
    program = shutil.which("bwrap")
    if program is None:
        return "bwrap is not installed"
    probe = [program, "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[:200]


def wrapped(argv: Sequence[str], cell: Cell, folder: str, level: str) -> list[str]:
    """The command that runs `argv` in `cell`, in the working directory `folder` as seen from inside."""
    if level == "unshare":
        shown = [*_own(cell.hidden), *cell.readable, *cell.writable]
        return unshared.wrapped(
            argv,
            cell.base,
            folder,
            hidden=cell.hidden,
            shown=shown,
            network=cell.network,
            hostname=cell.hostname,
            table=cell.table,
        )
    return [
        shutil.which("bwrap") or "bwrap",
        *("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"),
        *([] if cell.network else ["--unshare-net"]),
        *(["--hostname", cell.hostname] if cell.hostname else []),
        *("--ro-bind", "/", "/", *_devices(), "--proc", "/proc", "--tmpfs", "/tmp"),  # noqa: S108
        *_mounted(cell.base),
        *(word for folder in cell.hidden for word in ("--tmpfs", str(folder))),
        *_visible(cell),
        *(["--ro-bind", str(cell.table), "/etc/hosts"] if cell.table else []),
        *("--chdir", folder, "--"),
        *argv,
    ]


def _devices() -> list[str]:
    if any(Path("/dev").glob("nvidia*")):
        return ["--dev-bind", "/dev", "/dev"]
    return ["--dev", "/dev"]


def _visible(cell: Cell) -> list[str]:
    """What /tmp and the hidden folder would cover: this Python with its libraries, and what the cell asks for."""
    binds: list[str] = []
    for path in [*_own((Path("/tmp"), *cell.hidden)), *cell.readable]:  # noqa: S108
        binds += ["--ro-bind", str(path), str(path)]
    for path in cell.writable:
        binds += ["--bind", str(path), str(path)]
    return binds


@cache
def _own(covered: tuple[Path, ...]) -> list[Path]:
    """What of this Python and its libraries lies in the folders `covered`, and does not hold one of them."""
    return [
        path
        for path in _python()
        if any(path.is_relative_to(folder) for folder in covered)
        and not any(folder.is_relative_to(path) for folder in covered)  # the working directory may be anywhere
    ]


def _python() -> Iterable[Path]:
    paths = {sys.prefix, sys.base_prefix, *sys.path}
    return sorted(path for path in map(Path, paths) if path.is_absolute() and os.access(path, os.R_OK))


def _mounted(base: Path) -> list[str]:
    """`base` at /opt/ml, which the host need not have: then what /opt holds is shown again beside it."""
    if Path(_ROOT).is_dir():
        return ["--bind", str(base), _ROOT]
    binds = ["--tmpfs", "/opt"]
    for path in sorted(Path("/opt").iterdir()) if Path("/opt").is_dir() else ():
        shown = str(path)
        binds += ["--symlink", str(path.readlink()), shown] if path.is_symlink() else ["--ro-bind", shown, shown]
    return [*binds, "--bind", str(base), _ROOT]
