"""A process lets go of the library pages that its imports have read, and goes on as before."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
