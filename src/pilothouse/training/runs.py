"""The runs of one training job's programs: the first, and another after each crash that cut one short."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse import clock
from pilothouse.catalog import built_in_training, training_images
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.contract.channels import Checkpoints
from pilothouse.contract.pipes import Pipes
from pilothouse.errors import ServiceUnavailable, StoreAway
from pilothouse.launch.base import AT_WORK, Program
from pilothouse.launch.confined import Limits
from pilothouse.launch.slots import memory_share
from pilothouse.training import containers
from pilothouse.training import outcome as outcomes
from pilothouse.training.commands import Commands, gpus
from pilothouse.training.documents import Task
from pilothouse.training.instances import Instance
from pilothouse.training.outcome import Outcome
from pilothouse.training.record import Record
from pilothouse.training.run import LOG, OnPoint, Run
from pilothouse.whole_file import write_whole

if TYPE_CHECKING:
    from pilothouse.work.job import Job

ENTRY = "pilothouse.training.program:main"
_FIRST_LOOK, _LOOK = 0.25, 0.1  # a program that is done before the first look costs one write less
_CHECKPOINTS_EVERY = 10.0


class Runs:
    """The runs of `spec` on its instances, which are laid out; each has a folder of its own below `directory`."""

    def __init__(
        self,
        job: Job,
        spec: TrainingJob,
        record: Record,
        instances: Sequence[Instance],
        directory: Path,
        threads: int | None,
    ) -> None:
        self._job, self._spec, self._record, self._instances = job, spec, record, instances
        self._directory = directory
        self._threads = threads
        self._mode = training_images.mode(spec)
        self._judged = directory / "outcome.json"

    def run(
        self, stop_asked: Callable[[], bool], checkpoints: Sequence[Checkpoints], on_point: OnPoint | None
    ) -> Outcome:
        """Runs the programs to their end, or takes over what ended before this process could say so."""
        if self._judged.exists():
            self.recall(on_point)
            return Outcome(**json.loads(self._judged.read_text()))
        outcome = self._ran(stop_asked, checkpoints, on_point)
        write_whole(self._judged, json.dumps(asdict(outcome)))
        return outcome

    def _ran(
        self, stop_asked: Callable[[], bool], checkpoints: Sequence[Checkpoints], on_point: OnPoint | None
    ) -> Outcome:
        earlier = self._earlier()
        used = sum(run.seconds for run in earlier)
        if earlier and earlier[-1].is_whole:
            _push(checkpoints)
            earlier[-1].take_over(on_point)
            return self._outcome(earlier[-1], used, on_point)
        if used >= self._spec.max_runtime:
            return self._cut_short(outcomes.LATE, used, on_point)
        with self._job.slot(stop_asked) as held:
            if not held:
                return self._cut_short(outcomes.STOPPED, used, on_point)
            run = Run.begin(
                self._folder(1 + max(self._numbers(), default=0)), _beginning(earlier), self._instances, self._record
            )
            begun = self._record.row.state.get("TrainingStartTime") or clock.now()
            self._record.enter("Training", TrainingStartTime=begun)
            seconds = self._spec.max_runtime - used
            with self._pipes() as pipes:
                run.start(lambda instance, folder: self._job.start(self._program(instance, folder, seconds)))
                try:
                    self._follow(run, pipes, stop_asked, checkpoints, on_point)
                except BaseException:
                    run.kill()
                    raise
        return self._outcome(run, used + run.seconds, on_point)

    def recall(self, on_point: OnPoint | None) -> None:
        """Repeats all that the programs of the last run measured; nothing if there has been no run."""
        for run in self._earlier()[-1:]:
            run.recall(on_point)

    def begun(self) -> bool:
        """Whether there has been a run."""
        return bool(self._earlier())

    def ended(self) -> bool:
        """Whether the last run came to its end, so that `run` takes that over. Nothing is at work in it any more."""
        earlier = self._earlier()
        for run in earlier[-1:]:
            run.seal()  # first, since a keeper that is still at work could start a container that is not there yet
            if self._mode == "container" and not run.is_whole:
                self._remove_containers()
        return self._judged.exists() or (bool(earlier) and earlier[-1].is_whole)

    @property
    def is_judged(self) -> bool:
        """Whether it is here what became of the job."""
        return self._judged.exists()

    def repeat_metrics(self, outcome: Outcome) -> None:
        """Lets the row's record know the metrics of a run that an earlier process saw end."""
        for name, (value, at) in outcome.metrics.items():
            self._record.measured(name, value, at)

    def _earlier(self) -> list[Run]:
        return [Run(self._folder(number), self._instances, self._record) for number in self._numbers()]

    def _numbers(self) -> list[int]:
        return sorted(int(folder.name.removeprefix("run-")) for folder in self._directory.glob("run-*"))

    def _folder(self, number: int) -> Path:
        return self._directory / f"run-{number}"

    def _pipes(self) -> Pipes:
        hosts = [(instance.host, instance.folders.data) for instance in self._instances]
        return Pipes(self._job.objects, training_images.piped(self._spec), hosts)

    def _follow(
        self,
        run: Run,
        pipes: Pipes,
        stop_asked: Callable[[], bool],
        checkpoints: Sequence[Checkpoints],
        on_point: OnPoint | None,
    ) -> None:
        begun = time.monotonic()
        stopping, next_look, next_checkpoints = False, begun + _FIRST_LOOK, begun + _CHECKPOINTS_EVERY
        while not run.has_ended(max(0.0, next_look - time.monotonic())):
            moment = time.monotonic()
            next_look = moment + _LOOK
            with suppress(StoreAway):  # the program goes on; if it stays away the watchdog ends this process
                run.pass_on(on_point)
                self._record.publish()
                if not stopping and stop_asked():
                    self._record.enter("Stopping")
                    run.stop()
                    stopping = True
            if pipes.fault is not None:
                run.fail(f"ClientError: {pipes.fault}")
            if moment >= next_checkpoints:
                self._try_to_push(checkpoints)
                next_checkpoints = moment + _CHECKPOINTS_EVERY
        if pipes.fault is not None:
            run.fail(f"ClientError: {pipes.fault}")
        _push(checkpoints)

    def _try_to_push(self, checkpoints: Sequence[Checkpoints]) -> None:
        """Sends checkpoints of a program that goes on, which a store that is away does not end: they are sent later."""
        try:
            _push(checkpoints)
        except ServiceUnavailable as error:
            self._job.log(f"The checkpoints of {self._record.name} are sent later. {error.message}")

    def _outcome(self, run: Run, seconds: float, on_point: OnPoint | None) -> Outcome:
        while run.pass_on(on_point):
            pass
        verdict = run.judged()
        return Outcome(verdict.status, verdict.secondary, verdict.reason, seconds, self._record.metrics())

    def _cut_short(self, end: tuple[str, str], seconds: float, on_point: OnPoint | None) -> Outcome:
        """The outcome where there is no run any more: what the last one measured is all there is."""
        self.recall(on_point)
        return Outcome(*end, seconds=seconds, metrics=self._record.metrics())

    def _remove_containers(self) -> None:
        for instance in self._instances:
            containers.remove(self._job.settings, self._commands(instance).container)

    def _commands(self, instance: Instance) -> Commands:
        return Commands(self._job.settings, self._spec, self._record.row, instance, self._threads)

    def _program(self, instance: Instance, folder: Path, seconds: float) -> Program:
        settings = self._job.settings
        memory = memory_share(settings) // len(self._instances)
        commands = self._commands(instance)
        limits = Limits(
            data_bytes=resource.RLIM_INFINITY if gpus() else 2 * memory,  # CUDA maps far more than it uses
            file_bytes=self._spec.volume_gib << 30,
            cpu_seconds=int(len(os.sched_getaffinity(0)) * (seconds + settings.stop_grace)) + 60,
        )
        task = Task(
            directory=str(folder),
            commands=commands.all,
            metrics=built_in_training.metric_definitions(self._mode) or self._spec.metrics,
            limits=limits,
            seconds=seconds,
            grace=settings.stop_grace,
            own=tuple(commands.opening()),
        )
        return Program(
            ENTRY,
            {"task": task.document()},
            log=folder / LOG,
            nice=AT_WORK,
            memory_limit=memory,
            label=self._record.name,
            light=self._mode not in training_images.BUILT_IN,
        )


def _push(checkpoints: Sequence[Checkpoints]) -> None:
    for each in checkpoints:
        each.push()


def _beginning(earlier: Sequence[Run]) -> float:
    """When a run after `earlier` ones begins: each in a second of its own, since that names its logs."""
    return max([clock.now(), *(int(run.begun) + 1.0 for run in earlier[-1:])])
