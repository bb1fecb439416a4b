"""A process lets go of the library pages that its imports have read, and goes on as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.launch import pages

_PROGRAM = """
import lightgbm, numpy, scipy.linalg
from pilothouse.launch import pages

def resident():
    with open("/proc/self/smaps_rollup") as lines:
        found = {line.split()[0]: int(line.split()[1]) << 10 for line in list(lines)[1:]}
    return found["Rss:"] - found["Anonymous:"]

before = resident()
freed = pages.let_go()
after = resident()
square = numpy.eye(50) * 3
assert numpy.allclose(scipy.linalg.inv(square @ square), numpy.eye(50) / 9)
table = lightgbm.Dataset(numpy.arange(200.0).reshape(-1, 1), numpy.arange(200.0) % 2)
lightgbm.train({"verbosity": -1, "num_threads": 1}, table, 3)
print(before, after, freed)
"""


@pytest.fixture(scope="module")
def sizes() -> list[int]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_most_of_what_was_read_of_files_is_let_go(sizes: list[int]) -> None:
    before, after, _ = sizes
    assert after < before / 2


def test_it_says_how_much_that_was(sizes: list[int]) -> None:
    before, after, freed = sizes
    assert before / 2 < freed <= before
    assert after < before - freed / 2


def mapping(start: int, rights: str, file: str, **sizes: int) -> str:
    """A page's mapping as the kernel tells of it; sizes are kB."""
    told = {"Size": 4, "Rss": 4, "Anonymous": 0, "Swap": 0, "SwapPss": 0} | sizes
    rows = [f"{start:x}-{start + 4096:x} {rights} 00000000 08:01 7    {file}"]
    return "\n".join([*rows, *(f"{name}:  {size} kB" for name, size in told.items()), "VmFlags: rd mr mw me", ""])


def test_only_what_can_be_read_from_its_file_again_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        mapping(0x1000, "r-xp", "/lib/code.so"),
        mapping(0x3000, "r--p", "/lib/relocated.so", Anonymous=4),
        mapping(0x5000, "r--p", "/lib/swapped.so", Rss=4, Swap=4),
        mapping(0x7000, "rw-p", "/lib/written.so"),
        mapping(0x9000, "r--p", "[vvar]"),
        mapping(0xB000, "r--p", "/lib/unread.so", Rss=0),
        mapping(0xD000, "r--p", "/lib/constants.so"),
    ]
    smaps = tmp_path / "smaps"
    smaps.write_text("".join(told))
    monkeypatch.setattr(pages, "_SMAPS", smaps)
    assert list(pages._clean()) == [(0x1000, 4096, 4096), (0xD000, 4096, 4096)]
