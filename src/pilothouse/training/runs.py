"""The runs of one training job's program: the first, and another after each crash that cut one short."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse import clock
from pilothouse.catalog import built_in_training, training_images
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.contract.channels import Checkpoints
from pilothouse.contract.opt_ml import OptMl
from pilothouse.launch.base import AT_WORK, Exit, Process, Program
from pilothouse.launch.confined import Limits
from pilothouse.launch.slots import memory_share
from pilothouse.training import outcome as outcomes
from pilothouse.training.commands import Commands, gpus
from pilothouse.training.events import EventReader
from pilothouse.training.outcome import Outcome
from pilothouse.training.program import END, EVENTS, SECONDS, End, Task
from pilothouse.training.record import Record

if TYPE_CHECKING:
    from pilothouse.work.job import Job

ENTRY = "pilothouse.training.program:main"
LOG = "keeper.log"
_FIRST_LOOK, _LOOK = 0.25, 0.1  # a program that is done before the first look costs one write less
_LONGEST_LINE = 4096
_CHECKPOINTS_EVERY = 10.0

OnPoint = Callable[[str, float, float], None]


class Runs:
    """The runs of `spec`, whose folders are laid out; each has a folder of its own below `directory`."""

    def __init__(
        self, job: Job, spec: TrainingJob, record: Record, folders: OptMl, directory: Path, threads: int | None
    ) -> None:
        self._job, self._spec, self._record, self._folders = job, spec, record, folders
        self._directory = directory
        self._mode = training_images.mode(spec)
        self._commands = Commands(job.settings, spec, record.row, folders, directory, threads)

    def run(self, stop_asked: Callable[[], bool], checkpoints: Checkpoints | None, on_point: OnPoint | None) -> Outcome:
        """Runs the program to its end, or takes over a run that ended before this process could say so."""
        earlier = self._earlier()
        used = sum(_seconds(folder) for folder in earlier)
        if self.ended():
            self._recall(earlier[-1], on_point)
            return replace(self._judged(earlier[-1], Exit(code=0), on_point), seconds=used)
        if used >= self._spec.max_runtime:
            return Outcome(*outcomes.LATE, seconds=used)
        with self._job.slot(stop_asked) as held:
            if not held:
                return Outcome(*outcomes.STOPPED, seconds=used)
            folder = self._directory / f"run-{len(earlier) + 1}"
            folder.mkdir(parents=True)
            (folder / "begun").write_text(str(_beginning(earlier)))
            begun = self._record.row.state.get("TrainingStartTime") or clock.now()
            self._record.enter("Training", TrainingStartTime=begun)
            process = self._job.start(self._program(folder, self._spec.max_runtime - used))
            ended = self._follow(process, folder, stop_asked, checkpoints, on_point)
        return replace(self._judged(folder, ended, on_point), seconds=used + _seconds(folder))

    def begun(self) -> bool:
        """Whether there has been a run."""
        return bool(self._earlier())

    def ended(self) -> bool:
        """Whether the last run came to its end, so that `run` takes that over."""
        earlier = self._earlier()
        return bool(earlier) and (earlier[-1] / END).exists()

    def repeat_metrics(self, outcome: Outcome) -> None:
        """Lets the row's record know the metrics of a run that an earlier process saw end."""
        for name, (value, at) in outcome.metrics.items():
            self._record.measured(name, value, at)

    def _earlier(self) -> list[Path]:
        return sorted(self._directory.glob("run-*"), key=lambda folder: int(folder.name.removeprefix("run-")))

    def _follow(
        self,
        process: Process,
        folder: Path,
        stop_asked: Callable[[], bool],
        checkpoints: Checkpoints | None,
        on_point: OnPoint | None,
    ) -> Exit:
        events = EventReader(folder / EVENTS)
        begun = time.monotonic()
        stopping, next_look, next_checkpoints = False, begun + _FIRST_LOOK, begun + _CHECKPOINTS_EVERY
        while (ended := process.wait(max(0.0, next_look - time.monotonic()))) is None:
            moment = time.monotonic()
            next_look = moment + _LOOK
            self._pass_on(events, folder, on_point)
            self._record.publish()
            if not stopping and stop_asked():
                stopping = True
                self._record.enter("Stopping")
                process.terminate()
            if checkpoints is not None and moment >= next_checkpoints:
                checkpoints.push()
                next_checkpoints = moment + _CHECKPOINTS_EVERY
        if checkpoints is not None:
            checkpoints.push()
        return ended

    def _pass_on(self, events: EventReader, folder: Path, on_point: OnPoint | None) -> bool:
        """Brings what is new to the log and the record; whether there was something."""
        batch = events.read()
        if batch.lines:
            self._record.log(_stream(folder), batch.lines)
        for name, value, at in batch.points:
            self._record.measured(name, value, at)
            if on_point is not None:
                on_point(name, value, at)
        if batch.lines or batch.points:
            events.passed()
            return True
        return False

    def _recall(self, folder: Path, on_point: OnPoint | None) -> None:
        """Repeats the points that an earlier process has passed on."""
        events = EventReader(folder / EVENTS)
        end = events.place
        events.rewind()
        while events.place < end:
            for name, value, at in events.read().points:
                self._record.measured(name, value, at)
                if on_point is not None:
                    on_point(name, value, at)

    def _judged(self, folder: Path, ended: Exit, on_point: OnPoint | None) -> Outcome:
        events = EventReader(folder / EVENTS)
        while self._pass_on(events, folder, on_point):
            pass
        metrics = self._record.metrics()
        removed = self._folders.settle()
        if removed:
            text = f"Not uploaded, because they are no plain files: {', '.join(removed)}"[:_LONGEST_LINE]
            self._record.log(_stream(folder), [(clock.now(), text)])
        if not (folder / END).exists():
            return Outcome("Failed", "Failed", outcomes.lost(ended, _lines(folder / LOG)), _seconds(folder), metrics)
        end = End(**json.loads((folder / END).read_text()))
        commands = self._commands.all
        number = min(end.failed_command or 0, len(commands) - 1)
        verdict = outcomes.judged(end, self._folders.failure(), commands[number])
        return Outcome(*verdict, seconds=end.seconds, metrics=metrics)

    def _program(self, folder: Path, seconds: float) -> Program:
        settings = self._job.settings
        data = memory_share(settings)
        limits = Limits(
            data_bytes=resource.RLIM_INFINITY if gpus() else 2 * data,  # CUDA maps far more than it uses
            file_bytes=self._spec.volume_gib << 30,
            cpu_seconds=int(len(os.sched_getaffinity(0)) * (seconds + settings.stop_grace)) + 60,
        )
        task = Task(
            directory=str(folder),
            commands=self._commands.all,
            metrics=self._definitions(),
            limits=limits,
            seconds=seconds,
            grace=settings.stop_grace,
            own=tuple(self._commands.opening()),
        )
        light = self._mode not in training_images.BUILT_IN
        arguments = {"task": task.document()}
        return Program(ENTRY, arguments, log=folder / LOG, nice=AT_WORK, label=self._record.name, light=light)

    def _definitions(self) -> tuple[tuple[str, str], ...]:
        return built_in_training.metric_definitions(self._mode) or self._spec.metrics


def _seconds(folder: Path) -> float:
    try:
        return float((folder / SECONDS).read_text())
    except (OSError, ValueError):
        return 0.0


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _beginning(earlier: list[Path]) -> float:
    """When a run after those of the folders `earlier` begins: each in a second of its own, since that names its log."""
    last = [int(float((folder / "begun").read_text())) for folder in earlier[-1:] if (folder / "begun").exists()]
    return max([clock.now(), *(second + 1.0 for second in last)])


def _stream(folder: Path) -> str:
    return f"algo-1-{int(float((folder / 'begun').read_text()))}"
