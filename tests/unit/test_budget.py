"""How a job's time is kept."""

from __future__ import annotations

import pytest

from pilothouse import clock
from pilothouse.automl.budget import Budget


def test_a_job_without_a_limit_has_none() -> None:
    budget = Budget(clock.now(), None, None)
    assert budget.remaining() is budget.training_seconds() is budget.combining_deadline() is None
    assert not budget.is_over()
    assert not budget.training_is_over()


def test_training_leaves_what_the_ensemble_is_expected_to_take() -> None:
    budget = Budget(clock.now(), 100, None)
    budget.combining = 6.0
    assert budget.reserve == pytest.approx(6.5)
    remaining, training = budget.remaining(), budget.training_seconds()
    assert remaining is not None
    assert training is not None
    assert remaining - training == pytest.approx(6.5, abs=0.1)


def test_a_job_that_deploys_leaves_time_for_that_too() -> None:
    assert Budget(clock.now(), 100, None, combining=6.0, deploying=3.0).reserve == pytest.approx(9.5)


def test_the_ensemble_never_gets_more_than_a_quarter() -> None:
    budget = Budget(clock.now(), 40, None, combining=1000.0)
    assert budget.reserve == 10.0


def test_time_counts_from_the_start_of_the_job() -> None:
    assert Budget(clock.now() - 100, 99, None).is_over()
    assert Budget(clock.now() - 99, 100, None).training_is_over()


def test_the_ensemble_may_be_late_but_less_than_the_job_may_be() -> None:
    budget = Budget(clock.now(), 60, None)
    late, deadline = budget.combining_deadline(), budget.deadline()
    assert late is not None
    assert deadline is not None
    assert 0 < late - deadline < 5
