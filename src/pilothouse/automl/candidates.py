"""Candidates as rows: a leaderboard entry, and the step that makes it, kept together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.automl import steps
from pilothouse.automl.opening import Opening
from pilothouse.catalog.metrics import METRICS
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.store.store import Resource

if TYPE_CHECKING:
    from pilothouse.work.job import Job

CANDIDATE = "candidate"
ENSEMBLE = "ensemble"
_REASON_LIMIT = 1024
_TIE = 0.001


@dataclass(frozen=True)
class Board:
    """The leaderboard of one job: the only place that writes its candidates."""

    job: Job
    spec: TabularJob
    metric: str
    problem_type: str

    def rows(self) -> list[Resource]:
        """All candidates, in the order in which they were started."""
        return self.job.store.children(CANDIDATE, (self.job.resource.kind, self.job.resource.name))

    def name_of(self, suffix: str) -> str:
        return f"{self.job.resource.name}-{suffix}"

    def model_uri(self, name: str) -> str:
        """Where the candidate's archive goes."""
        return f"{self.spec.output_path}/{self.spec.name}/sagemaker-automl-candidates/model/{name}/model.tar.gz"

    def open(self, name: str, opening: Opening) -> None:
        """Lists the candidate as InProgress, with its steps; nothing happens if an earlier run has.

        `ResourceInUse` if a row that begins with it has a name that is taken.
        """
        if self.job.store.get(CANDIDATE, name) is not None:
            return
        state = {"ObjectiveStatus": "Pending", "CandidateSteps": opening.steps, "_containers": opening.containers}
        self.job.store.insert(
            CANDIDATE,
            name,
            {},
            status="InProgress",
            state={**state, **opening.state},
            parent=(self.job.resource.kind, self.job.resource.name),
            also=opening.rows,
            lease=self.job.lease,
        )

    def complete(self, name: str, result: dict[str, Any], also: Mapping[str, Any] | None = None) -> None:
        """Records the measured candidate, with the state in `also`, then the best of the board on the job's row.

        Its objective is `ranking`, the cross-validated value on all rows: the validation rows alone are too few to tell
        good candidates apart.
        """
        if result["ranking"] is None:
            self.fail(name, f"{self.metric} is not defined for this candidate's predictions.", also=also)
            return
        row = self.job.store.get(CANDIDATE, name)
        state = {
            "ObjectiveStatus": "Succeeded",
            "FinalAutoMLJobObjectiveMetric": self._objective(result["ranking"]),
            "InferenceContainers": row.state.get("_containers") if row is not None else None,
            "CandidateProperties": {"CandidateMetrics": _metric_data(result["metrics"])},
            "EndTime": clock.now(),
            "_standing": result["standing"],
            "_noise": result["noise"],
            "_score": result["score"],
            "_latency": result["latency"],
            "_layer": result.get("layer", 1),
            **(also or {}),
        }
        self._end(name, "Completed", state)
        self.publish_best()

    def publish_best(self) -> None:
        """Names the best candidate so far on the job's row."""
        best = self.best()
        if best is not None:
            self.job.update(state={"_best": best.name})

    def fail(self, name: str, reason: str, *, status: str = "Failed", also: Mapping[str, Any] | None = None) -> None:
        """Ends the candidate without a model, saying why."""
        self._end(name, status, {**_without_model(reason), **(also or {})})

    def best(self) -> Resource | None:
        """The completed candidate with the best objective, luck and latency considered.

        The first of many is that by luck in part. So of the candidates that are within its noise of the first the
        ensemble is the best, since nested weights have no such luck, else the one with the best score, which in
        regression is the objective. Scores tie that differ by at most a thousandth of the distance between the best and
        the median candidate: then the lowest latency decides. Candidates of the second layer look better than they are:
        where the ensemble, which judges that, is of the first layer alone, so is the best.
        """
        done = [row for row in self.rows() if row.status == "Completed"]
        ensembles = [row for row in done if row.name == self.name_of(ENSEMBLE)]
        if any(_layer(row) == 1 for row in ensembles):
            done = [row for row in done if _layer(row) == 1]
        if not done:
            return None
        sign = 1 if METRICS[self.metric].direction == "Maximize" else -1
        values = {row.name: sign * _standing(row) for row in done}
        first = max(done, key=lambda row: values[row.name])
        slack = max(first.state["_noise"], _tie(list(values.values())))
        near = [row for row in done if values[row.name] >= values[first.name] - slack]
        mixed = [row for row in ensembles if row in near]
        if mixed and first.state["_noise"] > 0:
            return mixed[0]
        top = max(row.state["_score"] for row in near)
        enough = top - _tie([row.state["_score"] for row in done if row.state["_score"] <= top])
        tied = [row for row in near if row.state["_score"] >= enough]
        return min(tied, key=lambda row: row.state.get("_latency") or 0.0)

    def _end(self, name: str, status: str, state: dict[str, Any]) -> None:
        row = self.job.store.get(CANDIDATE, name)
        if row is not None and row.status == "InProgress":
            _end_row(self.job, row, status, state)

    def _objective(self, value: float) -> dict[str, Any]:
        return {
            "Type": METRICS[self.metric].direction,
            "MetricName": self.metric,
            "StandardMetricName": self.metric,
            "Value": value,
        }


def end_open(job: Job, reason: str) -> None:
    """Ends every candidate, and every step, of a stopped job that is still in progress."""
    for row in job.store.children(CANDIDATE, (job.resource.kind, job.resource.name)):
        if row.status == "InProgress":
            _end_row(job, row, "Stopped", _without_model(reason))
    steps.end_open(job, reason)


def _end_row(job: Job, row: Resource, status: str, state: dict[str, Any]) -> None:
    """With its own step, in one transaction: its terminal status is the record that it is done."""
    own = row.state["CandidateSteps"][-1]
    measured = state.get("CandidateProperties", {}).get("CandidateMetrics", [])
    metrics = {f"{each['Set'].lower()}:{each['MetricName']}": each["Value"] for each in measured}
    if "FinalAutoMLJobObjectiveMetric" in state:
        metrics["ObjectiveMetric"] = state["FinalAutoMLJobObjectiveMetric"]["Value"]
    kind, name, reason = steps.kind_of(own), own["CandidateStepName"], state.get("FailureReason")
    step = steps.ending(job, kind, name, status, reason, metrics)
    job.store.update(CANDIDATE, row.name, status=status, state=state, lease=job.lease, also=step)
    job.log(f"Candidate {row.name} {status}" + (f": {state['FailureReason']}" if "FailureReason" in state else ""))


def _without_model(reason: str) -> dict[str, Any]:
    return {"ObjectiveStatus": "Failed", "FailureReason": reason[:_REASON_LIMIT], "EndTime": clock.now()}


def _tie(values: list[float]) -> float:
    """By how much values, of which the highest is the best, may differ from it and still tie."""
    return _TIE * (max(values) - statistics.median(values))


def _standing(row: Resource) -> float:
    """What the candidate is chosen by; rows of earlier releases have only the objective."""
    standing = row.state.get("_standing")
    return float(row.state["FinalAutoMLJobObjectiveMetric"]["Value"] if standing is None else standing)


def _layer(row: Resource) -> int:
    """2 if the candidate's models, or an ensemble's members, build on others; rows of earlier releases don't say."""
    return int(row.state.get("_layer", 1))


def _metric_data(metrics: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {"MetricName": name, "StandardMetricName": name, "Set": part, "Value": value}
        for part, values in metrics.items()
        for name, value in values.items()
    ]
