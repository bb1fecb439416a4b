"""The nursery: quick, single-threaded, private, and replaced when it dies."""

from __future__ import annotations

import errno
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed
from pilothouse.launch import handle, orphans
from pilothouse.launch.base import NURSERY_ENDED, Exit, Program
from pilothouse.launch.handle import start_nursery, sweep_folders
from pilothouse.launch.local import LocalLauncher, NurseryLauncher

HERE = str(Path(__file__).parent)
PATIENCE = 180
SERVER = """
import sys, time
from pathlib import Path
from pilothouse.config import Settings
from pilothouse.launch.base import Program
from pilothouse.launch.local import LocalLauncher
home, here = sys.argv[1:]
launcher = LocalLauncher(Settings(home=Path(home)), preload=[])
launcher.launch(Program("launchables:spawn", {"path": home + "/pid", "own_session": True, "stay": True},
                        environment={"PYTHONPATH": here}))
while not Path(home, "pid").exists():
    time.sleep(0.02)
print(launcher.nursery.pid, Path(home, "pid").read_text(), launcher.nursery.address, flush=True)
time.sleep(600)
"""


def program(target: str, **arguments: Any) -> Program:
    return Program(f"launchables:{target}", arguments, environment={"PYTHONPATH": HERE})


def eventually(true: Callable[[], Any], what: str = "it") -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < give_up, f"{what} has not happened"
        time.sleep(0.02)
    return answer


def gone(pid: int) -> bool:
    """For a moment what was killed and has given everything back may still be in the table of processes."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(Settings(home=tmp_path / "home", slots=2), preload=[])
    yield launcher
    launcher.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, int, Path]]:
    """A process with a launcher whose program has started another: (server, nursery, grandchild, socket)."""
    command = [sys.executable, "-c", SERVER, str(tmp_path), HERE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        nursery, grandchild, address = process.stdout.readline().split()
        yield process, int(nursery), int(grandchild), Path(address)
        process.kill()


@pytest.mark.slow
def test_with_all_libraries_loaded_the_nursery_has_one_thread_and_forks_quickly(tmp_path: Path) -> None:
    launcher = LocalLauncher(Settings(home=tmp_path / "home", slots=2))
    try:
        connection = NurseryLauncher(launcher.nursery.address)
        assert connection.status()["threads"] == 1
        assert {m for m in connection.status()["missing"] if not m.startswith("pilothouse")} == set()
        spent = []
        for _ in range(9):
            started = time.monotonic()
            assert launcher.launch(program("say", text="")).wait(PATIENCE) == Exit(code=0)
            spent.append(time.monotonic() - started)
        assert statistics.median(spent) < 1.0  # about 0.02 s on an idle machine; cold imports take 3 s
        fitted = launcher.launch(program("fit", path=str(tmp_path / "trees"))).wait(PATIENCE)
        assert (fitted, (tmp_path / "trees").read_text()) == (Exit(code=0), "5.0")
        connection.close()
    finally:
        launcher.close()


def test_a_missing_library_does_not_keep_the_nursery_from_starting(tmp_path: Path) -> None:
    launcher = LocalLauncher(Settings(home=tmp_path / "home"), preload=["no_such_library", "json"])
    try:
        connection = NurseryLauncher(launcher.nursery.address)
        assert connection.status()["missing"] == ["no_such_library"]
        connection.close()
        assert "no_such_library" in (tmp_path / "home" / "work" / "nursery.log").read_text()
    finally:
        launcher.close()


def test_light_programs_run_before_the_libraries_are_loaded_and_others_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "open"
    library = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)"
    (tmp_path / "slow_library.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    handle = start_nursery(Settings(home=tmp_path / "home"), preload=["slow_library"])
    connection = NurseryLauncher(handle.address)
    assert connection.launch(Program("builtins:print", light=True)).wait(PATIENCE) == Exit(code=0)
    assert "ready" not in (tmp_path / "home" / "work" / "nursery.log").read_text()
    gate.touch()
    assert connection.launch(Program("builtins:print")).wait(PATIENCE) == Exit(code=0)
    connection.close()
    handle.close()


def test_a_nursery_that_still_loads_its_libraries_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endless_library.py").write_text(
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'loads')!r}).touch(); time.sleep(600)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    handle = start_nursery(Settings(home=tmp_path / "home"), preload=["endless_library"])
    eventually((tmp_path / "loads").exists)
    [light] = psutil.Process(handle.pid).children()
    handle.close()
    assert handle._process.returncode == -signal.SIGTERM  # and not by SIGKILL, after some seconds
    eventually(lambda: gone(light.pid), "the end")


def test_the_socket_is_private(launcher: LocalLauncher) -> None:
    assert launcher.nursery.address.parent.stat().st_mode & 0o777 == 0o700


def test_nonsense_costs_only_the_connection_that_sent_it(launcher: LocalLauncher) -> None:
    running = launcher.launch(program("sleep"))
    for nonsense in (b"nonsense\n", b"[1]\n", b'{"op": "dance"}\n', b'{"op": "launch", "id": 1}\n'):
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(launcher.nursery.address))
            guest.sendall(nonsense)
            assert guest.recv(100) == b""
    assert running.poll() is None
    assert launcher.launch(program("say", text="")).wait(PATIENCE) == Exit(code=0)


def test_a_closed_connection_ends_only_its_own_programs(launcher: LocalLauncher) -> None:
    one, other = (NurseryLauncher(launcher.nursery.address) for _ in range(2))
    first, second = one.launch(program("sleep")), other.launch(program("sleep"))
    one.close()
    eventually(lambda: gone(first.pid), "the end")
    assert second.poll() is None
    other.close()


def test_a_killed_nursery_takes_everything_along_and_is_replaced(launcher: LocalLauncher, tmp_path: Path) -> None:
    process = launcher.launch(program("spawn", path=str(tmp_path / "pid"), own_session=True, stay=True))
    grandchild = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    first = launcher.nursery
    os.kill(first.pid, signal.SIGKILL)
    assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL, reason=NURSERY_ENDED)
    eventually(lambda: gone(process.pid), "the end")
    eventually(lambda: gone(grandchild), "the end")
    assert launcher.launch(program("say", text="")).wait(PATIENCE) == Exit(code=0)
    assert launcher.nursery.pid != first.pid
    assert not first.address.exists()


def test_a_killed_light_nursery_takes_everything_along_and_both_are_replaced(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    spawn = program("spawn", path=str(tmp_path / "pid"), own_session=True, stay=True)
    light, heavy = launcher.launch(replace(spawn, light=True)), launcher.launch(program("sleep"))
    grandchild = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    [nursery] = [child for child in psutil.Process(launcher.nursery.pid).children() if child.pid != heavy.pid]
    assert psutil.Process(light.pid).ppid() == nursery.pid
    nursery.kill()
    for process in (light, heavy):
        assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL, reason=NURSERY_ENDED)
    for pid in (light.pid, heavy.pid, grandchild):
        eventually(lambda pid=pid: gone(pid), "the end")
    for is_light in (True, False):
        again = launcher.launch(replace(program("say", text=""), light=is_light))
        assert again.wait(PATIENCE) == Exit(code=0)


@pytest.mark.parametrize("light", [False, True])
def test_who_launches_when_the_nursery_is_gone_hears_of_that_before_any_refusal(tmp_path: Path, light: bool) -> None:
    """A job process is ended by that: it must not take the refusal for a failure of its job."""
    handle, heard = start_nursery(Settings(home=tmp_path / "home"), preload=[]), list[str]()
    connection = NurseryLauncher(handle.address, on_lost=lambda: heard.append("lost"))
    handle.close()
    eventually(lambda: heard, "the loss")
    heard.clear()
    with pytest.raises(LaunchFailed):
        connection.launch(replace(program("sleep"), light=light))
    assert heard == ["lost"]


def test_a_nursery_that_cannot_be_started_is_a_launch_failure_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    runtime = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(handle, "_runtime_directory", lambda: runtime)
    monkeypatch.setattr(subprocess, "Popen", refused)
    before = psutil.Process().num_fds()
    with pytest.raises(LaunchFailed, match=r"cannot be started: Resource temporarily unavailable\."):
        start_nursery(Settings(home=tmp_path / "home"), preload=[])
    assert psutil.Process().num_fds() == before
    assert not runtime.exists()


def test_nothing_outlives_a_killed_server(server: tuple[subprocess.Popen[str], int, int, Path]) -> None:
    process, nursery, grandchild, address = server
    process.kill()
    process.wait()
    for pid in (nursery, grandchild):
        eventually(lambda pid=pid: gone(pid), "the end")
    eventually(lambda: not address.parent.exists(), "the removal of the socket's folder")


def test_a_server_killed_while_its_nursery_loads_leaves_no_socket_once_another_starts(tmp_path: Path) -> None:
    (tmp_path / "slow_library.py").write_text("import time; time.sleep(60)")
    start = """
import sys, time
from pathlib import Path
from pilothouse.config import Settings
from pilothouse.launch.handle import start_nursery
print(start_nursery(Settings(home=Path(sys.argv[1])), ["slow_library"]).address, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", start, str(tmp_path / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address = Path(process.stdout.readline().strip())
        process.kill()
    assert address.exists()
    LocalLauncher(Settings(home=tmp_path / "home"), preload=[]).close()
    assert not address.parent.exists()


def test_folders_that_are_no_dead_nursery_s_are_not_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as short:  # tmp_path may be too long for a socket
        place = Path(short)
        monkeypatch.setattr(tempfile, "tempdir", short)
        empty, dead, foreign = (place / f"pilothouse-{name}" for name in ("empty000", "dead0000", "mine-not-random"))
        for folder in (empty, dead, foreign):
            folder.mkdir()
        for folder in (dead, foreign):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(folder / "nursery.sock"))
        assert dead in sweep_folders()
        assert sorted(place.iterdir()) == [empty, foreign]


def test_what_a_server_and_nursery_killed_together_left_is_ended_by_the_next_server(
    server: tuple[subprocess.Popen[str], int, int, Path], tmp_path: Path
) -> None:
    process, nursery, grandchild, address = server
    os.kill(process.pid, signal.SIGSTOP)  # so that it can't clean up between the two
    os.kill(nursery, signal.SIGKILL)
    process.kill()
    process.wait()
    assert not gone(grandchild)
    assert address.exists()
    LocalLauncher(Settings(home=tmp_path / "other"), preload=[]).close()
    eventually(lambda: gone(grandchild), "the end")
    assert not address.parent.exists()


def test_what_belongs_to_a_live_server_is_left_alone(server: tuple[subprocess.Popen[str], int, int, Path]) -> None:
    _, nursery, grandchild, address = server
    orphans.sweep_dead()
    assert address.parent not in sweep_folders()
    assert address.exists()
    assert not gone(nursery)
    assert not gone(grandchild)


def test_a_nursery_that_is_not_there_is_a_launch_failure(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="does not answer"):
        NurseryLauncher(tmp_path / "nothing.sock")
