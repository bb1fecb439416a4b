"""The trials of a tuning job, drawn live on a terminal and line by line elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from pilothouse.cli.live import SHOWN, Live, number, seconds, status
from pilothouse.client.tuning import Progress

_ENDED = ("Completed", "Failed", "Stopped")
_DIGITS = 6
_LONGEST = 160


class Trials(Live[Progress]):
    """The trials of a tuning job."""

    def headline(self, progress: Progress) -> str:
        """Its status, time, and how many have ended."""
        counters = progress.job["TrainingJobStatusCounters"]
        done = sum(count for name, count in counters.items() if name != "InProgress")
        elapsed = seconds(progress.job["CreationTime"])
        return f"{progress.job['HyperParameterTuningJobStatus']}  {elapsed:.0f} s  {done} ended"

    def table(self, progress: Progress) -> Table:
        """See `trials_table`."""
        return trials_table(progress)

    def lines(self, progress: Progress) -> Iterator[str]:
        """One for each trial that has ended."""
        for trial in progress.trials:
            if trial["TrainingJobStatus"] in _ENDED:
                yield " ".join(part for part in ("  trial", *_cells(trial)) if part)


def trials_table(progress: Progress) -> Table:
    """Trials with their values and objective, best first, then those that have none."""
    trials = sorted(progress.trials, key=_rank)[:SHOWN]
    tuned = list(trials[0]["TunedHyperParameters"]) if trials else []
    objective = progress.job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
    table = Table("trial", "status", *tuned, objective, "seconds", box=None, pad_edge=False)
    best = progress.job.get("BestTrainingJob", {}).get("TrainingJobName")
    for trial in trials:
        values = [short(trial["TunedHyperParameters"].get(name, "")) for name in tuned]
        style = "bold" if trial["TrainingJobName"] == best else ""
        said = status(trial["TrainingJobStatus"])
        table.add_row(_place(trial), said, *values, _objective(trial), _seconds(trial), style=style)
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
    begun = trial.get("TrainingStartTime")
    return "" if begun is None else f"{seconds(begun, trial.get('TrainingEndTime')):.1f}"


def _rank(trial: dict[str, Any]) -> tuple[bool, float]:
    final = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    if final is None:
        return True, 0.0
    return False, -final["Value"] if final["Type"] == "Maximize" else final["Value"]
