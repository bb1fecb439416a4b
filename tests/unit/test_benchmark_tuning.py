"""The benchmark of searches: its tasks, its tools and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("benchmarks_on_path")


def line(tool: str, losses: list[float], seed: int = 0) -> dict[str, Any]:
    return {
        "task": "friedman",
        "tool": tool,
        "seed": seed,
        "metric": "RMSE",
        "version": "1",
        "machine": {"cores": 2, "system": "Linux"},
        "losses": losses,
        "ask_seconds": [0.002] * len(losses),
    }


def test_the_table_has_the_best_so_far_and_the_ranks() -> None:
    from tuning_bench import report

    lines = [line("a", [3, 9, 9, 9, 9, 1]), line("b", [2, 9, 9, 9, 9, 9]), line("a", [4] * 6, 1), line("b", [4] * 6, 1)]
    table = report.markdown([*lines, {"task": "friedman", "tool": "c", "failed": "RuntimeError: no"}])
    assert "| RMSE after | seeds | 5 trials | 6 trials | ask, mean, ms |" in table
    assert "| a | 2 | 3.5 (0.71) | **2.5 (2.1)** | 2 |" in table
    assert "| a | 1.75 | 1.25 |" in table
    assert "* friedman, c: RuntimeError: no" in table


def test_every_task_has_a_loss_for_a_point_that_each_local_tool_asks_for() -> None:
    from tuning_bench.tasks import TASKS
    from tuning_bench.tools import TOOLS

    for tool in ("pilothouse", "pilothouse-random", "optuna-tpe"):
        search = TOOLS[tool](0, lambda: Path())
        number, values = search.ask()
        assert len(values) == 9
        loss = TASKS["diabetes"].loss({**values, "num_round": "10"})
        assert 40 < loss < 200
        search.tell(number, loss)


def test_early_stopping_is_compared_on_the_same_points() -> None:
    from tuning_bench import stopping
    from tuning_bench.tasks import Task

    class Falling(Task):
        """Losses that fall to a level of their own, in the order of their first hyperparameter."""

        def curve(self, values: Any, rounds: int) -> list[float]:
            return [float(values["eta"]) + 1 / step for step in range(1, rounds + 1)]

    lines = list(stopping.compared(Falling("falling", lambda: None, 0, 2), 0, 30))
    whole, median, hyperband = lines
    assert whole["rounds"] == 30 * stopping.ROUNDS
    assert median["rounds"] < whole["rounds"] <= hyperband["rounds"] < whole["rounds"] + stopping.ROUNDS
    assert median["trials"] == whole["trials"] == 30 < hyperband["trials"]
    assert whole["best"] == median["best"] >= hyperband["best"]
    assert hyperband["reached"] < whole["rounds"]
    assert "| falling, RMSE | none | 30 | 100% |" in stopping.markdown(lines)


def test_trials_that_nobody_stops_were_as_good_once_they_had_their_best() -> None:
    from tuning_bench import stopping
    from tuning_bench.tasks import Task

    known: dict[str, int] = {}

    class Third(Task):
        """The third point has the least loss."""

        def curve(self, values: Any, rounds: int) -> list[float]:
            return [abs(known.setdefault(values["eta"], len(known)) - 2.0)] * rounds

    whole = next(stopping.compared(Third("third", lambda: None, 0, 2), 0, 10))
    assert (whole["reached"], whole["rounds"]) == (3 * stopping.ROUNDS, 10 * stopping.ROUNDS)


def test_a_line_that_does_not_say_when_it_was_as_good_counts_for_none() -> None:
    from tuning_bench import stopping

    one = {"task": "friedman", "metric": "RMSE", "trials": 4, "rounds": 100, "best": 1.0}
    lines = [one | {"policy": "none"}, one | {"policy": "median rule", "reached": None}]
    lines += [one | {"policy": "Hyperband", "reached": reached} for reached in (20, 40, None)]
    assert [row.split(" | ")[-1] for row in stopping.markdown(lines).splitlines()[2:]] == [
        "– |",
        "never |",
        "30% (2 of 3 seeds) |",
    ]
