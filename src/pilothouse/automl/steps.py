"""The steps behind candidates: processing, training and transform jobs as rows whose parent is the AutoML job.

A supervisor claims no row that has a parent; whoever does the work keeps the row in step with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pilothouse import clock, names
from pilothouse.catalog import training_jobs
from pilothouse.store.store import Change, NewResource, Resource
from pilothouse.training.record import Record

if TYPE_CHECKING:
    from pilothouse.work.job import Job

Document = dict[str, Any]

PROCESSING, TRAINING, TRANSFORM = "processing-job", training_jobs.KIND, "transform-job"
INSTANCE = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 50}
DEFAULT_RUNTIME = 86_400
_TYPES = {
    PROCESSING: "AWS::SageMaker::ProcessingJob",
    TRAINING: "AWS::SageMaker::TrainingJob",
    TRANSFORM: "AWS::SageMaker::TransformJob",
}
_TIMES = {
    PROCESSING: ("ProcessingStartTime", "ProcessingEndTime"),
    TRANSFORM: ("TransformStartTime", "TransformEndTime"),
}
_OPEN = ("InProgress", "Stopping")
_LONGEST_REASON = 1024


def listed(job: Job, kind: str, name: str) -> Document:
    """The step as a candidate lists it."""
    arn = names.arn(job.settings.region, job.settings.account_id, kind, name)
    return {"CandidateStepType": _TYPES[kind], "CandidateStepArn": arn, "CandidateStepName": name}


def kind_of(step: Document) -> str:
    """The kind of row that a listed step names."""
    return next(kind for kind, name in _TYPES.items() if name == step["CandidateStepType"])


def begun(job: Job, kind: str, name: str, request: Document) -> NewResource:
    """The row of a step that begins now."""
    at = clock.now()
    state: Document = {"AutoMLJobArn": job.resource.arn}
    if kind == TRAINING:
        training = {"Status": "Training", "StartTime": at, "StatusMessage": "Training in progress"}
        first = training_jobs.first_state(at)["SecondaryStatusTransitions"][0]
        transitions = [{**first, "EndTime": at}, training]
        state |= {"SecondaryStatus": "Training", "SecondaryStatusTransitions": transitions, "TrainingStartTime": at}
    else:
        state[_TIMES[kind][0]] = at
    parent = (job.resource.kind, job.resource.name)
    return NewResource(kind, name, request, status="InProgress", state=state, parent=parent)


def begin(job: Job, kind: str, name: str, request: Document) -> Resource:
    """Inserts the row of a step that begins now; one that an earlier run inserted is left as it is."""
    row = job.store.get(kind, name)
    if row is not None:
        return row
    new = begun(job, kind, name, request)
    return job.store.insert(kind, name, request, status=new.status, state=new.state, parent=new.parent, lease=job.lease)


def end(job: Job, kind: str, name: str, status: str, reason: str | None = None) -> None:
    """Gives a step its terminal status; nothing happens if it has one."""
    for change in ending(job, kind, name, status, reason):
        job.store.update(kind, name, status=change.status, state=change.state, lease=job.lease)


def ending(
    job: Job,
    kind: str,
    name: str,
    status: str,
    reason: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> list[Change]:
    """What gives a step its terminal status; nothing if it has one. `metrics` are a training job's."""
    row = job.store.get(kind, name)
    if row is None or row.status not in _OPEN:
        return []
    at, reason = clock.now(), reason[:_LONGEST_REASON] if reason else None
    if kind != TRAINING:
        return [Change(kind, name, status, {_TIMES[kind][1]: at, "FailureReason": reason})]
    record = Record(job, name)
    for metric, value in (metrics or {}).items():
        record.measured(metric, value, at)
    state = record.ending(status, reason=reason, seconds=at - row.state["TrainingStartTime"])
    return [Change(kind, name, status, state)]


def tell(job: Job, name: str, lines: Iterable[str]) -> None:
    """Writes the log of a training job, once: one that an earlier run has written stays as it is."""
    row = job.store.get(TRAINING, name)
    if row is None:
        return
    stream = f"{name}/algo-1-{int(row.state['TrainingStartTime'])}"
    if not job.store.logs.events(training_jobs.LOG_GROUP, stream, limit=1):
        job.store.logs.append(training_jobs.LOG_GROUP, stream, list(lines))


def end_open(job: Job, reason: str) -> None:
    """Ends every step of a stopped job that is still in progress."""
    for kind in _TYPES:
        for row in job.store.children(kind, (job.resource.kind, job.resource.name)):
            end(job, kind, row.name, "Stopped", reason)


def stopped(job: Job, kind: str, name: str) -> str | None:
    """Why the process behind a step is to be ended: a client asked for this step alone to stop. None if nobody did."""
    row = job.store.get(kind, name)
    return "was stopped on request" if row is None or row.stop_requested else None
