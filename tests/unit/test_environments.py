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
from pilothouse.training.environments import Environment


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


def folder_of(tmp_path: Path, job: str, text: str) -> Path:
    code = tmp_path / job / "ml" / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "mine-1.0.whl").touch()
    (code / "requirements.txt").write_text(text)
    return Environment(tmp_path / "environments", code / "requirements.txt", tmp_path / job).folder


@pytest.mark.parametrize(
    "text",
    [
        "numpy\nscipy>=1; python_version > '3.8'  # see docs/why.md\n",
        "torch --hash=sha256:0\n--find-links https://example.org/whl/torch.html\n--pre\n",
        "--index-url https://example.org/simple\nrequests[socks]==2.0\n",
        "thing @ https://example.org/thing-1.0.whl\n-e git+https://example.org/thing.git\n",
        "",
    ],
)
def test_jobs_with_the_same_requirements_share_an_environment(tmp_path: Path, text: str) -> None:
    assert folder_of(tmp_path, "one", text) == folder_of(tmp_path, "two", text)
    assert folder_of(tmp_path, "one", text).parent == tmp_path / "environments"


@pytest.mark.parametrize(
    "line",
    ["-r base.txt", "-rbase.txt", "--requirement=base.txt", "-c limits.txt", "-e .", ".", "./lib[all]", "mine-1.0.whl",
     "lib/mine-1.0.whl", "--find-links wheels", "mine @ file:///opt/ml/code/mine-1.0.whl", "/opt/ml/input/data/a.whl"],
)  # fmt: skip
def test_requirements_that_name_other_files_have_an_environment_of_their_jobs_own(tmp_path: Path, line: str) -> None:
    text = f"numpy\n  {line}\n"
    folders = [folder_of(tmp_path, job, text) for job in ("one", "two", "one")]
    assert folders == [tmp_path / job / "environment" for job in ("one", "two", "one")]


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
