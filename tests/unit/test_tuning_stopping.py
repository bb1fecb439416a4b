"""Early stopping: the median rule and Hyperband."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.catalog.tuning_jobs import Resources
from pilothouse.tuning.hyperband import Hyperband, levels
from pilothouse.tuning.stopping import MedianRule, NeverStopping, Stopper


def ended(stopper: Stopper, number: int, losses: list[float]) -> None:
    for step, loss in enumerate(losses, 1):
        stopper.report(number, step, loss)
    stopper.end(number)


@pytest.fixture
def median() -> MedianRule:
    """Three trials have ended; their running averages at step 2 are 3, 5 and 7."""
    rule = MedianRule()
    for number, losses in enumerate([[4.0, 2.0, 1.0], [6.0, 4.0], [8.0, 6.0]]):
        ended(rule, number, losses)
    return rule


def test_a_trial_worse_than_the_median_of_running_averages_is_stopped(median: MedianRule) -> None:
    assert median.report(9, 1, 6.0) == "go"
    assert median.report(9, 2, 5.1) == "stop"


def test_a_trial_as_good_as_the_median_goes_on(median: MedianRule) -> None:
    median.report(9, 1, 100.0)
    assert median.report(9, 2, 5.0) == "go"


def test_three_earlier_trials_must_have_reached_the_step(median: MedianRule) -> None:
    assert median.report(9, 3, 1000.0) == "go"


def test_trials_that_still_run_are_not_earlier(median: MedianRule) -> None:
    for number in range(10, 20):
        median.report(number, 1, 0.0)
    assert median.report(9, 1, 5.9) == "go"


def test_a_value_that_is_no_number_is_worse_than_any_median(median: MedianRule) -> None:
    assert median.report(9, 1, math.inf) == "stop"


def test_a_trial_that_is_started_again_is_judged_from_its_first_step_on(median: MedianRule) -> None:
    for losses in ([50.0, 60.0, 70.0], [1.0, 2.0, 3.0]):
        ended_later = [median.report(9, step, loss) for step, loss in enumerate(losses, 1)]
    assert ended_later == ["go", "go", "go"]
    median.end(9)
    assert [median.report(10, 3, loss) for loss in (2.0, 1e9)] == ["go", "go"]  # two have reached the step
    ended(median, 11, [0.0, 0.0, 0.0])
    assert [median.report(12, 3, loss) for loss in (2.0, 2.5)] == ["go", "stop"]  # of 7/3, 2 and 0


def test_never_means_never() -> None:
    assert NeverStopping().report(1, 1, math.inf) == "go"


def test_rungs_are_factors_of_three_from_the_least_to_below_the_most() -> None:
    assert levels(1, 27) == [1, 3, 9]
    assert levels(2, 20) == [2, 6, 18]
    assert levels(5, 5) == []


def test_hyperband_keeps_the_best_third_at_a_rung() -> None:
    stopper = Hyperband(Resources(1, 27))
    advice = [stopper.report(number, 1, loss) for number, loss in enumerate([5.0, 4.0, 6.0, 3.0, 3.5, 7.0, 2.0])]
    assert advice == ["go", "go", "stop", "go", "stop", "stop", "go"]


def test_hyperband_stops_no_trial_before_the_least_resource() -> None:
    stopper = Hyperband(Resources(4, 27))
    assert all(stopper.report(number, step, 9.0 * number) == "go" for number in range(9) for step in (1, 2, 3))
    assert [stopper.report(number, 4, 9.0 * number) for number in range(3)] == ["go", "go", "stop"]


def test_hyperband_stops_every_trial_at_the_most_resource() -> None:
    stopper = Hyperband(Resources(1, 3))
    assert [stopper.report(0, step, 1.0) for step in (1, 2, 3)] == ["go", "go", "stop"]
    assert Hyperband(Resources(1, 1)).report(0, 1, 1.0) == "stop"


def test_hyperband_lets_a_trial_save_its_model_that_ends_itself_at_the_most_resource() -> None:
    stopper = Hyperband(Resources(1, 3, suffices=True))
    assert [stopper.report(0, step, 1.0) for step in (1, 2, 3, 4)] == ["go", "go", "go", "stop"]


def test_a_report_that_skips_a_rung_counts_for_it() -> None:
    stopper = Hyperband(Resources(1, 27))
    for number, loss in enumerate([1.0, 2.0, 3.0]):
        stopper.report(number, 2, loss)
    assert stopper.report(3, 1, 2.5) == "stop"


def test_what_is_no_number_is_the_worst_at_a_rung() -> None:
    stopper = Hyperband(Resources(1, 9))
    assert [stopper.report(number, 1, loss) for number, loss in enumerate([1.0, 2.0, math.inf])] == ["go", "go", "stop"]


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=9), min_size=3, max_size=12))
def test_what_is_remembered_does_not_depend_on_the_order_of_trials(losses: list[list[float]]) -> None:
    for made in (MedianRule, lambda: Hyperband(Resources(1, 9))):
        advice = []
        for order in (range(len(losses)), reversed(range(len(losses)))):
            stopper: Stopper = made()
            for number in order:
                ended(stopper, number, losses[number])
            advice.append([stopper.report(99, step, 0.4) for step in range(1, 9)])
        assert advice[0] == advice[1]


def test_hyperband_saves_most_epochs_and_keeps_the_best() -> None:
    """81 trials whose order is settled early on: the best one runs to the end."""
    stopper, spent, full = Hyperband(Resources(1, 27)), 0, []
    for number in range(81):
        quality = (number * 37 % 81) / 81
        for step in range(1, 28):
            spent += 1
            if stopper.report(number, step, quality + 1 / step) == "stop":
                break
        if step == 27:
            full.append(quality)
    assert min(full) == 0
    assert spent < 81 * 27 / 4
