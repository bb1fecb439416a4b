"""What a running program says, in a file of JSON lines: [time, line] for its log, [time, name, value] for metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.contract.scrape import Point

VERBATIM = 10_000
"""So many points of a metric are kept one by one; after those, one a second and the last."""

_INTERVAL = 1.0
_CHUNK = 4 << 20


@dataclass
class _Series:
    count: int = 0
    written_at: float = 0.0
    held: tuple[float, float] | None = None


class EventWriter:
    """Appends events to the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("ab", buffering=1 << 16)
        self._series: dict[str, _Series] = {}

    def lines(self, lines: Iterable[str], at: float) -> None:
        """Log lines, all of the time `at`."""
        self._write([[at, line] for line in lines])

    def points(self, points: Iterable[Point], at: float) -> None:
        """Measured values, all of the time `at`."""
        self._write([[at, point.name, point.value] for point in points if self._is_wanted(point, at)])

    def flush(self) -> None:
        """Lets readers see all that was written."""
        self._stream.flush()

    def close(self) -> None:
        """Writes the points that were held back, and ends."""
        for name, series in self._series.items():
            if series.held is not None:
                self._write([[series.held[0], name, series.held[1]]])
        self._stream.close()

    def _is_wanted(self, point: Point, at: float) -> bool:
        series = self._series.setdefault(point.name, _Series())
        series.count += 1
        if series.count > VERBATIM and at - series.written_at < _INTERVAL:
            series.held = (at, point.value)
            return False
        series.held, series.written_at = None, at
        return True

    def _write(self, events: list[list[Any]]) -> None:
        self._stream.writelines(json.dumps(event).encode() + b"\n" for event in events)


@dataclass
class Batch:
    """Events that came together: log lines with their times, and points (name, value, time)."""

    lines: list[tuple[float, str]] = field(default_factory=list)
    points: list[tuple[str, float, float]] = field(default_factory=list)


class EventReader:
    """Follows the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Batch:
        """What is new, up to some size; an empty batch if nothing is."""
        batch = Batch()
        if not self._path.exists():
            return batch
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            chunk = stream.read(_CHUNK)
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(whole)
        for text in whole.split(b"\n")[:-1]:
            event = json.loads(text)
            if len(event) == 2:
                batch.lines.append((event[0], event[1]))
            else:
                batch.points.append((event[1], event[2], event[0]))
        return batch


def now() -> float:
    """The time of an event, in epoch seconds to the millisecond."""
    return round(time.time(), 3)
