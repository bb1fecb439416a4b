"""One measured run: a tool on a split within a budget, as a line of results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from peers_bench import tree
from peers_bench.environments import EnvironmentFailed, Environments
from peers_bench.scoring import Predictions, score
from peers_bench.sets import Split
from peers_bench.tools import ROOT, Tool

Line = dict[str, Any]

_PATIENCE, _GRACE_SECONDS = 4, 600
"""A run is killed after `_PATIENCE` times its budget and `_GRACE_SECONDS` more."""
_LONGEST_REASON = 500


class RunFailed(Exception):
    """The run gave no result; the message is the reason."""


@dataclass(frozen=True)
class Runner:
    """Runs tools in their environments, one at a time; `keep` is a folder for what the runs leave behind."""

    environments: Environments
    objective: str | None = None
    seed: int = 0
    keep: Path | None = None

    def run(self, tool: Tool, split: Split, budget: int) -> Line:
        """The line of the run; a run that failed has `failed`, the reason, instead of what was measured."""
        line = self._heading(tool, split, budget)
        try:
            return line | self._measured(tool, split, budget)
        except (RunFailed, EnvironmentFailed, ValueError) as error:
            return line | {"failed": str(error)[:_LONGEST_REASON]}

    def _heading(self, tool: Tool, split: Split, budget: int) -> Line:
        return {
            "tool": tool.name,
            "preset": tool.preset,
            "set": split.name,
            "problem": split.problem,
            "rows": {"train": len(split.train), "test": len(split.test)},
            "budget": budget,
            "wanted_objective": self.objective,
            "seed": self.seed,
            "commit": _commit(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(),
        }

    def _measured(self, tool: Tool, split: Split, budget: int) -> Line:
        if lacking := tool.lacks():
            raise RunFailed(f"skipped: {lacking}")
        python = self.environments.python(tool.environment)
        with self._folder() as folder:
            split.write(folder)
            self._write_task(folder, tool, split, budget)
            begun, watch = self._execute([str(python), str(tool.program), str(folder)], folder, budget)
            answer = json.loads((folder / "answer.json").read_text())
            metrics = score(split.problem, split.truth(), split.classes, Predictions.load(folder / "predictions.npz"))
        return _line(answer, metrics, begun, watch, budget)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.keep is not None:
            yield Path(tempfile.mkdtemp(prefix="peers-", dir=self.keep))
            return
        with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
            yield Path(name)

    def _write_task(self, folder: Path, tool: Tool, split: Split, budget: int) -> None:
        task = {
            "name": split.name,
            "problem": split.problem,
            "target": split.target,
            "classes": split.classes,
            "budget": budget,
            "preset": tool.preset,
            "objective": self.objective,
            "seed": self.seed,
        }
        (folder / "task.json").write_text(json.dumps(task))

    def _execute(self, command: list[str], folder: Path, budget: int) -> tuple[float, tree.MemoryWatch]:
        log, patience = folder / "log.txt", budget * _PATIENCE + _GRACE_SECONDS
        with log.open("w") as file, tree.MemoryWatch() as watch:
            begun = time.monotonic()
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            try:
                code = process.wait(patience)
            except subprocess.TimeoutExpired as error:
                raise RunFailed(f"killed: it had not ended {patience} s after its start") from error
            finally:
                tree.end_descendants()
        if code:
            raise RunFailed(f"exit status {code}: {_last_line(log)}")
        return begun, watch


def machine() -> Line:
    """What the figures depend on; `load` tells whether something else was running."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "load": os.getloadavg()[0],
    }


def _commit() -> str | None:
    """The checkout's commit, as Pilothouse's version does not change between releases; None without git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def _line(answer: Line, metrics: dict[str, float], begun: float, watch: tree.MemoryWatch, budget: int) -> Line:
    """`seconds` counts from the start of work on the data, imports being done, to a model that can predict."""
    seconds = answer.pop("usable") - answer["started"]
    usable = answer["started"] + seconds
    startup = answer.pop("started") - begun
    objective = answer.pop("objective")
    return {
        "metrics": metrics,
        "objective": {"name": objective, "test": metrics.get(objective)},
        "seconds": seconds,
        "overshoot": seconds - budget,
        "startup_seconds": startup,
        "peak_memory_bytes": watch.peak(usable),
        "peak_memory_with_predictions_bytes": watch.peak(),
        "memory_measure": f"PSS summed over the process tree, sampled every {tree.EVERY_SECONDS:g} s",
        **answer,
    }


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
