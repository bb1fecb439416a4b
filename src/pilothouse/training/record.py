"""A training job's row while the job runs: its secondary statuses, its metrics, and its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.catalog.training_jobs import KIND, LOG_GROUP
from pilothouse.store.logs import Message

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_LONGEST_REASON = 1024
_PUBLISH = 1.0
MESSAGES = {
    "Downloading": "Downloading input data",
    "Interrupted": "The training was interrupted and begins again",
    "Restarting": "Restarting the training after an internal error",
    "Training": "Training in progress",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}


class Record:
    """The row of the training job `name`, which is the job of `job`'s lease or a child of it."""

    def __init__(self, job: Job, name: str) -> None:
        self._job = job
        self.name = name
        row = job.store.get(KIND, name)
        assert row is not None
        self.row = row
        self._transitions: list[dict[str, Any]] = list(row.state.get("SecondaryStatusTransitions", []))
        self._metrics: dict[str, tuple[float, float]] = {}
        self._published_at = 0.0
        self._dirty = False

    def enter(self, status: str, **state: Any) -> None:
        """Goes over to the secondary `status`; `state` is written along with it."""
        is_new = all(status != transition["Status"] for transition in self._transitions) and status != "Interrupted"
        self._move(status, clock.now())
        state = {"SecondaryStatus": status, "SecondaryStatusTransitions": self._transitions, **state}
        self._write(state=state, progress=is_new)

    def note(self, status: str) -> None:
        """Goes over to the secondary `status`, to be written with the next one: it does not last."""
        self._move(status, clock.now())

    def measured(self, name: str, value: float, at: float) -> None:
        """A metric's last value, for now."""
        self._metrics[name] = (value, at)
        self._dirty = True

    def publish(self) -> None:
        """Writes the metrics of the moment, if it is not too soon."""
        if self._dirty and time.monotonic() - self._published_at >= _PUBLISH:
            self._write(state={"FinalMetricDataList": self.final_metrics()}, progress=False)
            self._published_at, self._dirty = time.monotonic(), False

    def final_metrics(self) -> list[dict[str, Any]]:
        """FinalMetricDataList: the last value of each metric, without those that ended as no number."""
        return [
            {"MetricName": name, "Value": value, "Timestamp": at}
            for name, (value, at) in self._metrics.items()
            if math.isfinite(value)
        ]

    def metrics(self) -> dict[str, tuple[float, float]]:
        """The last value of each metric with its time, NaN and infinities as well."""
        return dict(self._metrics)

    def finish(
        self,
        status: str,
        secondary: str,
        *,
        reason: str | None = None,
        seconds: float = 0.0,
        also: Mapping[str, Any] | None = None,
    ) -> None:
        """Gives the row its terminal status, and the state in `also`.

        `seconds`: how long the program ran, over all its beginnings.
        """
        self._write(status=status, state={**self.ending(secondary, reason=reason, seconds=seconds), **(also or {})})

    def ending(self, secondary: str, *, reason: str | None = None, seconds: float = 0.0) -> dict[str, Any]:
        """The state that goes with a terminal status, for whoever writes it along with something else."""
        at = clock.now()
        self._move(secondary, at, reason)
        self._transitions[-1]["EndTime"] = at
        started = self.row.state.get("TrainingStartTime")
        state: dict[str, Any] = {
            "SecondaryStatus": secondary,
            "SecondaryStatusTransitions": self._transitions,
            "TrainingEndTime": at,
            "FailureReason": reason[:_LONGEST_REASON] if reason else None,
            "FinalMetricDataList": self.final_metrics() or None,
        }
        if started is not None:
            state["TrainingTimeInSeconds"] = max(1, math.ceil(at - started))
            state["BillableTimeInSeconds"] = max(1, min(state["TrainingTimeInSeconds"], math.ceil(seconds) or 1))
        return state

    def log(self, stream: str, lines: Sequence[Message]) -> None:
        """Adds lines to a stream of the job."""
        self._job.store.logs.append(LOG_GROUP, f"{self.name}/{stream}", lines)

    def logged(self, stream: str) -> int:
        """How many lines a stream of the job has."""
        return self._job.store.logs.count(LOG_GROUP, f"{self.name}/{stream}")

    def _move(self, status: str, at: float, message: str | None = None) -> None:
        if self._transitions and self._transitions[-1]["Status"] == status:
            return
        if self._transitions:
            self._transitions[-1].setdefault("EndTime", at)
        text = (message or MESSAGES[status])[:_LONGEST_REASON]
        self._transitions.append({"Status": status, "StartTime": at, "StatusMessage": text})

    def _write(self, *, state: dict[str, Any], status: str | None = None, progress: bool = True) -> None:
        lease = self._job.lease
        self.row = self._job.store.update(KIND, self.name, status=status, state=state, lease=lease, progress=progress)
