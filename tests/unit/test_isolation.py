"""What a wrapped program sees, as real processes see it where this machine lets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.errors import LaunchFailed
from pilothouse.launch import isolation, unshared
from pilothouse.launch.isolation import Cell

LEVELS = ["bubblewrap", "unshare"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    try:
        isolation.isolation(request.param)
    except LaunchFailed as error:
        pytest.skip(error.message)
    return str(request.param)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("base/tmp", "home/environments/one", "home/secrets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/secrets/key").write_text("secret")
    (tmp_path / "home/environments/one/library").write_text("shown")
    return tmp_path


def run(level: str, cell: Cell, script: str) -> str:
    argv = isolation.wrapped(["/bin/sh", "-c", script], cell, "/opt/ml", level)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return f"{done.stdout}{done.stderr}".strip()


def test_the_base_is_the_root_and_the_home_is_hidden_but_for_what_is_shown(level: str, places: Path) -> None:
    home = places / "home"
    cell = Cell(places / "base", (home,), readable=(home / "environments/one",))
    script = f"pwd; echo made > made; find {home} -type f; cat {home}/environments/one/library"
    assert run(level, cell, script).splitlines() == ["/opt/ml", f"{home}/environments/one/library", "shown"]
    assert (places / "base/made").read_text() == "made\n"
    assert (home / "secrets/key").read_text() == "secret"


def test_nothing_that_holds_a_hidden_folder_is_shown_again(
    level: str, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(places), str(places / "home"), "/tmp"])
    cell = Cell(places / "base", (places / "home",))
    assert run(level, cell, f"find {places}/home -type f") == ""


def test_only_what_is_writable_can_be_written(level: str, places: Path) -> None:
    one = places / "home/environments/one"
    assert run(level, Cell(places / "base", (places / "home",), writable=(one,)), f"echo x > {one}/y") == ""
    assert (one / "y").exists()
    if level == "bubblewrap":
        said = run(level, Cell(places / "base", (places / "home",), readable=(one,)), f"echo x > {one}/z")
        assert "Read-only file system" in said


def test_a_program_has_no_capabilities_and_sees_no_other_process(level: str, places: Path) -> None:
    script = "grep CapEff /proc/self/status; ls /proc | grep -c '^[0-9]'"
    capabilities, processes = run(level, Cell(places / "base", (places / "home",)), script).splitlines()
    assert int(capabilities.split()[1], 16) == 0
    assert int(processes) < 8


def test_without_a_network_there_is_nobody_to_talk_to(level: str, places: Path) -> None:
    cell = Cell(places / "base", (places / "home",), network=False)
    assert run(level, cell, "tail -n +3 /proc/net/dev | grep -vc lo:") == "0"


def test_without_a_network_a_program_can_talk_to_itself(level: str, places: Path) -> None:
    cell = Cell(places / "base", (places / "home",), network=False)
    talk = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 9)"
    assert run(level, cell, f'{sys.executable} -I -S -c "{talk}; print(1)"') == "1"


def test_one_of_several_hosts_has_its_name_and_knows_the_others(level: str, places: Path) -> None:
    table = places / "home/secrets/hosts"
    table.write_text("127.9.9.1\talgo-1\n")
    cell = Cell(places / "base", (places / "home",), hostname="algo-2", table=table)
    assert run(level, cell, "cat /proc/sys/kernel/hostname /etc/hosts").splitlines() == ["algo-2", "127.9.9.1\talgo-1"]
    assert Path("/proc/sys/kernel/hostname").read_text().strip() != "algo-2"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_comes_through(level: str, places: Path, script: str, code: int) -> None:
    cell = Cell(places / "base", (places / "home",))
    argv = isolation.wrapped(["/bin/sh", "-c", script], cell, "/opt/ml", level)
    assert subprocess.run(argv, capture_output=True, timeout=60).returncode == code


def test_no_mount_is_left_behind(level: str, places: Path) -> None:
    one = places / "home/environments/one"
    run(level, Cell(places / "base", (places / "home",), readable=(one,)), "true")
    assert str(places) not in Path("/proc/self/mounts").read_text()
    assert (one / "library").exists()


def test_a_level_that_is_asked_for_and_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_bubblewrap", lambda: "bwrap is not installed")
    monkeypatch.setattr(isolation, "_unshare", lambda: "it is not permitted")
    with pytest.raises(LaunchFailed, match="asks for bubblewrap, which does not work here: bwrap is not installed"):
        isolation.isolation("bubblewrap")
    found = isolation.isolation()
    assert found.level == "process"
    assert "bwrap is not installed" in found.meaning
    assert "it is not permitted" in found.meaning


def test_a_folder_that_the_mounts_cannot_name_is_refused() -> None:
    with pytest.raises(ValueError, match="white space or a colon"):
        unshared.wrapped(["true"], Path("/b"), "/", hidden=[Path("/a b")], shown=(), network=True)
