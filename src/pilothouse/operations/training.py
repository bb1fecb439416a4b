"""Training jobs: create, describe, list, stop, delete."""

from __future__ import annotations

from pilothouse import clock
from pilothouse.catalog import training_jobs
from pilothouse.catalog.training_jobs import KIND, Document
from pilothouse.errors import ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.operations import creation, training_rules, training_views
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}
_ACTIVE = ("InProgress", "Stopping")
_NEVER = ("WarmPoolStatusEquals", "TrainingPlanArnEquals")
"""Filters by what no training job here has."""


def create_training_job(context: Context, request: Document) -> Document:
    """CreateTrainingJob. The job is durable when this returns."""
    _must_be_new(context, request["TrainingJobName"])
    training_rules.check(context, request)
    row = creation.insert(
        context,
        KIND,
        request["TrainingJobName"],
        request,
        _taken(context, request["TrainingJobName"]),
        status="InProgress",
        state=training_jobs.first_state(clock.now()),
    )
    context.wake()
    return {"TrainingJobArn": row.arn}


def describe_training_job(context: Context, request: Document) -> Document:
    """DescribeTrainingJob; a missing one is a ValidationException in the real service too."""
    return training_views.described(_existing(context, request))


def list_training_jobs(context: Context, request: Document) -> Document:
    """ListTrainingJobs: by creation time, ascending, unless asked otherwise."""
    if any(name in request for name in _NEVER):
        return {"TrainingJobSummaries": []}
    rows, token = paging.page(
        context.store,
        KIND,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Ascending",
        default_limit=10,
    )
    return {"TrainingJobSummaries": [training_views.summary(row) for row in rows], "NextToken": token}


def stop_training_job(context: Context, request: Document) -> None:
    """StopTrainingJob: the program gets SIGTERM, and its time to save what it has."""
    row = _existing(context, request)
    stopped = context.store.request_stop(KIND, row.name, state={"SecondaryStatus": "Stopping"})
    status = _existing(context, request).status
    if stopped is None and status != "Stopping":
        raise ValidationError(f"The training job {row.name} has ended with status {status} and cannot be stopped.")
    context.wake()


def delete_training_job(context: Context, request: Document) -> None:
    """DeleteTrainingJob: the record of an ended job. What it left in S3 and in its log stays."""
    row = context.store.get(KIND, request["TrainingJobName"])
    if row is None:
        raise ResourceNotFound("Requested resource not found.")
    if row.status in _ACTIVE:
        raise ResourceInUse(f"The training job {row.name} is {row.status}. Stop it, and delete it once it has ended.")
    _must_not_be_a_running_trial(context, row)
    context.store.delete(KIND, row.name)


def _must_not_be_a_running_trial(context: Context, row: Resource) -> None:
    """A tuning job counts its trials by their rows."""
    owner = context.store.get(*row.parent) if row.parent else None
    if owner is not None and owner.status in _ACTIVE:
        raise ResourceInUse(
            f"The training job {row.name} belongs to {owner.kind} {owner.name}, which is {owner.status}. "
            "Delete it once that has ended."
        )


def _existing(context: Context, request: Document) -> Resource:
    row = context.store.get(KIND, request["TrainingJobName"])
    if row is None:
        raise ValidationError("Requested resource not found.")
    return row


def _must_be_new(context: Context, name: str) -> None:
    if context.store.get(KIND, name):
        raise _taken(context, name)


def _taken(context: Context, name: str) -> ResourceInUse:
    return ResourceInUse(
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        f"exists ({context.arn(KIND, name)})."
    )
