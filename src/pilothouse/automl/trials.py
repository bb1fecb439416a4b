"""Trains the planned candidates side by side within the job's time, then a second layer, and ends with the ensemble."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.host_costs import HostCosts
from pilothouse.automl.line import Line, Ticket
from pilothouse.automl.opening import of_ensembling
from pilothouse.automl.roster import Roster
from pilothouse.catalog import algorithms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.launch.slots import memory_room, memory_share
from pilothouse.objects import uri
from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular import plan as planning
from pilothouse.problems.tabular.costs import combining_seconds
from pilothouse.problems.tabular.plan import CandidatePlan
from pilothouse.training import task
from pilothouse.training.task import Outcome

if TYPE_CHECKING:
    from pilothouse.work.job import Job

HOST_COSTS = "costs.json"

OUT_OF_TIME = "The AutoML job reached MaxAutoMLJobRuntimeInSeconds before this candidate was finished."
OVER_LIMIT = (
    "The candidate was stopped at MaxRuntimePerTrainingJobInSeconds ({} s). Allow more, or choose faster algorithms."
)
_LEAST_FOR_ENSEMBLE = 2
_MOST_COMBINED = 24
_LAYERED_FROM = 100
"""Jobs of so many seconds keep time back for a second layer; shorter ones have it only if the first ends early."""

_LAYER_SHARE = 0.18
_LEAST_MARGIN, _MOST_MARGIN_SHARE = 0.5, 0.05
"""A trial must end this long before it is killed, in seconds and as a share of the job, or its work would be lost."""


class Trials:
    """The training of one job. The candidates' rows are its record: what is terminal there is not trained again."""

    def __init__(
        self, job: Job, spec: TabularJob, board: Board, budget: Budget, facts: dict[str, Any], dataset: Path
    ) -> None:
        self._job, self._spec, self._board, self._budget = job, spec, board, budget
        self._dataset = dataset
        self._facts = planning.Facts.of(facts)
        self._slots = job.settings.slots
        self._host = HostCosts(job.settings.home / HOST_COSTS)
        self._known = self._host.factors()
        self._costs = planning.Costs(self._facts, self._known)
        self._roster = Roster(job, dataset, self._facts.columns)
        self._lock = threading.Lock()
        self._layer_reserve = 0.0
        self._margin = _LEAST_MARGIN

    def define(self) -> None:
        """Describes the planned candidates in S3 instead of training them."""
        self._job.once("definitions", self._described)

    def run(self) -> bool:
        """Trains all planned candidates. False if the job's time was over before every one of them had its turn."""
        plans = self._plans()
        first = [plan for plan in plans if plan.layer == 1 and plan.algorithm != planning.ENSEMBLE]
        stackers = [plan for plan in plans if plan.layer == 2]
        self._begin(first + self._roster.drawn_before() + stackers)
        self._layer_reserve = self._reserved_for(stackers)
        self._train_all(self._roster.first_layer())
        self._layer_reserve = 0.0
        if len(self._roster.feeders()) >= _LEAST_FOR_ENSEMBLE:
            self._train_all(stackers)
        self._host.learn(self._costs.corrections())
        for plan in plans:
            if plan.algorithm == planning.ENSEMBLE:
                self._combine(plan)
        return all(self._is_settled(plan) for plan in first)

    def _described(self) -> dict[str, Any]:
        place = uri.parse(f"{self._spec.output_path}/{self._spec.name}/sagemaker-automl-candidates/candidates.json")
        described = [
            {
                "CandidateName": self._board.name_of(plan.suffix),
                "algorithm": plan.algorithm,
                "hyperparameters": plan.params,
                "layer": plan.layer,
                "folds": plan.folds,
            }
            for plan in self._plans()
        ]
        self._job.objects.put(place.bucket, place.key, json.dumps(described, indent=1).encode())
        return {}

    def _plans(self) -> list[CandidatePlan]:
        documents = self._job.once("plan", lambda: {"candidates": [vars(plan) for plan in self._new_plans()]})
        return [CandidatePlan(**document) for document in documents["candidates"]]

    def _new_plans(self) -> list[CandidatePlan]:
        return planning.plan(
            self._facts,
            algorithms=algorithms.trained(self._spec.algorithms),
            max_candidates=algorithms.max_candidates(self._spec.max_candidates, self._spec.max_runtime),
            budget_seconds=self._budget.training_seconds(),
            slots=self._slots,
            metric=self._board.metric,
            costs=self._costs,
        )

    def _begin(self, plans: list[CandidatePlan]) -> None:
        """Takes note of the plans, and of what an earlier run of this job finished."""
        self._roster.enlist(plans)
        for plan in plans:
            if self._status(plan) == "Completed":
                self._roster.take_in(plan, self._folder(plan))
        self._expect_combining()

    def _expect_combining(self) -> None:
        """Where candidates' own ends take long, the host is busy, and the ensemble's end will take as long."""
        count = min(self._roster.finished + self._slots, _MOST_COMBINED)
        expected = combining_seconds(self._facts, count) * self._known.get(planning.ENSEMBLE, 1.0)
        self._budget.combining = expected + self._margin

    def _reserved_for(self, stackers: list[CandidatePlan]) -> float:
        """Seconds that the first layer leaves to the second."""
        seconds = self._budget.training_seconds()
        if seconds is None or not stackers or (self._budget.job_seconds or 0) < _LAYERED_FROM:
            return 0.0
        wanted = 1.5 * sum(self._costs.seconds(plan) for plan in stackers) / self._slots
        return min(_LAYER_SHARE * seconds, wanted)

    def _train_all(self, plans: list[CandidatePlan]) -> None:
        first_layer = bool(plans) and plans[0].layer == 1
        line = Line(
            [plan for plan in plans if not self._is_settled(plan)],
            facts=self._facts,
            costs=self._costs,
            slots=self._slots,
            room=memory_room(self._job.settings),
            seconds_left=self._seconds_left,
            more=self._further if first_layer else lambda _algorithm: None,
            leave_out=self._leave_out,
            promise=self._roster.promise if first_layer else dict,
            begun=[plan for plan in plans if self._is_settled(plan)],
            trial_seconds=self._budget.trial_seconds,
        )
        with ThreadPoolExecutor(self._slots) as pool:
            workers = [pool.submit(self._work, line) for _ in range(self._slots)]
        for worker in workers:
            worker.result()

    def _seconds_left(self) -> float | None:
        seconds = self._budget.training_seconds()
        return None if seconds is None else seconds - self._layer_reserve - self._margin

    def _work(self, line: Line) -> None:
        """One of the job's parallel trainers: takes candidates until none is left or the time is over."""
        while (ticket := line.take()) is not None:
            seconds = None
            try:
                seconds = self._train(ticket)
            finally:
                line.give_back(ticket, seconds)

    def _further(self, algorithm: str | None) -> CandidatePlan | None:
        """One more candidate (of `algorithm`) than planned, if the job has a time limit."""
        if self._budget.job_seconds is None:
            return None
        most = algorithms.max_candidates(self._spec.max_candidates, self._spec.max_runtime)
        return self._roster.further(most - 1, algorithm)  # the ensemble is one of them

    def _leave_out(self, plan: CandidatePlan, reason: str) -> None:
        name = self._board.name_of(plan.suffix)
        self._open(name)
        self._board.fail(name, reason, status="Stopped")

    def _train(self, ticket: Ticket) -> float | None:
        """Trains a candidate to its terminal row; the seconds it took, if it was finished."""
        plan, name = ticket.plan, self._board.name_of(ticket.plan.suffix)
        limits = [limit for limit in (ticket.allowance.seconds, self._spec.max_runtime_per_trial) if limit is not None]
        ends_at = self._budget.training_ends_at()
        arguments = {
            "trial": self._trial(plan, name, ticket.threads),
            "dataset": str(self._dataset),
            "model_uri": self._board.model_uri(name),
            "seconds": min(limits, default=None),
            "ends_at": None if ends_at is None else ends_at - self._layer_reserve - self._margin,
        }
        self._open(name)
        begun = time.monotonic()
        outcome = task.attempt(
            self._job,
            "pilothouse.automl.tasks:train",
            self._folder(plan),
            arguments,
            seconds=self._spec.max_runtime_per_trial,
            deadline=self._budget.training_deadline(),
            memory=max(memory_share(self._job.settings), 2 * ticket.memory),
        )
        limit = self._spec.max_runtime_per_trial
        over_limit = limit is not None and min(limits) >= limit
        self._settle(name, outcome, OVER_LIMIT.format(limit) if over_limit else outcome.reason)
        if outcome.result is None:
            return None
        return self._finished(plan, outcome.result, time.monotonic() - begun)

    def _trial(self, plan: CandidatePlan, name: str, threads: int) -> dict[str, Any]:
        document = plan.trial(name, self._board.metric, threads)
        if plan.layer > 1:
            document["inputs"] = [str(self._folder(feeder)) for feeder in self._roster.feeders()]
        return document

    def _finished(self, plan: CandidatePlan, result: dict[str, Any], took: float) -> float:
        """Learns from a finished trial that `took` so many seconds with its start and its upload; its own seconds."""
        inside = float(result["seconds"]["total"])
        with self._lock:
            most = (self._budget.job_seconds or 0) * _MOST_MARGIN_SHARE
            self._margin = max(self._margin, min(1.2 * (took - inside), most))
            if self._status(plan) == "Completed":
                self._roster.take_in(plan, self._folder(plan))
            self._expect_combining()
        return inside

    def _settle(self, name: str, outcome: Outcome, late: str) -> None:
        """Ends the candidate's row; `late` is the reason if it took longer than it was allowed."""
        if outcome.result is not None:
            with self._lock:
                self._board.complete(name, outcome.result)
        elif not outcome.late:
            self._board.fail(name, outcome.reason)
        elif self._budget.training_is_over():
            self._board.fail(name, OUT_OF_TIME, status="Stopped")
        else:
            self._board.fail(name, late, status="Stopped")

    def _combine(self, plan: CandidatePlan) -> None:
        """The ensemble of what was finished. Its time is the part of the budget that training leaves alone."""
        finished = self._roster.ranked()[:_MOST_COMBINED]
        if len(finished) < _LEAST_FOR_ENSEMBLE or self._is_settled(plan) or self._budget.is_over():
            return
        name = self._board.name_of(plan.suffix)
        arguments = {
            "dataset": str(self._dataset),
            "trials": [str(self._folder(p)) for p in finished],
            "metric": self._board.metric,
            "model_uri": self._board.model_uri(name),
            "seconds": self._budget.remaining(),
        }
        self._open(name)
        begun, deadline = time.monotonic(), self._budget.combining_deadline()
        outcome = task.attempt(
            self._job,
            "pilothouse.automl.tasks:combine",
            self._folder(plan),
            arguments,
            deadline=deadline,
            memory=max(memory_share(self._job.settings), 2 * memory.combining(self._facts, len(finished))),
        )
        self._settle(name, outcome, outcome.reason)
        if outcome.result is None:
            return
        took = time.monotonic() - begun
        self._host.learn({planning.ENSEMBLE: took / combining_seconds(self._facts, len(finished))})

    def _open(self, name: str) -> None:
        uri = self._board.model_uri(name)
        self._board.open(name, of_ensembling(self._job, self._spec, self._board.problem_type, name, uri))

    def _folder(self, plan: CandidatePlan) -> Path:
        return self._job.directory / "trials" / plan.suffix

    def _status(self, plan: CandidatePlan) -> str | None:
        row = self._job.store.get("candidate", self._board.name_of(plan.suffix))
        return row.status if row is not None else None

    def _is_settled(self, plan: CandidatePlan) -> bool:
        return self._status(plan) not in (None, "InProgress")
