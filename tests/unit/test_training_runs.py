"""A run of a job's programs as its job process sees it: what is taken over after a crash, and what hosts share."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse import volumes
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.config import Settings
from pilothouse.errors import LaunchFailed, PilothouseError, S3Error, ServiceUnavailable, StoreAway
from pilothouse.launch import engine
from pilothouse.launch.base import Exit, Program
from pilothouse.launch.slots import memory_share
from pilothouse.training import commands
from pilothouse.training import runs as runs_module
from pilothouse.training.instances import Instance, instances
from pilothouse.training.run import Run
from pilothouse.training.runs import Runs
from pilothouse.training.seal import at_work


class Heard:
    """A record that only listens."""

    name = "one"

    def __init__(self) -> None:
        self.row = SimpleNamespace(arn="arn:one", created_at=0.0, state={})
        self.points: list[tuple[str, float, float]] = []
        self.lines: list[tuple[str, Any]] = []

    def measured(self, *point: Any) -> None:
        self.points.append(point)

    def metrics(self) -> dict[str, tuple[float, float]]:
        return {name: (value, at) for name, value, at in self.points}

    def logged(self, stream: str) -> int:
        return sum(name == stream for name, _ in self.lines)

    def log(self, stream: str, lines: list[Any]) -> None:
        self.lines += [(stream, line) for line in lines]


class Running:
    """A process that ends when it is told to, or by `exit`."""

    def __init__(self, exit: Exit | None = None) -> None:
        self.exit = exit
        self.was_asked = False

    def wait(self, timeout: float | None = None) -> Exit | None:
        return self.exit

    def terminate(self) -> None:
        self.was_asked, self.exit = True, Exit(code=0)

    def kill(self) -> None:
        self.terminate()


def spec(count: int, image: str = "pilothouse/script:1", type: str = "ml.m5.large") -> TrainingJob:
    return TrainingJob.of(
        {
            "TrainingJobName": "one",
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "HyperParameters": {"sagemaker_program": "t.py", "sagemaker_submit_directory": "s3://b/s.tar.gz"},
            "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
            "ResourceConfig": {"InstanceType": type, "InstanceCount": count, "VolumeSizeInGB": 1},
        }
    )


def ends(folder: Path, host: str, **changes: Any) -> None:
    """Lets the program of `host` have ended."""
    (folder / host).mkdir(parents=True, exist_ok=True)
    end = {"code": 0, "signal": None, "cut": None, "words": [], "seconds": 2.0, "at": 5.0, **changes}
    (folder / host / "end.json").write_text(json.dumps(end))
    (folder / host / "seconds").write_text("2.0")


def says(folder: Path, host: str, *events: list[Any]) -> None:
    (folder / host / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def laid_out(count: int, tmp_path: Path) -> tuple[Instance, ...]:
    made = instances(spec(count), "arn:one", tmp_path)
    for each in made:
        each.lay_out(spec(count))
    return made


@pytest.mark.parametrize(("code", "status"), [(0, "Completed"), (3, "Failed")])
def test_a_finished_container_is_judged_without_its_engine(
    code: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise LaunchFailed("There is no engine any more.")

    monkeypatch.setattr(engine, "engine", gone)
    job, record = SimpleNamespace(settings=Settings(launcher="docker")), Heard()
    folder = tmp_path / "run-1"
    ends(folder, "algo-1", code=code, shown="me/image:1 train", words=["bad rows"])
    says(folder, "algo-1", [4.0, "acc", 0.5], [4.5, "done"])
    runs = Runs(job, spec(1, "me/image:1"), record, laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    assert runs.ended()
    outcome = runs.run(lambda: False, [], None)
    assert (outcome.status, outcome.seconds) == (status, 2.0)
    assert outcome.metrics == {"acc": (0.5, 4.0)}
    assert code == 0 or 'ErrorMessage "bad rows"\nCommand "me/image:1 train"' in (outcome.reason or "")


def test_a_container_of_a_killed_run_has_ended_before_anything_is_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" $(ls {tmp_path}/run-1/algo-1) >> {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setattr(engine, "engine", lambda: engine.Engine("docker", str(program), "27.1"))
    job: Any = SimpleNamespace(settings=Settings(home=tmp_path, launcher="docker"))
    runs = Runs(job, spec(1, "me/image:1"), Heard(), laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    assert not runs.ended()
    assert not (tmp_path / "told").exists()
    (tmp_path / "run-1" / "algo-1").mkdir(parents=True)
    assert not runs.ended()
    assert re.fullmatch(r"rm --force pilothouse-\w+-algo-1 lock sealed\n", (tmp_path / "told").read_text())


def test_a_run_is_taken_over_only_if_every_host_had_ended(tmp_path: Path) -> None:
    folder, made = tmp_path / "run-1", laid_out(2, tmp_path)
    ends(folder, "algo-1")
    run = Run(folder, made, Heard())  # type: ignore[arg-type]
    assert not run.is_whole
    ends(folder, "algo-2")
    assert run.is_whole


def test_who_still_works_in_an_earlier_run_is_waited_for_before_that_is_judged(tmp_path: Path) -> None:
    folder, found = tmp_path / "run-1", list[bool]()
    runs = Runs(SimpleNamespace(), spec(1), Heard(), laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    judge = threading.Thread(target=lambda: found.append(runs.ended()))
    (folder / "algo-1").mkdir(parents=True)
    with at_work(folder / "algo-1"):
        judge.start()
        judge.join(0.1)
        assert not found
        ends(folder, "algo-1")
    judge.join()
    assert found == [True]


def test_what_came_of_the_programs_is_told_the_same_by_every_later_process(tmp_path: Path) -> None:
    made, folder = laid_out(1, tmp_path), tmp_path / "run-1"
    ends(folder, "algo-1", code=3)
    says(folder, "algo-1", [4.0, "acc", 0.5])

    def told() -> tuple[Any, list[Any]]:
        heard: list[Any] = []
        runs = Runs(SimpleNamespace(), spec(1), Heard(), made, tmp_path, None)  # type: ignore[arg-type]
        return runs.run(lambda: False, [], lambda *point: heard.append(point)), heard

    first = told()
    (folder / "algo-1" / "end.json").unlink()
    assert told()[0].reason == first[0].reason
    assert told()[1] == first[1] == [("acc", 0.5, 4.0)]


def test_each_line_is_logged_once_whoever_is_killed(tmp_path: Path) -> None:
    made, folder, record = laid_out(1, tmp_path), tmp_path / "run-1", Heard()
    ends(folder, "algo-1")
    says(folder, "algo-1", [1.0, "one"], [1.0, "acc", 0.5], [2.0, "two"])
    Run(folder, made, record).pass_on(None)  # type: ignore[arg-type]
    with (folder / "algo-1" / "events.jsonl").open("a") as events:
        events.write('[3.0, "three"]\n[3.0, "acc", 0.7]\n')
    heard: list[Any] = []
    runs = Runs(SimpleNamespace(), spec(1), record, made, tmp_path, None)  # type: ignore[arg-type]
    runs.run(lambda: False, [], lambda *point: heard.append(point))
    assert [line for _, (_, line) in record.lines] == ["one", "two", "three"]
    assert heard == [("acc", 0.5, 1.0), ("acc", 0.7, 3.0)]


def test_the_last_checkpoints_are_sent_by_whoever_takes_a_run_over(tmp_path: Path) -> None:
    made, pushes = laid_out(1, tmp_path), []
    ends(tmp_path / "run-1", "algo-1")
    checkpoints: Any = SimpleNamespace(push=lambda: pushes.append(1))
    Runs(SimpleNamespace(), spec(1), Heard(), made, tmp_path, None).run(lambda: False, [checkpoints], None)  # type: ignore[arg-type]
    assert pushes == [1]


@pytest.mark.parametrize(
    ("seconds", "secondary"), [("1000000", "MaxRuntimeExceeded"), ("1", "Stopped")], ids=["late", "stopped"]
)
def test_a_killed_program_that_has_no_time_to_begin_again_keeps_what_it_measured(
    seconds: str, secondary: str, tmp_path: Path
) -> None:
    @contextmanager
    def no_slot(_: Any) -> Iterator[bool]:
        yield False

    (tmp_path / "run-1" / "algo-1").mkdir(parents=True)
    (tmp_path / "run-1" / "algo-1" / "seconds").write_text(seconds)
    says(tmp_path / "run-1", "algo-1", [1.0, "acc", 0.5], [2.0, "acc", 0.7])
    heard: list[tuple[str, float, float]] = []
    runs = Runs(SimpleNamespace(slot=no_slot), spec(1), Heard(), laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    outcome = runs.run(lambda: True, [], lambda *point: heard.append(point))
    assert (outcome.status, outcome.secondary, outcome.metrics) == ("Stopped", secondary, {"acc": (0.7, 2.0)})
    assert heard == [("acc", 0.5, 1.0), ("acc", 0.7, 2.0)]


def test_a_run_that_cannot_be_followed_any_more_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, record = Running(), Heard()

    @contextmanager
    def slot(_: Any) -> Iterator[bool]:
        yield True

    def away(*_: Any) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr(Heard, "enter", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(Heard, "publish", away, raising=False)
    job = SimpleNamespace(
        settings=Settings(home=tmp_path, isolation="process"), slot=slot, start=lambda _: program, objects=None
    )
    (tmp_path / "run-7").mkdir()
    runs = Runs(job, spec(1), record, laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="full"):
        runs.run(lambda: False, [], None)
    assert program.was_asked
    assert (tmp_path / "run-8" / "algo-1").is_dir()


def test_a_program_goes_on_while_the_store_is_away_and_none_of_its_lines_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, record, calls = Running(), Heard(), count()

    @contextmanager
    def slot(_: Any) -> Iterator[bool]:
        yield True

    def start(_: Program) -> Running:
        says(tmp_path / "run-1", "algo-1", [1.0, "one"], [1.0, "acc", 0.5], [2.0, "two"])
        return program

    def away_at_first(*_: Any, **__: Any) -> None:
        if (call := next(calls)) < 6:
            raise StoreAway
        if call == 12:
            ends(tmp_path / "run-1", "algo-1")
            program.exit = Exit(code=0)

    def log(self: Heard, stream: str, lines: list[Any]) -> None:
        away_at_first()
        self.lines += [(stream, line) for line in lines]

    monkeypatch.setattr(runs_module, "_FIRST_LOOK", 0.01)
    monkeypatch.setattr(runs_module, "_LOOK", 0.01)
    monkeypatch.setattr(Heard, "enter", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(Heard, "publish", away_at_first, raising=False)
    monkeypatch.setattr(Heard, "log", log)
    job = SimpleNamespace(settings=Settings(home=tmp_path, isolation="process"), slot=slot, start=start, objects=None)
    runs = Runs(job, spec(1), record, laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    outcome = runs.run(lambda: False, [], None)
    assert not program.was_asked
    assert (outcome.status, outcome.metrics) == ("Completed", {"acc": (0.5, 1.0)})
    assert [line for _, (_, line) in record.lines] == ["one", "two"]


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [(ServiceUnavailable("It is away."), True), (S3Error("NoSuchBucket", "There is none.", 404), False)],
)
def test_a_program_goes_on_while_its_checkpoints_cannot_be_sent_for_no_fault_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: PilothouseError, goes_on: bool
) -> None:
    program, record, logged, pushes = Running(), Heard(), [], []  # type: ignore[var-annotated]

    @contextmanager
    def slot(_: Any) -> Iterator[bool]:
        yield True

    def push() -> None:
        pushes.append(1)
        if len(pushes) < 3:
            raise error
        ends(tmp_path / "run-1", "algo-1")
        program.exit = Exit(code=0)

    monkeypatch.setattr("pilothouse.training.runs._CHECKPOINTS_EVERY", 0.0)
    monkeypatch.setattr(Heard, "enter", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(Heard, "publish", lambda _: None, raising=False)
    job = SimpleNamespace(
        settings=Settings(home=tmp_path, isolation="process"),
        slot=slot,
        start=lambda _: program,
        objects=None,
        log=logged.append,
    )
    runs = Runs(job, spec(1), record, laid_out(1, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    checkpoints: Any = SimpleNamespace(push=push)
    if not goes_on:
        with pytest.raises(S3Error, match="There is none"):
            runs.run(lambda: False, [checkpoints], None)
        return
    assert runs.run(lambda: False, [checkpoints], None).status == "Completed"
    assert logged == ["The checkpoints of one are sent later. It is away."] * 2


def test_metrics_of_hosts_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    folder, record = tmp_path / "run-1", Heard()
    for host, times in (("algo-1", (1.0, 4.0)), ("algo-2", (2.0, 3.0))):
        ends(folder, host)
        says(folder, host, *[[at, "loss", at] for at in times])
    run = Run(folder, laid_out(2, tmp_path), record)  # type: ignore[arg-type]
    while run.pass_on(None):
        pass
    assert [at for _, _, at in record.points] == [1.0, 2.0, 3.0, 4.0]
    Run(folder, laid_out(2, tmp_path), record).recall(None)  # type: ignore[arg-type]
    assert [at for _, _, at in record.points[4:]] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("how", "others_go_on"), [({}, True), ({"code": 1}, False), (None, False)])
def test_the_others_are_ended_once_a_host_has_failed(
    how: dict[str, Any] | None, others_go_on: bool, tmp_path: Path
) -> None:
    made, folder = laid_out(2, tmp_path), tmp_path / "run-1"
    run = Run.begin(folder, 1.0, made, Heard())  # type: ignore[arg-type]
    processes = {made[0]: Running(Exit(code=0)), made[1]: Running()}
    run.start(lambda instance, _: processes[instance])  # type: ignore[arg-type,return-value]
    if how is not None:
        ends(folder, "algo-1", **how)
    assert not run.has_ended(0.0)
    assert processes[made[1]].was_asked is not others_go_on


@pytest.mark.parametrize(("asked", "status"), [(True, "Stopped"), (False, "Failed")])
def test_a_program_that_is_to_stop_before_its_keeper_can_hear_it_is_stopped(
    asked: bool, status: str, tmp_path: Path
) -> None:
    made, process = laid_out(1, tmp_path), Running()
    run = Run.begin(tmp_path / "run-1", 1.0, made, Heard())  # type: ignore[arg-type]
    run.start(lambda *_: process)  # type: ignore[arg-type,return-value]
    if asked:
        run.stop()
    process.exit = Exit(signal=signal.SIGTERM)
    assert run.has_ended(0.0)
    assert run.judged().status == status


def test_if_a_host_cannot_be_started_none_stays(tmp_path: Path) -> None:
    made, first = laid_out(2, tmp_path), Running()

    def start(instance: Instance, _: Path) -> Any:
        if instance is made[1]:
            raise LaunchFailed("There is no room.")
        return first

    with pytest.raises(LaunchFailed):
        Run.begin(tmp_path / "run-1", 1.0, made, Heard()).start(start)  # type: ignore[arg-type]
    assert first.was_asked


def test_hosts_share_the_memory_of_one_trial(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", isolation="process")
    runs = Runs(SimpleNamespace(settings=settings), spec(4), Heard(), laid_out(4, tmp_path), tmp_path, None)  # type: ignore[arg-type]
    for instance in laid_out(4, tmp_path):
        program: Program = runs._program(instance, tmp_path / instance.host.name, 60)
        assert program.memory_limit == memory_share(settings) // 4
        assert program.arguments["task"]["limits"]["data_bytes"] in (2 * (memory_share(settings) // 4), -1)


@pytest.mark.parametrize(
    ("type", "image", "here", "passed_on"),
    [
        ("ml.g5.xlarge", "me/image:1", 2, 2),
        ("ml.p4d.24xlarge", "me/image:1", 0, 0),
        ("ml.m5.large", "me/image:1", 2, 0),
        ("ml.m5.large", "pilothouse/script:1", 2, 2),
    ],
)
def test_a_program_is_told_of_the_gpus_that_it_can_use(
    type: str, image: str, here: int, passed_on: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "gpus", lambda: here)
    monkeypatch.setattr(engine, "engine", lambda: engine.Engine("docker", "/usr/bin/docker", "27.1"))
    job = spec(1, image, type)
    row, [instance] = SimpleNamespace(arn="arn:one", created_at=0.0), instances(job, "arn:one", tmp_path)
    instance.lay_out(job)
    made = commands.Commands(
        Settings(home=tmp_path, launcher="docker", isolation="process"),
        job,
        row,
        instance,
        1,  # type: ignore[arg-type]
    )
    program = made.all[-1]
    if made._mode == "container":
        assert ("--gpus" in program.argv) == (passed_on > 0)
        assert f"SM_NUM_GPUS={passed_on}\n" in (instance.directory / "variables.env").read_text()
    else:
        assert program.environment["SM_NUM_GPUS"] == str(passed_on)
    assert any("has GPUs" in line for line in made.opening()) == (type == "ml.p4d.24xlarge")


def test_a_program_sees_no_volumes_of_other_jobs_and_its_log_says_what_its_own_key_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "shm"
    memory.mkdir()
    monkeypatch.setattr(volumes, "kept_by", lambda folder: volumes.ENCRYPTED)
    settings = Settings(home=tmp_path / "home", volumes=memory)
    job = replace(spec(1), volume_key="alias/ours")
    row, [instance] = SimpleNamespace(arn="arn:one", created_at=0.0), instances(job, "arn:one", tmp_path)
    made = commands.Commands(settings, job, row, instance, 1)  # type: ignore[arg-type]
    root = volumes.Volumes(settings).root
    assert root in made._hidden()  # though there was none: the first may be opened while the program runs
    assert root.is_dir()
    assert (
        next(made.opening()) == f"Keys of volumes, as this job has one, are honoured by the encrypted disk of {memory}."
    )
