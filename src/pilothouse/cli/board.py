"""The leaderboard of a running job, drawn live on a terminal and line by line elsewhere."""

from __future__ import annotations

import re
import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pilothouse.client.training import Progress

_STYLES = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}
_SHOWN = 20
_LATENCY = "InferenceLatency"
_WIDE = 9


class Board:
    """Call it with each `Progress` within its `with` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._said: set[str] = set()

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(Group(_headline(progress), candidates_table(progress)))
            return
        self._say(f"{progress.job['AutoMLJobName']} {progress.job['AutoMLJobSecondaryStatus']}")
        for candidate in progress.candidates:
            self._say(" ".join(part for part in ("  candidate", *_cells(candidate, progress)) if part))

    def _say(self, line: str) -> None:
        """A line is said when it is new; the time that a candidate has run so far doesn't make it so."""
        if line not in self._said:
            self._said.add(line)
            self._console.print(line, highlight=False)


def candidates_table(progress: Progress) -> Table:
    """The candidates of a job with status and objective, best first, then those that have none."""
    table = Table(
        "candidate", "status", objective_name(progress.job) or "objective", "seconds", box=None, pad_edge=False
    )
    best = progress.job.get("BestCandidate", {}).get("CandidateName")
    ranked = sorted(progress.candidates, key=lambda candidate: _rank(candidate, best))
    for candidate in ranked[:_SHOWN]:
        cells = _cells(candidate, progress)
        style = "bold" if candidate["CandidateName"] == best else ""
        table.add_row(cells[0], Text(cells[1], _STYLES.get(cells[1], "")), cells[2], _seconds(candidate), style=style)
    return table


def metrics_table(leaderboard: list[dict[str, Any]]) -> Table:
    """All metrics of a `client.training.leaderboard`, narrow enough for 80 columns; the latency in milliseconds."""
    names = list(leaderboard[0]["metrics"])
    table = Table("candidate", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(_title(name), justify="right", no_wrap=True)
    for place, entry in enumerate(leaderboard[:_SHOWN]):
        values = (_cell(name, entry["metrics"].get(name)) for name in names)
        table.add_row(entry["name"], *values, style="bold" if place == 0 else "")
    return table


def _title(metric: str) -> str:
    if metric == _LATENCY:
        return "latency\n(ms)"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "\n", metric) if len(metric) > _WIDE else metric


def _cell(metric: str, value: float | None) -> str:
    return number(value * 1000 if metric == _LATENCY and value is not None else value)


def objective_name(job: dict[str, Any]) -> str:
    """The metric that the job optimises, once that is known."""
    return str(job.get("ResolvedAttributes", {}).get("AutoMLJobObjective", {}).get("MetricName", ""))


def number(value: float | None) -> str:
    """A metric, short: four decimals, or four significant digits where those say nothing."""
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.4g}"


def _headline(progress: Progress) -> Text:
    elapsed = time.time() - progress.job["CreationTime"].timestamp()
    done = sum(candidate["CandidateStatus"] == "Completed" for candidate in progress.candidates)
    return Text(f"{progress.job['AutoMLJobSecondaryStatus']}  {elapsed:.0f} s  {done} finished", style="bold")


def _cells(candidate: dict[str, Any], progress: Progress) -> tuple[str, str, str]:
    name = candidate["CandidateName"].removeprefix(progress.job["AutoMLJobName"] + "-")
    value = candidate.get("FinalAutoMLJobObjectiveMetric", {}).get("Value")
    return name, candidate["CandidateStatus"], number(value) or candidate.get("FailureReason", "")


def _seconds(candidate: dict[str, Any]) -> str:
    end = candidate.get("EndTime")
    until = end.timestamp() if end else time.time()
    return f"{until - candidate['CreationTime'].timestamp():.1f}"


def _rank(candidate: dict[str, Any], best: str | None) -> tuple[bool, bool, float]:
    final = candidate.get("FinalAutoMLJobObjectiveMetric")
    sign = -1 if final and final.get("Type") == "Maximize" else 1
    return candidate["CandidateName"] != best, final is None, sign * final["Value"] if final else 0.0
