"""When a tuning job ends, which trial is best, and the counters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pilothouse.catalog.tuning_jobs import Criteria, Definition, Limits, Objective, TuningJob
from pilothouse.catalog.tuning_ranges import ContinuousRange
from pilothouse.tuning import completion
from pilothouse.tuning.completion import Ending
from pilothouse.tuning.trial import Trial


def job(direction: Any = "Maximize", limits: Limits | None = None, **criteria: Any) -> TuningJob:
    definition = Definition(None, Objective(direction, "m"), (ContinuousRange("x", 0, 1),), {}, {})
    return TuningJob(
        name="tune",
        strategy="Bayesian",
        definitions=(definition,),
        limits=limits or Limits(2, 1000, None),
        criteria=Criteria(**criteria),
        early_stopping=False,
        resources=None,
        seed=None,
        warm_start=None,
        autotune=False,
    )


def trials(*values: float | None) -> list[Trial]:
    """Ended trials with these last values; None for one that failed."""
    return [
        Trial(i, 0, {"x": "0.5"}, "Failed" if value is None else "Completed", value=value, ended=i)
        for i, value in enumerate(values)
    ]


def test_the_best_trial_has_the_best_last_value() -> None:
    done = trials(0.3, 0.9, None, 0.9, math.nan, math.inf)
    found = completion.best(job(), done)
    assert found is not None
    assert found.number == 1
    least = completion.best(job("Minimize"), [*done, replace(done[0], number=6, value=-math.inf)])
    assert least is not None
    assert least.number == 0


def test_a_stopped_trial_may_be_the_best() -> None:
    done = [*trials(0.3), Trial(1, 0, {}, "Stopped", value=0.5, ended=1)]
    assert completion.best(job(), done) == done[1]


def test_nothing_is_best_without_a_number() -> None:
    assert completion.best(job(), [*trials(None, math.nan), Trial(2, 0, {})]) is None


def test_all_jobs_launched_end_the_search_and_let_the_last_ones_finish() -> None:
    limited = job(limits=Limits(2, 3, None))
    assert completion.ending(limited, trials(0.1, 0.2)) is None
    assert completion.ending(limited, [*trials(0.1, 0.2), Trial(2, 0, {})]) == Ending("jobs", False)


def test_the_time_limit_stops_what_runs() -> None:
    limited = job(limits=Limits(2, 3, 120))
    assert completion.ending(limited, trials(0.1), 119.9) is None
    assert completion.ending(limited, trials(0.1), 120.0) == Ending("runtime", True)


@pytest.mark.parametrize(("direction", "short", "there"), [("Maximize", 0.89, 0.9), ("Minimize", 0.91, 0.9)])
def test_the_target_ends_the_job(direction: str, short: float, there: float) -> None:
    aimed = job(direction, target=0.9)
    assert completion.ending(aimed, trials(short, math.nan)) is None
    assert completion.ending(aimed, trials(short, there)) == Ending("target", True)


def test_trials_that_do_not_improve_by_one_percent_are_counted_from_the_last_that_did() -> None:
    assert completion.not_improving(job(), trials(0.5, 0.504, 0.3, None, 0.5049)) == 3
    assert completion.not_improving(job(), trials(0.5, 0.3, 0.505)) == 0
    assert completion.not_improving(job("Minimize"), trials(0.0, 0.1, -0.1, -0.1)) == 1
    assert completion.ending(job(not_improving=3), trials(0.5, 0.504, 0.3, 0.5049)) == Ending("not improving", True)
    assert completion.ending(job(not_improving=3), trials(0.5, 0.504, 0.3)) is None


def test_improvement_goes_by_the_order_of_ending() -> None:
    first, second = trials(0.5, 0.9)
    swapped = [replace(first, ended=1), replace(second, ended=0)]
    assert completion.not_improving(job(), swapped) == 1


def test_a_search_has_converged_when_it_waited_as_long_as_it_took() -> None:
    rising = [0.1 + 0.1 * i for i in range(30)]
    assert not completion.has_converged(job(), trials(*rising, *[0.1] * 29))
    assert completion.has_converged(job(), trials(*rising, *[0.1] * 30))
    assert completion.has_converged(job(), trials(*[0.5] * 21))
    assert not completion.has_converged(job(), trials(*[0.5] * 20))
    assert completion.ending(job(on_convergence=True), trials(*[0.5] * 21)) == Ending("converged", True)


def test_counters_count_each_trial_once() -> None:
    done = [
        *trials(0.1, math.nan, None),
        Trial(3, 0, {}),
        Trial(4, 0, {}, "Stopped", value=0.2, ended=3),
        Trial(5, 0, {}, "Stopped", ended=4),
        Trial(6, 0, {}, "Failed", retryable=True, ended=5),
        Trial(7, 0, {}, "Completed", ended=6),
        Trial(8, 0, {}, "Failed", value=0.3, ended=7),
    ]
    assert completion.objective_counters(done) == {"Succeeded": 2, "Pending": 1, "Failed": 6}
    assert completion.training_counters(done) == {
        "Completed": 3,
        "InProgress": 1,
        "RetryableError": 1,
        "NonRetryableError": 2,
        "Stopped": 2,
    }


def test_a_job_without_any_objective_says_why_it_failed() -> None:
    assert completion.failure([]) is None
    assert completion.failure(trials(0.1, None)) is None
    assert "All training jobs failed" in (completion.failure(trials(None, None)) or "")
    assert "Regex" in (completion.failure(trials(None, math.nan)) or "")
