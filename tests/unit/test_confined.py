"""Programs under limits, as real processes: what the kernel refuses them, and that all of them can be ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pilothouse.launch.confined import Limits
from pilothouse.training.documents import Command, Task


def confined(script: str, **limits: int) -> dict[str, Any]:
    """What `script` leaves in `found`, run in a process of its own with `confined` and the limits at hand."""
    given = {"data_bytes": 1 << 30, "file_bytes": 1 << 20, "cpu_seconds": 60, "processes": 50, **limits}
    program = f"""
import json, os, time
from pilothouse.launch import confined
from pilothouse.launch.child import adopt_orphans
from pilothouse.launch.confined import Limits
adopt_orphans()
confined.limit(Limits(**{given!r}))
found = {{}}
reader, writer = os.pipe()
def start(*argv):
    return confined.start(argv, folder="/", environment={{"PATH": os.environ["PATH"]}}, output=writer)
{textwrap.dedent(script)}
os.close(writer)
found["said"] = os.read(reader, 1 << 16).decode()
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_program_leads_a_session_of_its_own_and_is_waited_for() -> None:
    found = confined("""
        pid = start("/bin/sh", "-c", "ps -o sid= -p $$ | tr -d ' '; exit 5")
        found["code"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found["pid"] = pid
    """)
    assert (found["code"], found["said"].strip()) == (5, str(found["pid"]))


def test_a_program_that_is_not_there_is_told() -> None:
    found = confined("""
        try:
            start("/no/such/program")
        except Exception as error:
            found["error"] = str(error)
    """)
    assert found["error"] == "The program cannot be started: No such file or directory: /no/such/program"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"{sys.executable} -c 'import tempfile; tempfile.TemporaryFile().write(bytes(3 << 20))'", "File too large"),
        (f"{sys.executable} -c 'bytearray(3 << 30)'", "MemoryError"),
        ("ulimit -c", "0"),
    ],
)
def test_the_kernel_holds_a_program_to_its_limits(script: str, words: str) -> None:
    found = confined(f"""
        pid = start("/bin/sh", "-c", {script!r} + " 2>&1")
        os.waitpid(pid, 0)
    """)
    assert words in found["said"]


def test_all_that_a_program_started_can_be_ended_wherever_it_went() -> None:
    found = confined("""
        script = "(setsid sh -c 'setsid sleep 987 & sleep 987' &); trap '' TERM; echo up; sleep 987"
        pid = start("/bin/sh", "-c", script)
        os.read(reader, 3)
        give_up = time.monotonic() + 60
        while len(confined.family(pid)) < 3 and time.monotonic() < give_up:
            time.sleep(0.01)
        found["before"] = len(confined.family(pid))
        found["ended"] = confined.destroy(pid, 20)
        found["after"] = [p for p in confined.family(pid) if not confined._is_gone(p)]
    """)
    assert found["before"] >= 3
    assert found["ended"]
    assert found["after"] == []


def test_sigterm_reaches_the_descendants_too() -> None:
    inner = "sh -c 'trap \"echo inner; exit\" TERM; echo up; while :; do sleep 0.05; done'"
    found = confined(f"""
        pid = start("/bin/sh", "-c", "trap : TERM; " + {inner!r} + " & wait; wait")
        os.read(reader, 3)
        confined.terminate(pid)
        os.waitpid(pid, 0)
    """)
    assert found["said"].endswith("inner\n")


def test_sigterm_waits_for_a_program_that_its_wrapper_has_not_started_yet(tmp_path: Path) -> None:
    (tmp_path / "bwrap").symlink_to(shutil.which("sleep") or "")
    found = confined(f"""
        pid = start("{tmp_path}/bwrap", "60")
        while open(f"/proc/{{pid}}/comm").read() != "bwrap\\n":
            time.sleep(0.01)
        found["wrapper"] = confined.terminate(pid)
        found["runs"] = os.waitpid(pid, os.WNOHANG) == (0, 0)
        confined.destroy(pid, 5.0)
        other = start("sleep", "60")
        found["program"] = confined.terminate(other)
        os.waitpid(other, 0)
    """)
    assert (found["wrapper"], found["runs"], found["program"]) == (False, True, True)


def test_what_has_ended_is_not_among_the_processes_that_a_program_may_have(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 200 ]; do (true &); i=$((i+1)); done; sleep 1"
    command = Command(argv=("/bin/sh", "-c", script), environment={"PATH": os.environ["PATH"]})
    task = Task(str(tmp_path), (command,), (), Limits(1 << 30, 1 << 20, 60, processes=50), seconds=60, grace=1)
    keeper = f"""
from pilothouse.launch.child import adopt_orphans
from pilothouse.training.program import main
adopt_orphans()
main({task.document()!r})
"""
    subprocess.run([sys.executable, "-c", keeper], check=True, timeout=120)
    end = json.loads((tmp_path / "end.json").read_text())
    assert (end["code"], end["cut"]) == (0, None)


def test_a_function_runs_in_a_child_as_a_program_does() -> None:
    found = confined("""
        pids = [confined.fork(act, output=writer) for act in (lambda: print("hello", flush=True), lambda: 1 / 0)]
        found["codes"] = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    """)
    assert found["codes"] == [0, 1]
    assert "hello" in found["said"]
    assert "ZeroDivisionError" in found["said"]


def test_a_function_has_the_descriptors_that_it_keeps_and_no_others() -> None:
    found = confined("""
        pairs = [os.pipe() for _ in range(3)]
        ours = [descriptor for pair in pairs for descriptor in pair]
        kept = [pairs[1][0], pairs[0][1]]
        def opened(descriptor):
            try:
                return bool(os.fstat(descriptor))
            except OSError:
                return False
        pid = confined.fork(lambda: print([d for d in ours if opened(d)], flush=True), output=writer, kept=kept)
        found["code"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found["kept"] = str(sorted(kept))
    """)
    assert (found["code"], found["said"].strip()) == (0, found["kept"])
