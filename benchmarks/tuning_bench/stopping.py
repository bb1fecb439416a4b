"""What early stopping saves: the same points, trained to the end or stopped on the way."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from tuning_bench.report import table
from tuning_bench.tasks import RANGES, Task

ROUNDS = 81
POLICIES = ("none", "median rule", "Hyperband")

Line = dict[str, Any]


def compared(task: Task, seed: int, trials: int) -> Iterator[Line]:
    """A line for each policy: the rounds spent, and the best last loss. Each point is trained once, for all of them."""
    curves: dict[int, list[float]] = {}
    for policy in POLICIES:
        search, spent, best = _search(policy, seed), 0, float("inf")
        for _ in range(trials):
            trial = search.ask()
            assert trial is not None
            if trial.number not in curves:
                curves[trial.number] = task.curve(trial.values, ROUNDS)
            curve = curves[trial.number]
            last = _followed(search, trial.number, curve)
            spent, best = spent + last, min(best, curve[last - 1])
            search.tell(trial.number, curve[last - 1])
        yield {"task": task.name, "metric": task.metric, "seed": seed, "policy": policy, "rounds": spent, "best": best}


def markdown(lines: Sequence[Line]) -> str:
    """A row for each task and policy: means over the seeds."""
    rows = []
    for task in dict.fromkeys(line["task"] for line in lines):
        own = [line for line in lines if line["task"] == task]
        full = statistics.fmean(line["rounds"] for line in own if line["policy"] == POLICIES[0])
        for policy in POLICIES:
            runs = [line for line in own if line["policy"] == policy]
            spent, best = (statistics.fmean(line[member] for line in runs) for member in ("rounds", "best"))
            rows.append([task, policy, str(len(runs)), f"{spent / full:.0%}", f"{best:.5g}", own[0]["metric"]])
    return table(["", "stopping", "seeds", "rounds spent", "best loss", ""], rows)


def _followed(search: Any, number: int, curve: Sequence[float]) -> int:
    """The round after which the trial ended."""
    for step, loss in enumerate(curve, 1):
        if search.report(number, step, loss) == "stop":
            return step
    return len(curve)


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
        config["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": 3, "MaxResource": ROUNDS}}
    elif policy == "median rule":
        config["TrainingJobEarlyStoppingType"] = "Auto"
    request = {
        "HyperParameterTuningJobName": "benchmark",
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
    }
    return Search(TuningJob.of(request), seed)
