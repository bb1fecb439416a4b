"""What a tuning job hears of one running trial: each value of its objective, and the steps of its training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse.tuning.stopping import Advice
from pilothouse.whole_file import write_whole

Report = Callable[[int, float], Advice]
Failpoint = Callable[[str, str], None]


class Listener:
    """Hears the metric `objective`; `report(step, value)` says whether the trial goes on.

    The training's steps are recorded in files of its folder, with the values heard so far, in place of rows of the
    tuning job, which thousands of trials would make slow. A file is there whole or not at all; if the machine itself
    crashes and it is lost, the step is done again.
    """

    def __init__(self, directory: Path, objective: str, report: Report, failpoint: Failpoint) -> None:
        self._directory, self._objective = directory, objective
        self._report, self._failpoint = report, failpoint
        self.reports: list[float] = []
        self.stopped = False

    def heard(self, name: str, value: float, at: float) -> None:  # noqa: ARG002 (the shape of training's OnPoint)
        """A metric has been emitted."""
        if name != self._objective:
            return
        self.reports.append(value)
        if self._report(len(self.reports), value) == "stop":
            self.stopped = True

    def once(self, step: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `do()`, which is called only if none is recorded for `step`."""
        path = self._directory / f"{step}.json"
        recorded = _read(path)
        if recorded is None:
            self._failpoint(step, "before")
            recorded = {"result": do(), "reports": self.reports}
            self._failpoint(step, "unrecorded")
            write_whole(path, json.dumps(recorded))
            self._failpoint(step, "after")
        self.reports = list(recorded["reports"])
        result: dict[str, Any] = recorded["result"]
        return result

    def began(self) -> None:
        """The program begins, perhaps again: what it has said before does not count."""
        self.reports = []


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document
