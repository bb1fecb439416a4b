"""The process table: whose process is whose, and in which order they are ended."""

from __future__ import annotations

import os
import subprocess
import sys

from pilothouse.launch import processes
from pilothouse.launch.processes import Entry


def entry(pid: int, parent: int, session: int = 0) -> Entry:
    return Entry(pid, parent, session, started=0, zombie=False)


def test_a_family_lists_parents_before_their_children() -> None:
    table = {
        found.pid: found
        for found in (entry(900, 1), entry(30, 40), entry(40, 900), entry(20, 800, 900), entry(10, 20), entry(7, 1))
    }
    assert processes.family(table, [900, 555]) == [900, 20, 40, 10, 30]


def test_of_several_roots_all_come_before_what_they_started() -> None:
    table = {found.pid: found for found in (entry(5, 80), entry(80, 1), entry(6, 70), entry(70, 1))}
    assert processes.family(table, [80, 70])[:2] == [80, 70]


def test_a_process_whose_name_is_no_text_is_in_the_table_like_any_other() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b') \\xd0', 0, 0, 0); print(flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as named:
        assert named.stdout is not None
        named.stdout.readline()
        try:
            assert processes.table()[named.pid].parent == os.getpid()
        finally:
            named.kill()
