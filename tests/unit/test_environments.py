"""Virtual environments for requirements: who is killed while one is made leaves nothing that the next trusts."""

from __future__ import annotations

import errno
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pilothouse.training import environments


def test_pip_keeps_others_out_when_whoever_started_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def killed(*_: Any, pass_fds: tuple[int, ...] = (), **__: Any) -> None:
        begun.append(start([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=pass_fds))
        raise KeyboardInterrupt

    monkeypatch.setattr("venv.EnvBuilder.create", lambda _, folder: (folder / "bin").mkdir(parents=True))
    monkeypatch.setattr(environments, "_show_what_is_here", lambda _: None)
    monkeypatch.setattr(environments.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        environments.main(tmp_path, tmp_path / "requirements.txt")
    [pip] = begun
    with pip, (tmp_path / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pip.kill()
        pip.wait()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_one_that_was_half_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv" / "half").mkdir(parents=True)
    monkeypatch.setattr("venv.EnvBuilder.create", lambda _, folder: (folder / "bin").mkdir(parents=True))
    monkeypatch.setattr(environments, "_show_what_is_here", lambda _: None)
    for code, ready in ((1, False), (0, True)):
        monkeypatch.setattr(
            environments.subprocess, "run", lambda *_, code=code, **__: subprocess.CompletedProcess([], code)
        )
        assert environments.main(tmp_path, tmp_path / "requirements.txt") == code
        assert (tmp_path / "ready").exists() is ready
        assert [path.name for path in (tmp_path / "venv").iterdir()] == ["bin"]


@pytest.mark.parametrize("writes", [2, 1000])
def test_one_that_somebody_still_writes_to_is_removed_when_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    (tmp_path / "venv").mkdir()
    remove, written = shutil.rmtree, iter(range(writes))

    def written_to(folder: Path) -> None:
        if next(written, None) is not None:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        remove(folder)

    monkeypatch.setattr(environments, "_PAUSE", 0.0)
    monkeypatch.setattr(environments.shutil, "rmtree", written_to)
    if writes > environments._TRIES:
        with pytest.raises(OSError, match="not empty"):
            environments._remove(tmp_path / "venv")
    else:
        environments._remove(tmp_path / "venv")
    assert (tmp_path / "venv").exists() is (writes > environments._TRIES)
