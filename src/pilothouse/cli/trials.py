"""The trials of a tuning job, drawn live on a terminal and line by line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pilothouse.cli.board import number
from pilothouse.client.tuning import Progress

_STYLES = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}
_ENDED = ("Completed", "Failed", "Stopped")
_SHOWN = 20
_DIGITS = 6
_LONGEST = 160


class Trials:
    """Call it with each `Progress` within its `with` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._said: set[str] = set()

    def __enter__(self) -> Trials:
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
            self._live.update(Group(_headline(progress), trials_table(progress)))
            return
        for trial in progress.trials:
            if trial["TrainingJobStatus"] in _ENDED and trial["TrainingJobName"] not in self._said:
                self._said.add(trial["TrainingJobName"])
                self._console.print("  trial", " ".join(part for part in _cells(trial) if part), highlight=False)


def trials_table(progress: Progress) -> Table:
    """Trials with their values and objective, best first, then those that have none."""
    trials = sorted(progress.trials, key=_rank)[:_SHOWN]
    tuned = list(trials[0]["TunedHyperParameters"]) if trials else []
    objective = progress.job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
    table = Table("trial", "status", *tuned, objective, "seconds", box=None, pad_edge=False)
    best = progress.job.get("BestTrainingJob", {}).get("TrainingJobName")
    for trial in trials:
        values = [short(trial["TunedHyperParameters"].get(name, "")) for name in tuned]
        status = Text(trial["TrainingJobStatus"], _STYLES.get(trial["TrainingJobStatus"], ""))
        style = "bold" if trial["TrainingJobName"] == best else ""
        table.add_row(_place(trial), status, *values, _objective(trial), _seconds(trial), style=style)
    return table


def best_values(progress: Progress) -> str:
    """The best trial in a sentence, its values in full, as the script was given them."""
    best = progress.job["BestTrainingJob"]
    final = best["FinalHyperParameterTuningJobObjectiveMetric"]
    words = " ".join(f"--{name} {value}" for name, value in best["TunedHyperParameters"].items())
    return f"Best: {final['MetricName']} {number(final['Value'])} of trial {_place(best)} with {words}"


def short(text: str) -> str:
    """A value with six significant digits, if it is a number that has more."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if len(text) <= _DIGITS + 2 else f"{value:.{_DIGITS}g}"


def _headline(progress: Progress) -> Text:
    elapsed = time.time() - progress.job["CreationTime"].timestamp()
    counters = progress.job["TrainingJobStatusCounters"]
    done = sum(count for name, count in counters.items() if name != "InProgress")
    return Text(f"{progress.job['HyperParameterTuningJobStatus']}  {elapsed:.0f} s  {done} ended", style="bold")


def _cells(trial: dict[str, Any]) -> list[str]:
    values = [f"{name}={short(value)}" for name, value in trial["TunedHyperParameters"].items()]
    reason = " ".join(trial.get("FailureReason", "emitted no objective").split())[:_LONGEST]
    said = _objective(trial) or ("" if trial["TrainingJobStatus"] == "Stopped" else reason)
    return [_place(trial), trial["TrainingJobStatus"], *values, said]


def _place(trial: dict[str, Any]) -> str:
    return str(trial["TrainingJobName"].split("-")[-2])


def _objective(trial: dict[str, Any]) -> str:
    return number(trial.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"))


def _seconds(trial: dict[str, Any]) -> str:
    if "TrainingStartTime" not in trial:
        return ""
    end = trial.get("TrainingEndTime")
    until = end.timestamp() if end else time.time()
    return f"{until - trial['TrainingStartTime'].timestamp():.1f}"


def _rank(trial: dict[str, Any]) -> tuple[bool, float]:
    final = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    if final is None:
        return True, 0.0
    return False, -final["Value"] if final["Type"] == "Maximize" else final["Value"]
