"""The clients that people use, unmodified, each from an environment of its own, with no way out but loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GUARD = Path(__file__).parent / "guard"
ENVIRONMENTS = ROOT / ".clients"
ROWS, HELD_BACK = 600, 20
TIMEOUT = 900


@dataclass(frozen=True)
class Files:
    """CSV files, and rows without header and target to score: as many as `HELD_BACK`."""

    cells: Path
    cells_score: Path
    prices: Path
    prices_score: Path
    labels: Path


@dataclass(frozen=True)
class Station:
    """A place to run commands that know a server from nothing but what `pilothouse env` prints."""

    environment: dict[str, str]
    outside: Path
    server: Any = None

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end. It must not have tried to reach anything but loopback."""
        environment = {**self.environment, **variables}
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert self.calls_outside() == ""
        return done

    def example(self, environment: str, script: str, *arguments: Path | str) -> Any:
        """Runs a script of examples/ in one of the clients' environments; the summary that it prints last."""
        python = ENVIRONMENTS / environment / "bin/python"
        if not python.exists():
            pytest.skip(f"{environment} is not installed: make clients")
        done = self.run(str(python), str(EXAMPLES / script), *map(str, arguments))
        return json.loads(done.stdout.splitlines()[-1])

    def calls_outside(self) -> str:
        """What was tried to be reached outside of this machine."""
        return self.outside.read_text() if self.outside.exists() else ""


@pytest.fixture(scope="session")
def station(server_with: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Station:
    """A station for the server that all tests of clients share."""
    server = server_with()
    folder = tmp_path_factory.mktemp("station")
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    outside = folder / "outside"
    guarded = {"HOME": str(folder), "PYTHONPATH": str(GUARD), "OUTSIDE_CALLS": str(outside)}
    return Station({**kept, **server.environment(), **guarded, "AWS_PAGER": ""}, outside, server)


@pytest.fixture
def lonely(tmp_path: Path) -> Station:
    """A station without a server."""
    outside = tmp_path / "outside"
    guarded = {"PYTHONPATH": str(GUARD), "OUTSIDE_CALLS": str(outside), "HOME": str(tmp_path)}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    return Station({"PATH": os.environ["PATH"], **guarded, **keys, "AWS_MAX_ATTEMPTS": "1"}, outside)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Two classes, a number, and labels for a script of one's own."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(7)
    size, shape, noise = rng.normal(size=(3, ROWS + HELD_BACK))
    place = rng.choice(["Oslo", "Rome"], ROWS + HELD_BACK).tolist()
    kind = np.where(size + shape + 0.3 * noise > 0.4, "malignant", "benign").tolist()
    price = (40 * size - 5 * shape + 15 * noise + 20 * (np.array(place) == "Oslo")).tolist()
    features = [f"{a:.4f},{b:.4f},{c}" for a, b, c in zip(size, shape, place, strict=True)]

    def written(name: str, header: str, rows: list[str]) -> Path:
        path = folder / f"{name}.csv"
        path.write_text("\n".join([*filter(None, [header]), *rows]) + "\n")
        return path

    def training(name: str, target: str, values: list[Any]) -> Path:
        rows = [f"{row},{value}" for row, value in zip(features[HELD_BACK:], values[HELD_BACK:], strict=True)]
        return written(name, f"size,shape,place,{target}", rows)

    labels = [f"{int(s > 0)},{s + 0.3 * e:.4f},{50 * h:.4f}" for s, h, e in zip(size, shape, noise, strict=True)]
    return Files(
        training("cells", "diagnosis", kind),
        written("cells-score", "", features[:HELD_BACK]),
        training("prices", "price", price),
        written("prices-score", "", features[:HELD_BACK]),
        written("labels", "label,a,b", labels),
    )
