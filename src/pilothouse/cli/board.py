"""The leaderboard of a running job, drawn live on a terminal and line by line elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from pilothouse.cli.live import SHOWN, Live, number, seconds, status
from pilothouse.client.training import Progress

_LATENCY = "InferenceLatency"
_WIDE = 9


class Board(Live[Progress]):
    """The candidates of an AutoML job."""

    def headline(self, progress: Progress) -> str:
        """Its secondary status, time, and how many are finished."""
        elapsed = seconds(progress.job["CreationTime"])
        done = sum(candidate["CandidateStatus"] == "Completed" for candidate in progress.candidates)
        return f"{progress.job['AutoMLJobSecondaryStatus']}  {elapsed:.0f} s  {done} finished"

    def table(self, progress: Progress) -> Table:
        """See `candidates_table`."""
        return candidates_table(progress)

    def lines(self, progress: Progress) -> Iterator[str]:
        """The job with its secondary status, and one for each candidate with its status."""
        yield f"{progress.job['AutoMLJobName']} {progress.job['AutoMLJobSecondaryStatus']}"
        for candidate in progress.candidates:
            yield " ".join(part for part in ("  candidate", *_cells(candidate, progress)) if part)


def candidates_table(progress: Progress) -> Table:
    """The candidates of a job with status and objective, best first, then those that have none."""
    table = Table(
        "candidate", "status", objective_name(progress.job) or "objective", "seconds", box=None, pad_edge=False
    )
    best = progress.job.get("BestCandidate", {}).get("CandidateName")
    ranked = sorted(progress.candidates, key=lambda candidate: _rank(candidate, best))
    for candidate in ranked[:SHOWN]:
        cells = _cells(candidate, progress)
        style = "bold" if candidate["CandidateName"] == best else ""
        table.add_row(cells[0], status(cells[1]), cells[2], _seconds(candidate), style=style)
    return table


def metrics_table(leaderboard: list[dict[str, Any]]) -> Table:
    """All metrics of a `client.training.leaderboard`, narrow enough for 80 columns; the latency in milliseconds."""
    names = list(leaderboard[0]["metrics"])
    table = Table("candidate", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(_title(name), justify="right", no_wrap=True)
    for place, entry in enumerate(leaderboard[:SHOWN]):
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


def _cells(candidate: dict[str, Any], progress: Progress) -> tuple[str, str, str]:
    name = candidate["CandidateName"].removeprefix(progress.job["AutoMLJobName"] + "-")
    value = candidate.get("FinalAutoMLJobObjectiveMetric", {}).get("Value")
    return name, candidate["CandidateStatus"], number(value) or candidate.get("FailureReason", "")


def _seconds(candidate: dict[str, Any]) -> str:
    return f"{seconds(candidate['CreationTime'], candidate.get('EndTime')):.1f}"


def _rank(candidate: dict[str, Any], best: str | None) -> tuple[bool, bool, float]:
    final = candidate.get("FinalAutoMLJobObjectiveMetric")
    sign = -1 if final and final.get("Type") == "Maximize" else 1
    return candidate["CandidateName"] != best, final is None, sign * final["Value"] if final else 0.0
