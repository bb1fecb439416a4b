"""Small files that a killed process leaves whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pilothouse.whole_file import write_whole

WRITER = """
import itertools, sys
from pathlib import Path
from pilothouse.whole_file import write_whole

print(flush=True)
for n in itertools.count():
    write_whole(Path(sys.argv[1]), f"{n % 10}" * 100_000)
"""


def test_it_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "place"
    for text in ("one", ""):
        write_whole(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_is_killed_while_writing_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "place"
    write_whole(path, "0" * 100_000)
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            writer.kill()
        text = path.read_text()
        assert len(text) == 100_000
        assert len(set(text)) == 1
