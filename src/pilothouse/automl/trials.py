"""Trains the planned candidates side by side within the job's time, and ends with the ensemble."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.catalog import algorithms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.problems.tabular import plan as planning
from pilothouse.problems.tabular.plan import Allowance, CandidatePlan
from pilothouse.training import task
from pilothouse.training.task import Outcome

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_OUT_OF_TIME = "The AutoML job reached MaxAutoMLJobRuntimeInSeconds before this candidate was finished."
_OVER_LIMIT = (
    "The candidate was stopped at MaxRuntimePerTrainingJobInSeconds ({} s). Allow more, or choose faster algorithms."
)
_LEAST_FOR_ENSEMBLE = 2


class Trials:
    """The training of one job. The candidates' rows are its record: what is terminal there is not trained again."""

    def __init__(
        self, job: Job, spec: TabularJob, board: Board, budget: Budget, facts: dict[str, Any], dataset: Path
    ) -> None:
        self._job = job
        self._spec = spec
        self._board = board
        self._budget = budget
        self._dataset = dataset
        self._costs = planning.Costs(planning.Facts.of(facts))
        self._facts = planning.Facts.of(facts)
        self._slots = job.settings.slots
        self._lock = threading.Lock()
        self._waiting: list[CandidatePlan] = []

    def run(self) -> bool:
        """Trains all planned candidates. False if the job's time was over before every one of them had its turn."""
        plans = self._plans()
        base = [plan for plan in plans if plan.algorithm != planning.ENSEMBLE]
        self._waiting = [plan for plan in base if not self._is_settled(plan)]
        with ThreadPoolExecutor(self._slots) as pool:
            workers = [pool.submit(self._work) for _ in range(min(self._slots, len(self._waiting)))]
        for worker in workers:
            worker.result()
        for plan in plans[len(base) :]:
            self._combine(plan, base)
        return all(self._is_settled(plan) for plan in base)

    def _plans(self) -> list[CandidatePlan]:
        documents = self._job.once("plan", lambda: {"candidates": [vars(plan) for plan in self._new_plans()]})
        return [CandidatePlan(**document) for document in documents["candidates"]]

    def _new_plans(self) -> list[CandidatePlan]:
        return planning.plan(
            self._facts,
            algorithms=self._spec.algorithms or algorithms.SERVED,
            max_candidates=self._spec.max_candidates or algorithms.DEFAULT_MAX_CANDIDATES["ENSEMBLING"],
            budget_seconds=self._budget.training_seconds(),
            slots=self._slots,
            metric=self._board.metric,
        )

    def _work(self) -> None:
        """One of the job's parallel trainers: takes candidates until none is left or the time is over."""
        while (allowance := self._next()) is not None:
            self._train(allowance)

    def _next(self) -> Allowance | None:
        with self._lock:
            while self._waiting and not self._budget.training_is_over():
                candidate = self._waiting.pop(0)
                seconds = self._budget.training_seconds()
                allowed = planning.allow(candidate, self._waiting, self._costs, seconds_left=seconds, slots=self._slots)
                if allowed is not None:
                    return allowed
            return None

    def _train(self, allowance: Allowance) -> None:
        plan = allowance.candidate
        name = self._board.name_of(plan.suffix)
        limits = [limit for limit in (allowance.seconds, self._spec.max_runtime_per_trial) if limit is not None]
        arguments = {
            "trial": plan.trial(name, self._board.metric),
            "dataset": str(self._dataset),
            "model_uri": self._board.model_uri(name),
            "seconds": min(limits, default=None),
            "ends_at": self._budget.training_ends_at(),
        }
        self._board.open(name)
        begun = time.monotonic()
        outcome = task.attempt(
            self._job,
            "pilothouse.automl.tasks:train",
            self._folder(plan),
            arguments,
            seconds=self._spec.max_runtime_per_trial,
            deadline=self._budget.training_deadline(),
        )
        self._settle(name, outcome)
        if outcome.result is not None:
            with self._lock:
                self._costs.observe(plan, time.monotonic() - begun)

    def _settle(self, name: str, outcome: Outcome) -> None:
        if outcome.result is not None:
            with self._lock:
                self._board.complete(name, outcome.result)
        elif not outcome.late:
            self._board.fail(name, outcome.reason)
        elif self._budget.training_is_over():
            self._board.fail(name, _OUT_OF_TIME, status="Stopped")
        else:
            limit = self._spec.max_runtime_per_trial
            self._board.fail(name, _OVER_LIMIT.format(limit) if limit else outcome.reason, status="Stopped")

    def _combine(self, plan: CandidatePlan, base: list[CandidatePlan]) -> None:
        """The ensemble of what was finished. Its time is the part of the budget that training leaves alone."""
        finished = [p for p in base if self._status(p) == "Completed"]
        if len(finished) < _LEAST_FOR_ENSEMBLE or self._is_settled(plan) or self._budget.is_over():
            return
        name = self._board.name_of(plan.suffix)
        arguments = {
            "dataset": str(self._dataset),
            "trials": [str(self._folder(p)) for p in finished],
            "metric": self._board.metric,
            "model_uri": self._board.model_uri(name),
        }
        self._board.open(name)
        deadline = self._budget.deadline()
        outcome = task.attempt(
            self._job, "pilothouse.automl.tasks:combine", self._folder(plan), arguments, deadline=deadline
        )
        self._settle(name, outcome)

    def _folder(self, plan: CandidatePlan) -> Path:
        return self._job.directory / "trials" / plan.suffix

    def _status(self, plan: CandidatePlan) -> str | None:
        row = self._job.store.get("candidate", self._board.name_of(plan.suffix))
        return row.status if row is not None else None

    def _is_settled(self, plan: CandidatePlan) -> bool:
        return self._status(plan) not in (None, "InProgress")
