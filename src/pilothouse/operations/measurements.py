"""The values of a training job's metrics over time, read out of its log."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pilothouse.catalog import built_in_training, training_images
from pilothouse.catalog.metric_definitions import compiled, number
from pilothouse.catalog.training_jobs import KIND, LOG_GROUP, TrainingJob
from pilothouse.operations.context import Context

_PAGE = 1000  # lines that are read at a time: each may have 32 KiB
_HOST = re.compile(r"(?P<job>.+)/(?P<host>algo-\d+)")


@dataclass
class Bucket:
    """What the points of one period come to; `at` is the period's beginning in epoch seconds."""

    at: float
    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        """Counts a point."""
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)

    def statistics(self) -> dict[str, float]:
        """The values by CloudWatch's names of the statistics."""
        return {
            "SampleCount": float(self.count),
            "Average": self.total / self.count,
            "Sum": self.total,
            "Minimum": self.least,
            "Maximum": self.most,
        }


def buckets(points: Iterable[tuple[float, float]], period: int) -> list[Bucket]:
    """The points (time, value) by periods of so many seconds, which begin at multiples of it, in order of time.

    Values that are no numbers are left out, as CloudWatch can't hold them.
    """
    found: dict[int, Bucket] = {}
    for at, value in points:
        if math.isfinite(value):
            place = math.floor(at / period)
            found.setdefault(place, Bucket(float(place * period))).add(value)
    return [found[place] for place in sorted(found)]


def points(context: Context, host: str, metric: str, start: float, end: float) -> Iterator[tuple[float, float]]:
    """The points of a metric from `start` until before `end`; none if there is no such job or metric.

    `host` is a job's name for all of its hosts, or the name of one of them (NAME/algo-1).
    """
    match = _HOST.fullmatch(host)
    row = context.store.get(KIND, match["job"] if match else host)
    if row is None or "AlgorithmSpecification" not in row.request:
        return
    job = TrainingJob.of(row.request)
    definitions = dict(built_in_training.metric_definitions(training_images.mode(job)) or job.metrics)
    if metric not in definitions:
        return
    expression = compiled(metric, definitions[metric])
    for stream in _streams(context, row.name, match["host"] if match else ""):
        for at, line in _lines(context, stream, start, end):
            for found in expression.finditer(line):
                value = number(found.group(1))
                if value is not None:
                    yield at, value


def _streams(context: Context, job: str, host: str) -> Iterator[str]:
    """The streams of a job, one for each host and attempt; those of one `host`, unless it is ""."""
    prefix, after = f"{job}/{host}", None
    while page := context.store.logs.streams(LOG_GROUP, prefix, after=after):
        rests = ((stream.name, stream.name.removeprefix(prefix)) for stream in page)
        yield from (name for name, rest in rests if not host or rest[:1] in ("", "-"))
        after = page[-1].cursor()


def _lines(context: Context, stream: str, start: float, end: float) -> Iterator[tuple[float, bytes]]:
    after = 0
    while True:
        events = context.store.logs.events(
            LOG_GROUP, stream, after_seq=after, start=start, end=end, limit=_PAGE, from_head=True
        )
        yield from ((event.timestamp, event.message.encode()) for event in events)
        if len(events) < _PAGE:
            return
        after = events[-1].seq
