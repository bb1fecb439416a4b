"""The kernel's bound on a program's tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.launch import headcount

FIRST = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
SECOND = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
INSIDE = "41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
OTHER = "30 1 0:3 / /proc rw - proc proc rw\n38 31 0:36 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


@pytest.mark.parametrize(
    ("own", "mounts", "expected"),
    [
        ("8:pids:/user/me\n1:cpu:/\n0::/\n", OTHER + SECOND + FIRST, "/sys/fs/cgroup/pids/user/me"),
        ("0::/user.slice/app\n", OTHER + SECOND, "/sys/fs/cgroup/user.slice/app"),
        ("0::/docker/abc/sub\n", INSIDE, "/sys/fs/cgroup/sub"),
        ("0::/elsewhere\n", INSIDE, None),
        ("0::/../above\n", SECOND, None),
        ("1:cpu:/\n", OTHER, None),
        ("", "", None),
    ],
)
def test_the_group_of_this_process(own: str, mounts: str, expected: str | None) -> None:
    assert headcount.place(own, mounts) == (None if expected is None else Path(expected))


def test_a_mount_whose_path_is_no_text_hides_none_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(b"7 1 8:1 / /media/b\xfccher rw - vfat /dev/sda1 rw\n" + SECOND.encode())
    assert headcount.place("0::/me", headcount._text(tmp_path / "mountinfo")) == Path("/sys/fs/cgroup/me")


SCRIPT = """
import os, signal, sys
from pathlib import Path
from pilothouse.launch import headcount
def own():
    return headcount.place(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
before, works, children = own(), headcount.bound(20), []
try:
    for _ in range(60):
        pid = os.fork()
        if not pid:
            signal.pause()
        children.append(pid)
except BlockingIOError:
    pass
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(works, len(children), before != own(), own())
"""


def test_forks_fail_beyond_the_bound_where_a_group_can_be_made() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    works, children, inside, group = process.communicate()[0].split()
    if works == "True":
        assert (inside, int(children)) == ("True", 19)
        assert Path(group).exists()
    else:  # not root, or the hierarchy is not to be written to: nothing is bounded, and nothing breaks
        assert (inside, int(children)) == ("False", 60)
    headcount.remove(process.pid)
    assert works == "False" or not Path(group).exists()


def test_a_group_that_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    left, alive = tmp_path / "pilothouse-999999999", tmp_path / f"pilothouse-{os.getppid()}"
    left.mkdir()
    alive.mkdir()
    assert headcount._made(tmp_path, 5) is None  # a plain folder counts nothing
    assert [path.name for path in tmp_path.iterdir()] == [alive.name]


def test_a_group_of_an_earlier_process_of_the_same_pid_is_taken_over(tmp_path: Path) -> None:
    own = tmp_path / f"pilothouse-{os.getpid()}"
    own.mkdir()
    (own / "pids.max").write_text("max")
    assert headcount._made(tmp_path, 5) == own
    assert (own / "pids.max").read_text() == "5"
