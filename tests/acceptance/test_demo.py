"""`pilothouse demo`, which is what `make demo` runs: twice in a row on one home."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def demonstrate(home: Path) -> str:
    command = [sys.executable, "-m", "pilothouse", "demo", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_trains_deploys_predicts_and_can_be_run_again(tmp_path: Path) -> None:
    first = demonstrate(tmp_path / "home")
    assert "candidate ensemble Completed" in first
    assert "InService" in first
    right = re.search(r"(\d+) of 60 right", first)
    assert right is not None
    assert int(right[1]) >= 50
    again = demonstrate(tmp_path / "home")
    assert "Removing the endpoint demo-" in again
    assert "of 60 right" in again
