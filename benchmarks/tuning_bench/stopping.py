"""What early stopping saves: the same points, trained to the end or stopped on the way."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tuning_bench.report import table
from tuning_bench.tasks import RANGES, Task

LEAST, ROUNDS = 9, 81
POLICIES = ("none", "median rule", "Hyperband")

Line = dict[str, Any]


def compared(task: Task, seed: int, trials: int) -> Iterator[Line]:
    """A line for each policy: the rounds spent, the best last loss, and after how many rounds it was as good as that of
    so many trials which nobody stopped, None if never. Those had it themselves before their last round.

    The median rule has as many trials; Hyperband, which is meant to try more, goes on until as many rounds are spent.
    """
    curves = _Curves(task)
    goal, most = float("-inf"), sys.maxsize
    for policy in POLICIES:
        search, spent, best, found, reached, tried = _search(policy, seed), 0, float("inf"), 0, None, 0
        while spent < most and (policy == "Hyperband" or tried < trials):
            trial = search.ask()
            assert trial is not None
            last, loss = _followed(search, trial, curves)
            tried, spent = tried + 1, spent + last
            best, found = (loss, spent) if loss < best else (best, found)
            reached = spent if reached is None and best <= goal else reached
            search.tell(trial.number, loss)
        if policy == POLICIES[0]:
            goal, most, reached = best, spent, found
        own = {"policy": policy, "trials": tried, "rounds": spent, "best": best, "reached": reached}
        yield {"task": task.name, "metric": task.metric, "seed": seed, **own}


def markdown(lines: Sequence[Line]) -> str:
    """A row for each task and policy: means over the seeds."""
    rows = []
    for task in dict.fromkeys(line["task"] for line in lines):
        own = [line for line in lines if line["task"] == task]
        full = statistics.fmean(line["rounds"] for line in own if line["policy"] == POLICIES[0])
        for policy in POLICIES:
            runs = [line for line in own if line["policy"] == policy]
            tried, spent, best = (statistics.fmean(run[key] for run in runs) for key in ("trials", "rounds", "best"))
            head = [f"{task}, {own[0]['metric']}", policy]
            rows.append([*head, f"{tried:.0f}", f"{spent / full:.0%}", f"{best:.5g}", _when(runs, full)])
    return table(["", "stopping", "trials", "rounds spent", "best loss", "rounds until as good as without"], rows)


def _when(runs: Sequence[Line], full: float) -> str:
    """After what share of all rounds; a line that does not say it has no `reached`."""
    said = [run["reached"] for run in runs if "reached" in run]
    shares = [rounds / full for rounds in said if rounds is not None]
    if not said:
        return "–"
    return f"{statistics.fmean(shares):.0%} ({len(shares)} of {len(said)} seeds)" if shares else "never"


class _Curves:
    """The losses of points after each round, trained as far as they are asked for."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._known: dict[int, list[float]] = {}

    def loss(self, trial: Any, step: int) -> float:
        known = self._known.get(trial.number, [])
        if len(known) < step:
            rounds = next(level for level in (LEAST, 3 * LEAST, ROUNDS) if level >= step)
            known = self._known[trial.number] = self._task.curve(trial.values, rounds)
        return known[step - 1]


def _followed(search: Any, trial: Any, curves: _Curves) -> tuple[int, float]:
    """The round after which the trial ended, and its loss then."""
    for step in range(1, ROUNDS + 1):
        loss = curves.loss(trial, step)
        if search.report(trial.number, step, loss) == "stop":
            break
    return step, loss


def _search(policy: str, seed: int) -> Any:
    from pilothouse.catalog.tuning_jobs import TuningJob
    from pilothouse.tuning.search import Search

    config: dict[str, Any] = {
        "Strategy": "Hyperband" if policy == "Hyperband" else "Random",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        "ParameterRanges": RANGES,
    }
    if policy == "Hyperband":
        config["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": LEAST, "MaxResource": ROUNDS}}
    elif policy == "median rule":
        config["TrainingJobEarlyStoppingType"] = "Auto"
    request = {
        "HyperParameterTuningJobName": "benchmark",
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
    }
    return Search(TuningJob.of(request), seed)
