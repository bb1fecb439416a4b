"""The kinds of job that a supervisor claims: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JobKind:
    """What the work room must know about one kind of job; the rest is between the kind's own code and its rows.

    `target` is a function of a `work.job.Job` ("package.module:function"). `end_time` and `secondary_status` name the
    wire members of the kind's Describe answer that take the time and the name of a terminal status; a kind without a
    secondary status leaves it out. `children` are the kinds of the resources that end with the job. `aftermath` is a
    function of the store and the job's row: the state to be written when it has failed and they have ended.
    """

    kind: str
    target: str
    log_group: str
    end_time: str = "EndTime"
    secondary_status: str | None = None
    children: tuple[str, ...] = ()
    aftermath: str | None = None


KINDS: dict[str, JobKind] = {
    kind.kind: kind
    for kind in (
        JobKind(
            "automl-job",
            target="pilothouse.automl.job:run",
            log_group="/aws/sagemaker/AutoMLJobs",
            secondary_status="AutoMLJobSecondaryStatus",
            children=("processing-job", "transform-job", "training-job", "candidate"),
        ),
        JobKind(
            "training-job",
            target="pilothouse.training.job:run",
            log_group="/aws/sagemaker/TrainingJobs",
            end_time="TrainingEndTime",
            secondary_status="SecondaryStatus",
        ),
        JobKind(
            "transform-job",
            target="pilothouse.hosting.transform.job:run",
            log_group="/aws/sagemaker/TransformJobs",
            end_time="TransformEndTime",
        ),
        JobKind(
            "hyper-parameter-tuning-job",
            target="pilothouse.tuning.job:run",
            log_group="/aws/sagemaker/HyperParameterTuningJobs",
            end_time="HyperParameterTuningEndTime",
            children=("training-job",),
            aftermath="pilothouse.tuning.board:aftermath",
        ),
    )
}

PARTS: dict[str, JobKind] = {
    part.kind: part
    for part in (
        JobKind("processing-job", target="", log_group="", end_time="ProcessingEndTime"),
        JobKind("candidate", target="", log_group="", secondary_status="ObjectiveStatus"),
    )
}
"""Rows that a job has beside other jobs: nobody claims them, but they too end with it."""

ACTIVE = ("InProgress", "Stopping")
"""The statuses of a job that has still to end."""

TERMINAL = ("Completed", "Failed", "Stopped")
"""The statuses in which a job has ended."""

_LONGEST_REASON = 1024


def ending(kind: JobKind, status: str, at: float, reason: str | None = None) -> dict[str, Any]:
    """The state that goes with a job's terminal `status`, reached at the time `at`."""
    state: dict[str, Any] = {kind.end_time: at}
    if reason is not None:
        state["FailureReason"] = reason[:_LONGEST_REASON]
    if kind.secondary_status is not None:
        state[kind.secondary_status] = status
    return state
