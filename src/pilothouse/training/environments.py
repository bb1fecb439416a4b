"""Virtual environments for a script's requirements.txt: one for each content, made once, seeing what is installed here.

Of a file that names others the content says too little, and its environment is its job's alone.

Run as a program (`python -m pilothouse.training.environments FOLDER REQUIREMENTS`), since pip runs code of the packages
that it builds: under the same limits as the script itself.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import site
import subprocess
import sys
import time
import venv
from pathlib import Path

from pilothouse import names
from pilothouse.errors import DataError

_LARGEST = 1 << 20
_TRIES, _PAUSE = 20, 0.5
_READY, _LOCK, _VENV = "ready", "lock", "venv"
_OWN = "environment"
_COMMENT = re.compile(r"(?:^|\s)#.*")
_NAMES_FILES = re.compile(r"-[rcef]|--(?:requirement|constraint|editable|find-links)\b")
_END_OF_NAME = re.compile(r"[\s;\[]")


class Environment:
    """The environment for the requirements file at `path`: below `root`, where all jobs have theirs, or in the folder
    `own` of its job if the file names others.
    """

    def __init__(self, root: Path, path: Path, own: Path) -> None:
        text = _text(path)
        if any(_is_local(line, path.parent) for line in text.splitlines()):
            self.folder = own / _OWN
        else:
            self.folder = root / names.digest("\n".join([text, sys.version, sys.prefix]), 32)

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / _VENV / "bin" / "python")

    @property
    def ready(self) -> bool:
        """Whether all is installed."""
        return (self.folder / _READY).exists()

    def command(self, requirements: str) -> list[str]:
        """What makes it; `requirements` is the file's path as that program sees it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return [sys.executable, "-m", "pilothouse.training.environments", str(self.folder), requirements]


def main(folder: Path, requirements: Path) -> int:
    """Makes the environment unless somebody has meanwhile; pip's exit code."""
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _READY).exists():
            return 0
        if (folder / _VENV).exists():  # of somebody who was killed
            _remove(folder / _VENV)
        venv.EnvBuilder(system_site_packages=True, symlinks=True).create(folder / _VENV)
        python = folder / _VENV / "bin" / "python"
        _show_what_is_here(folder / _VENV)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input"]
        options = ["--disable-pip-version-check", "--no-warn-script-location", "-r", str(requirements)]
        # pip holds the lock as well: it may go on for a moment when this process has been killed.
        code = subprocess.run([*pip, *options], check=False, pass_fds=(lock.fileno(),)).returncode
        if code == 0:
            (folder / _READY).touch()
        return code


def _remove(folder: Path) -> None:
    """Removes `folder`, though a pip of an earlier release, which holds no lock, may write there for some seconds."""
    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(folder)
            return
        except OSError:
            if not left:
                raise
            time.sleep(_PAUSE)


def _show_what_is_here(environment: Path) -> None:
    """Lets it see the packages of the environment that Pilothouse runs in, behind its own."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (environment / "lib" / version / "site-packages" / "pilothouse.pth").write_text("\n".join(lines) + "\n")


def _is_local(line: str, folder: Path) -> bool:
    """Whether a line of a requirements file in `folder` has pip read another file of this machine."""
    line = _COMMENT.sub("", line).strip()
    if "file:" in line:
        return True
    if "://" in line:
        return False
    if line.startswith("-"):
        return _NAMES_FILES.match(line) is not None
    name = _END_OF_NAME.split(line)[0]
    return name.startswith(".") or "/" in name or (name != "" and (folder / name).is_file())


def _text(path: Path) -> str:
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path.name} is larger than {_LARGEST >> 20} MiB. List what the script needs, no more.")
    return path.read_text(errors="replace")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
