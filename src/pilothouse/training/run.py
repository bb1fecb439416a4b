"""One run of a training job's programs: a process for each host, and what they leave in the run's folder."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from signal import SIGTERM

from pilothouse.launch.base import Exit, Process
from pilothouse.training import outcome as outcomes
from pilothouse.training import seal
from pilothouse.training.documents import END, EVENTS, SECONDS, End
from pilothouse.training.events import Batch, EventReader
from pilothouse.training.instances import Instance
from pilothouse.training.outcome import Verdict
from pilothouse.training.record import Record
from pilothouse.whole_file import write_whole

LOG = "keeper.log"
OnPoint = Callable[[str, float, float], None]
Point = tuple[str, float, float]
_BEGUN, _STOPPED, _FAULT = "begun", "stopped", "fault"
_LONGEST_LINE = 4096


class Run:
    """The run in `folder`, of the program on each of `instances`. Each host has a folder of its own in it."""

    def __init__(self, folder: Path, instances: Sequence[Instance], record: Record) -> None:
        self._folder, self._instances, self._record = folder, instances, record
        self._running: dict[Instance, Process] = {}
        self._exits: dict[Instance, Exit] = {}
        self._readers = {each: EventReader(self._of(each) / EVENTS) for each in instances}
        self._unsaid: dict[Instance, Batch] = {}
        self._is_ending = False

    @classmethod
    def begin(cls, folder: Path, at: float, instances: Sequence[Instance], record: Record) -> Run:
        """Makes the folder of a run that begins `at`, in epoch seconds."""
        for instance in instances:
            (folder / instance.host.name).mkdir(parents=True)
        write_whole(folder / _BEGUN, str(at))
        return cls(folder, instances, record)

    def start(self, start: Callable[[Instance, Path], Process]) -> None:
        """Starts all programs by `start`, which is told the folder of each; if one can't be, none stays."""
        try:
            for instance in self._instances:
                self._running[instance] = start(instance, self._of(instance))
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the programs that still run, at once."""
        for process in self._running.values():
            process.kill()

    def seal(self) -> None:
        """Sees to it that none of the programs is at work any more, nor will be: they were an earlier process's."""
        for folder in filter(Path.is_dir, map(self._of, self._instances)):
            seal.seal(folder)

    def has_ended(self, timeout: float) -> bool:
        """Whether all programs have; waits up to `timeout` seconds. Once one has failed the others are ended."""
        for instance, process in list(self._running.items()):
            ended = process.wait(timeout)
            timeout = 0.0
            if ended is not None:
                self._exits[instance] = ended
                del self._running[instance]
        if self._running and not self._is_ending and any(map(self._has_failed, self._exits)):
            self.end()
        return not self._running

    def stop(self) -> None:
        """Asks the programs to end, since the job is to."""
        if not self._is_ending:
            (self._folder / _STOPPED).touch()
            self.end()

    def fail(self, reason: str) -> None:
        """Asks the programs to end, since the job has failed for this `reason`."""
        write_whole(self._folder / _FAULT, reason)
        if not self._is_ending:
            self.end()

    def end(self) -> None:
        """Asks the programs that still run to end."""
        self._is_ending = True
        for process in self._running.values():
            process.terminate()

    @property
    def begun(self) -> float:
        """When it began, in epoch seconds; 0 if that was lost."""
        return _number(self._folder / _BEGUN)

    @property
    def is_whole(self) -> bool:
        """Whether every program came to an end, and said so."""
        return all((self._of(instance) / END).exists() for instance in self._instances)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return max(_number(self._of(instance) / SECONDS) for instance in self._instances)

    def pass_on(self, on_point: OnPoint | None) -> bool:
        """Brings what is new to the log and the record, metrics in the order of their times; whether there was any.

        What could not be logged comes with the next call.
        """
        self._unsaid = self._unsaid or {instance: reader.read() for instance, reader in self._readers.items()}
        is_new = any(batch.lines or batch.points for batch in self._unsaid.values())
        for instance, batch in self._unsaid.items():
            if batch.lines:
                self._record.log(self._stream(instance), batch.lines)
                batch.lines = []
        batches, self._unsaid = self._unsaid, {}
        self._measured(heapq.merge(*(batch.points for batch in batches.values()), key=_time), on_point)
        return is_new

    def recall(self, on_point: OnPoint | None) -> None:
        """Repeats all points of an ended run, in the order of their times."""
        points = [_points(self._of(instance) / EVENTS) for instance in self._instances]
        self._measured(heapq.merge(*points, key=_time), on_point)

    def take_over(self, on_point: OnPoint | None) -> None:
        """Repeats all points of a run that ended while an earlier process followed it, and logs the lines that this one
        has not: how many those are, the log itself tells.
        """
        self.recall(on_point)
        for instance, reader in self._readers.items():
            known = self._record.logged(self._stream(instance))
            for batch in iter(reader.read, Batch()):
                fresh, known = batch.lines[known:], max(0, known - len(batch.lines))
                if fresh:
                    self._record.log(self._stream(instance), fresh)

    def judged(self) -> Verdict:
        """What the ends of the programs make of the job; nothing of theirs runs any more."""
        verdicts = [self._verdict(instance) for instance in self._instances]
        fault = self._folder / _FAULT
        if fault.exists():
            return Verdict("Failed", "Failed", fault.read_text())
        return outcomes.together(verdicts, stopped=(self._folder / _STOPPED).exists())

    def _verdict(self, instance: Instance) -> Verdict:
        removed = instance.folders.settle()
        if removed:
            text = f"Not uploaded, because they are no plain files: {', '.join(removed)}"[:_LONGEST_LINE]
            self._record.log(self._stream(instance), [text])
        end = self._end_of(instance)
        known = self._exits.get(instance, Exit())
        if end is None and known.signal == SIGTERM and self._is_ending:
            return Verdict(*outcomes.STOPPED)  # it was asked to end before it could begin
        if end is None:
            log = self._of(instance) / LOG
            words = log.read_text(errors="replace").splitlines() if log.exists() else []
            return Verdict("Failed", "Failed", outcomes.lost(known, words))
        return outcomes.judged(end, instance.folders.failure())

    def _has_failed(self, instance: Instance) -> bool:
        end = self._end_of(instance)
        return end is None or end.cut is not None or end.code != 0

    def _end_of(self, instance: Instance) -> End | None:
        path = self._of(instance) / END
        return End(**json.loads(path.read_text())) if path.exists() else None

    def _measured(self, points: Iterable[Point], on_point: OnPoint | None) -> None:
        for name, value, at in points:
            self._record.measured(name, value, at)
            if on_point is not None:
                on_point(name, value, at)

    def _of(self, instance: Instance) -> Path:
        return self._folder / instance.host.name

    def _stream(self, instance: Instance) -> str:
        return f"{instance.host.name}-{int(self.begun)}"


def _points(path: Path) -> Iterator[Point]:
    for batch in iter(EventReader(path).read, Batch()):
        yield from batch.points


def _time(point: Point) -> float:
    return point[2]


def _number(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0
