"""The trials of a tuning job side by side, one of whose threads meets a store that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.errors import LeaseLost, StoreAway
from pilothouse.tuning.trial import Trial
from pilothouse.tuning.trials import Trials

PATIENCE = 60.0
REQUEST = {
    "HyperParameterTuningJobName": "tune",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Random",
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": 9,
            "MaxParallelTrainingJobs": 2,
            "MaxRuntimeInSeconds": 60,
        },
    },
    "TrainingJobDefinitions": [],
}


class Asked:
    """A search, and the ledger of what it was asked for."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.running: list[Trial] = []

    def ask(self) -> Trial:
        return Trial(len(self.trials), 0, {})

    def open(self, trial: Trial) -> None:
        self.trials.append(trial)


def eventually(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up, "it has not happened"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: its one element is the time."""
    time_now = [0.0]
    monkeypatch.setattr("pilothouse.clock.now", lambda: time_now[0])
    return time_now


def begun(asked: Asked, changed: Callable[[], None] = lambda: None) -> Trials:
    """The trials of a job that began at 0."""
    job: Any = SimpleNamespace(settings=SimpleNamespace(slots=2), stop_requested=False)
    return Trials(job, TuningJob.of(REQUEST), asked, asked, 0.0, changed=changed)  # type: ignore[arg-type]


def test_trials_that_run_are_not_stopped_when_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, both, finished = Asked(), threading.Barrier(2, timeout=PATIENCE), list[bool]()
    trials = begun(asked)

    def train(trial: Trial) -> None:
        both.wait()
        if trial.number == 0:
            raise StoreAway
        eventually(lambda: trials._leaving)
        finished.append(trials._is_over())

    monkeypatch.setattr(trials, "_train", train)
    with pytest.raises(StoreAway):
        trials.run()
    assert finished == [False]
    assert len(asked.trials) == 2


def test_limits_hold_and_counters_are_written_though_the_store_was_away(
    monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    asked, both, finished, written = Asked(), threading.Barrier(2, timeout=PATIENCE), list[bool](), list[bool]()

    def away_at_first() -> None:
        written.append(len(written) > 0)
        if not written[-1]:
            raise StoreAway

    def train(trial: Trial) -> None:
        both.wait()
        if trial.number == 0:
            raise StoreAway
        eventually(lambda: trials._leaving)
        now[0] = 60.0
        eventually(trials._is_over)
        finished.append(trials.ending is not None and trials.ending.reason == "runtime")

    trials = begun(asked, away_at_first)
    monkeypatch.setattr(trials, "_train", train)
    with pytest.raises(StoreAway):
        trials.run()
    assert finished == [True]
    assert True in written
    assert len(asked.trials) == 2


def test_what_else_fails_while_the_store_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    trials = begun(Asked())

    def train(trial: Trial) -> None:
        both.wait()
        if trial.number == 0:
            raise StoreAway
        eventually(lambda: trials._leaving)
        raise LeaseLost

    monkeypatch.setattr(trials, "_train", train)
    with pytest.raises(LeaseLost):
        trials.run()
    assert trials._is_over()
