"""Virtual environments of the tools, made where they are missing or out of date."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from peers_bench.tools import ENVIRONMENTS

_STAMP = "peers-requirements.json"


class EnvironmentFailed(Exception):
    """The environment could not be made; the message says where the log is."""


class Environments:
    """One environment a name under `root`. One in `given` (name -> folder) is used as it is."""

    def __init__(self, root: Path, given: Mapping[str, Path]) -> None:
        self._root = root
        self._given = given

    def python(self, name: str) -> Path:
        """The interpreter of the environment, which is made first if need be; `EnvironmentFailed` if it can't be."""
        if name in self._given:
            return _interpreter(self._given[name])
        folder, steps = self._root / name, ENVIRONMENTS[name]
        stamp = folder / _STAMP
        if not stamp.exists() or json.loads(stamp.read_text()) != steps:
            self._make(folder, steps)
            stamp.write_text(json.dumps(steps))
        return _interpreter(folder)

    def _make(self, folder: Path, steps: list[list[str]]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        print(f"Making {folder} …", file=sys.stderr, flush=True)
        log = folder.with_suffix(".log")
        with log.open("w") as file:
            commands = [[sys.executable, "-m", "venv", str(folder)]]
            commands += [[str(_interpreter(folder)), "-m", "pip", "install", *step] for step in steps]
            for command in commands:
                if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode:
                    raise EnvironmentFailed(f"{' '.join(command[1:])} failed; its log is {log}.")


def _interpreter(folder: Path) -> Path:
    return folder.absolute() / "bin" / "python"
