"""People without AWS code: `pilothouse tune`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int)
parser.add_argument("--kind")
parser.add_argument("--level", type=float)
given = parser.parse_args()
offset = float(pathlib.Path(os.environ["SM_CHANNEL_TRAINING"], "offset.txt").read_text())
acc = given.level - 0.1 * abs(given.depth - 5) - (given.kind == "b") * offset
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(f"{given.depth} {given.kind}")
print(f"acc: {acc:.4f}")
"""


def tune(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pilothouse", "tune", "script.py", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "offset.txt").write_text("0.25")
    return tmp_path


def test_a_script_is_tuned_and_the_best_values_told(folder: Path) -> None:
    done = tune(
        folder,
        *("--choice", "depth=4,5,6", "--choice", "kind=a,b", "--set", "level=0.9", "--strategy", "grid"),
        *("--metric", "acc=acc: ([0-9.]+)", "--maximize", "acc", "--parallel", "2"),
        *("--data", "offset.txt", "--out", "best"),
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("Completed" in line and line.startswith("  trial") for line in lines) == 6
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["trial", "status"])
    assert lines[head].split() == ["trial", "status", "depth", "kind", "acc", "seconds"]
    assert lines[head + 1].split()[1:5] == ["Completed", "5", "a", "0.9000"]
    assert "Best: acc 0.9000 of trial" in done.stdout
    assert "with --depth 5 --kind a" in done.stdout
    assert (folder / "best" / "model.txt").read_text() == "5 a"


def test_ctrl_c_ends_the_tuning_and_tells_what_was_best_by_then(folder: Path) -> None:
    (folder / "script.py").write_text(SCRIPT + "import time\ntime.sleep(600 if given.kind == 'b' else 0)\n")
    options = ["--choice", "depth=5", "--choice", "kind=a,b", "--set", "level=0.9", "--strategy", "grid"]
    options += ["--metric", "acc=acc: ([0-9.]+)", "--maximize", "acc", "--data", "offset.txt", "--parallel", "1"]
    command = [sys.executable, "-m", "pilothouse", "tune", "script.py", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=200)
    assert "001 Completed" in first
    assert process.returncode == 0, errors
    assert "Best: acc 0.9000 of trial 001" in rest


def test_a_metric_that_never_comes_is_an_error_in_words(folder: Path) -> None:
    done = tune(
        folder,
        *("--range", "depth=1:9:int", "--set", "level=1", "--trials", "2", "--data", "offset.txt"),
        *("--metric", "loss=loss: ([0-9.]+)", "--minimize", "loss"),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: No training job emitted a finite value of the objective metric.")
    assert "Traceback" not in done.stderr
