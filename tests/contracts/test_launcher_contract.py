"""What every launcher promises: programs run, their ends are told, limits hold, and nothing outlives its owner."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed
from pilothouse.launch.base import Exit, Launcher, Process, Program
from pilothouse.launch.local import LocalLauncher

HERE = str(Path(__file__).parent)
PATIENCE = 180


def program(target: str, **arguments: Any) -> Program:
    return Program(f"launchables:{target}", arguments, environment={"PYTHONPATH": HERE})


def limited(target: str, *, memory: int | None = None, seconds: float | None = None, **arguments: Any) -> Program:
    return Program(
        f"launchables:{target}",
        arguments,
        environment={"PYTHONPATH": HERE},
        memory_limit=memory,
        time_limit=seconds,
    )


def eventually(true: Callable[[], Any], what: str = "it") -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < give_up, f"{what} has not happened"
        time.sleep(0.02)
    return answer


def text_of(path: Path) -> str:
    return eventually(lambda: path.exists() and path.read_text(), f"{path.name}")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class AllLight:
    """A launcher whose programs all start as light ones."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def launch(self, program: Program) -> Process:
        return self._launcher.launch(replace(program, light=True))

    def close(self) -> None:
        self._launcher.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = LocalLauncher(Settings(home=tmp_path_factory.mktemp("home"), slots=2), preload=["numpy"])
    yield launcher
    launcher.close()


@pytest.fixture(scope="module", params=["local", "light"])
def launcher(request: pytest.FixtureRequest, local: Launcher) -> Launcher:
    return AllLight(local) if request.param == "light" else local


class TestLauncher:
    def test_a_target_that_returns_ends_with_code_0(self, launcher: Launcher) -> None:
        assert launcher.launch(program("say", text="hello")).wait(PATIENCE) == Exit(code=0)

    def test_both_streams_are_appended_to_the_log(self, launcher: Launcher, tmp_path: Path) -> None:
        log = tmp_path / "new" / "folder" / "log.txt"
        for text in ("first", "second"):
            run = Program("launchables:say", {"text": text}, log=log, environment={"PYTHONPATH": HERE})
            launcher.launch(run).wait(PATIENCE)
        assert sorted(log.read_text().split()) == ["FIRST", "SECOND", "first", "second"]

    def test_an_exit_code_is_told(self, launcher: Launcher) -> None:
        assert launcher.launch(program("leave", code=7)).wait(PATIENCE) == Exit(code=7)

    def test_an_exception_is_code_1_with_its_traceback_in_the_log(self, launcher: Launcher, tmp_path: Path) -> None:
        log = tmp_path / "log"
        run = Program("launchables:fail", log=log, environment={"PYTHONPATH": HERE})
        assert launcher.launch(run).wait(PATIENCE) == Exit(code=1)
        assert "ValueError: a sentence to find in the log" in log.read_text()

    def test_a_target_that_does_not_exist_is_code_1(self, launcher: Launcher) -> None:
        assert launcher.launch(Program("nowhere.at_all:run")).wait(PATIENCE) == Exit(code=1)

    def test_a_fatal_signal_is_told(self, launcher: Launcher) -> None:
        ended = launcher.launch(program("die", number=int(signal.SIGSEGV))).wait(PATIENCE)
        assert ended is not None
        assert (ended.code, ended.signal) == (None, signal.SIGSEGV)
        assert ended.describe() == "was killed by signal 11 (SIGSEGV)"

    def test_poll_and_a_short_wait_give_none_while_it_runs(self, launcher: Launcher) -> None:
        process = launcher.launch(program("sleep"))
        assert process.poll() is None
        assert process.wait(0.01) is None
        process.kill()
        assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL)
        assert process.poll() == Exit(signal=signal.SIGKILL)

    def test_terminate_lets_the_program_end_itself(self, launcher: Launcher, tmp_path: Path) -> None:
        process = launcher.launch(program("on_term", path=str(tmp_path / "ready")))
        eventually((tmp_path / "ready").exists)
        process.terminate()
        assert process.wait(PATIENCE) == Exit(code=42)

    def test_terminate_right_after_the_launch_is_not_lost(self, launcher: Launcher) -> None:
        for _ in range(10):
            process = launcher.launch(program("sleep"))
            process.terminate()
            assert process.wait(PATIENCE) == Exit(signal=signal.SIGTERM)

    def test_signals_after_the_end_do_nothing(self, launcher: Launcher) -> None:
        process = launcher.launch(program("say", text="hello"))
        process.wait(PATIENCE)
        process.terminate()
        process.kill()
        assert process.poll() == Exit(code=0)

    def test_a_log_that_cannot_be_written_refuses_the_launch(self, launcher: Launcher, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LaunchFailed, match="could not be started"):
            launcher.launch(Program("launchables:say", {"text": ""}, log=tmp_path / "file" / "log"))

    def test_programs_run_side_by_side_and_keep_apart(self, launcher: Launcher, tmp_path: Path) -> None:
        runs = [launcher.launch(program("surroundings", path=str(tmp_path / f"{i}"))) for i in range(8)]
        assert all(run.wait(PATIENCE) == Exit(code=0) for run in runs)
        facts = [json.loads((tmp_path / f"{i}").read_text()) for i in range(8)]
        assert [fact["pid"] for fact in facts] == [run.pid for run in runs]
        assert len({fact["random"] for fact in facts}) == 8
        assert len({fact.get("numpy", fact["random"]) for fact in facts}) == 8


class TestSurroundings:
    def facts(self, launcher: Launcher, tmp_path: Path, **more: Any) -> dict[str, Any]:
        environment = {"PYTHONPATH": HERE, "LAUNCHER_TEST": "seen"}
        path = tmp_path / "facts"
        run = Program("launchables:surroundings", {"path": str(path)}, environment=environment, **more)
        assert launcher.launch(run).wait(PATIENCE) == Exit(code=0)
        return json.loads(path.read_text())

    def test_a_program_leads_its_own_session_and_group(self, launcher: Launcher, tmp_path: Path) -> None:
        facts = self.facts(launcher, tmp_path)
        assert facts["session"] == facts["group"] == facts["pid"]

    def test_a_program_has_its_environment_and_niceness(self, launcher: Launcher, tmp_path: Path) -> None:
        facts = self.facts(launcher, tmp_path, nice=3)
        assert facts["variable"] == "seen"
        assert facts["nice"] == min(19, os.nice(0) + 3)  # the kernel knows none above 19

    def test_a_program_inherits_no_descriptor_and_no_blocked_signal(self, launcher: Launcher, tmp_path: Path) -> None:
        facts = self.facts(launcher, tmp_path)
        assert facts["descriptors"] == []
        assert facts["blocked"] == []
        assert facts["stdin"] == os.devnull


class TestLimits:
    def test_a_program_over_its_time_limit_is_killed_with_a_reason(self, launcher: Launcher) -> None:
        ended = launcher.launch(limited("sleep", seconds=0.5)).wait(PATIENCE)
        assert ended == Exit(signal=signal.SIGKILL, reason="exceeded its time limit of 0.5 s")

    def test_a_program_over_its_memory_limit_is_killed_with_a_reason(self, launcher: Launcher) -> None:
        ended = launcher.launch(limited("fill", size=600 * 2**20, memory=400 * 2**20)).wait(PATIENCE)
        assert ended is not None
        assert ended.signal == signal.SIGKILL
        assert ended.reason is not None
        assert ended.reason.startswith("exceeded its memory limit of 400 MiB (it used ")

    def test_the_memory_of_descendants_counts(self, launcher: Launcher) -> None:
        run = Program(
            "subprocess:run",
            {"args": ["python3", "-c", "x = bytearray(b'x') * 600 * 2**20; import time; time.sleep(600)"]},
            memory_limit=400 * 2**20,
        )
        ended = launcher.launch(run).wait(PATIENCE)
        assert ended is not None
        assert "memory limit" in (ended.reason or "")

    def test_memory_that_processes_share_counts_once(self, launcher: Launcher) -> None:
        run = limited("share", size=150 * 2**20, memory=400 * 2**20)
        assert launcher.launch(run).wait(PATIENCE) == Exit(code=0)

    def test_memory_mapped_files_do_not_count(self, launcher: Launcher, tmp_path: Path) -> None:
        size = 500 * 2**20
        with (tmp_path / "data").open("wb") as stream:
            stream.truncate(size)
        run = limited("map_file", path=str(tmp_path / "data"), size=size, memory=400 * 2**20)
        assert launcher.launch(run).wait(PATIENCE) == Exit(code=0)

    def test_a_program_within_its_limits_is_left_alone(self, launcher: Launcher) -> None:
        run = limited("fill", size=2**20, memory=2**30, seconds=600)
        process = launcher.launch(run)
        assert process.wait(1) is None
        process.kill()
        assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL)


class TestNoOrphans:
    @pytest.mark.parametrize("own_session", [False, True])
    def test_what_a_program_started_ends_with_it(self, launcher: Launcher, tmp_path: Path, own_session: bool) -> None:
        run = program("spawn", path=str(tmp_path / "pid"), own_session=own_session, stay=False)
        assert launcher.launch(run).wait(PATIENCE) == Exit(code=0)
        grandchild = int(text_of(tmp_path / "pid"))
        eventually(lambda: gone(grandchild), "the grandchild's end")

    @pytest.mark.parametrize("own_session", [False, True])
    def test_kill_reaches_descendants(self, launcher: Launcher, tmp_path: Path, own_session: bool) -> None:
        process = launcher.launch(program("spawn", path=str(tmp_path / "pid"), own_session=own_session, stay=True))
        grandchild = int(text_of(tmp_path / "pid"))
        process.kill()
        assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL)
        eventually(lambda: gone(grandchild), "the grandchild's end")

    def test_a_daemon_does_not_escape(self, launcher: Launcher, tmp_path: Path) -> None:
        process = launcher.launch(program("daemonise", path=str(tmp_path / "pid")))
        daemon = int(text_of(tmp_path / "pid"))
        assert not gone(daemon)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE) == Exit(signal=signal.SIGKILL)
        eventually(lambda: gone(daemon), "the daemon's end")

    def test_a_program_killed_from_outside_takes_what_it_launched_along(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        process = launcher.launch(program("launch_another", path=str(tmp_path / "pid")))
        trial = int(text_of(tmp_path / "pid"))
        assert not gone(trial)
        os.kill(process.pid, signal.SIGKILL)
        eventually(lambda: gone(trial), "the trial's end")

    def test_close_ends_everything_and_then_refuses(self, tmp_path: Path) -> None:
        launcher = LocalLauncher(Settings(home=tmp_path / "home", slots=1), preload=[])
        grandchild = tmp_path / "pid"
        run = launcher.launch(program("spawn", path=str(grandchild), own_session=True, stay=True))
        pids = [run.pid, int(text_of(grandchild)), launcher.nursery.pid]
        launcher.close()
        assert all(gone(pid) for pid in pids)
        assert not launcher.nursery.address.parent.exists()
        launcher.close()
        with pytest.raises(LaunchFailed, match="closed"):
            launcher.launch(program("say", text=""))
