"""What a job hears of one running trial: each loss that it reports, and whether it may go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pilothouse.training.task import RESULT
from pilothouse.tuning.stopping import Advice

STOPPED_EARLY = "was stopped early: other candidates did better after as much training"


class Listener:
    """Reads the reports in `path` while they are written; `report(step, loss)` says whether the trial goes on.

    A trial that begins again begins its reports again; those of one that has ended, in which `path` lies, are kept.
    """

    def __init__(self, path: Path, report: Callable[[int, float], Advice]) -> None:
        self._path, self._report = path, report
        self._read = 0
        self.losses: list[float] = []
        self.stopped = False
        if not (path.parent / RESULT).exists():
            path.unlink(missing_ok=True)

    def cut(self) -> str | None:
        """Why the trial is to be ended now, if it is. What it reports behind that counts no more."""
        for line in () if self.stopped else self._new_lines():
            document = json.loads(line)
            self.losses.append(document["loss"])
            if self._report(document["step"], document["loss"]) == "stop":
                self.stopped = True
                break
        return STOPPED_EARLY if self.stopped else None

    def _new_lines(self) -> list[bytes]:
        """The whole lines that have been added."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._read)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines()
