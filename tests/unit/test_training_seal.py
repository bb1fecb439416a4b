"""Folders of runs: who is at work in one is waited for, and who comes late begins nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pilothouse.errors import JobFailed, LaunchFailed
from pilothouse.launch.confined import Limits
from pilothouse.training.documents import Command, Task
from pilothouse.training.seal import at_work, seal


def keeper(folder: Path, *commands: Command) -> list[str]:
    """The command line of a process that keeps `commands`."""
    task = Task(str(folder), commands, (), Limits(1 << 30, 1 << 20, 60), seconds=60, grace=1)
    return [sys.executable, "-c", f"from pilothouse.training.program import main\nmain({task.document()!r})"]


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


def test_what_a_built_in_forked_is_at_work_though_its_keeper_was_killed(tmp_path: Path) -> None:
    script, gate, up = tmp_path / "algorithm.py", tmp_path / "gate", tmp_path / "up"
    script.write_text(
        "import os, pathlib\n"
        "if os.fork():\n"
        "    os.wait()\n"
        "else:\n"
        f"    pathlib.Path({str(up)!r}).touch()\n"
        f"    pathlib.Path({str(gate)!r}).read_bytes()\n"
    )
    os.mkfifo(gate)
    command = Command(folder=str(tmp_path), target="runpy:run_path", arguments={"path_name": str(script)})
    held = os.open(gate, os.O_RDWR)  # the worker reads to the end of this, so that it outlives this test in no case
    try:
        with subprocess.Popen(keeper(tmp_path, command)) as process:
            while not up.exists():
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        with pytest.raises(JobFailed, match="have not ended"):
            seal(tmp_path, patience=0.05)
    finally:
        os.close(held)
    seal(tmp_path)


@pytest.mark.parametrize(("removal", "holders"), [((), 2), (("/bin/true",), 0)])
def test_what_starts_a_container_leaves_nobody_at_work_beside_it(
    removal: tuple[str, ...], holders: int, tmp_path: Path
) -> None:
    found = tmp_path / "found"
    argv = ("/bin/sh", "-c", f"readlink /proc/$$/fd/* >> {found}; true")
    fetching, running = Command(argv, environment={"PATH": os.environ["PATH"]}), Command(argv, removal=removal)
    subprocess.run(keeper(tmp_path, fetching, running), timeout=60, check=True)
    assert found.read_text().splitlines().count(str(tmp_path / "lock")) == holders
