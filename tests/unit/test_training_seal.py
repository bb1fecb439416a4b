"""Folders of runs: who is at work in one is waited for, and who comes late begins nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.errors import JobFailed, LaunchFailed
from pilothouse.training.seal import at_work, seal


def test_whoever_comes_after_the_seal_begins_nothing(tmp_path: Path) -> None:
    seal(tmp_path)
    with pytest.raises(LaunchFailed, match="another goes on with its job"), at_work(tmp_path):
        raise AssertionError("it has begun")


def test_a_program_is_at_work_for_as_long_as_it_lives(tmp_path: Path) -> None:
    with (
        at_work(tmp_path) as held,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,)) as program,
    ):
        with pytest.raises(JobFailed, match=r"earlier run have not ended 0\.05 seconds after"):
            seal(tmp_path, patience=0.05)
        program.kill()
    seal(tmp_path)
