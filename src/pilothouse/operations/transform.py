"""Transform jobs: create, describe, list, stop. AutoML jobs make some too, as steps behind their candidates."""

from __future__ import annotations

from pilothouse.catalog import hosting
from pilothouse.catalog.transform_jobs import KIND, Document
from pilothouse.errors import ResourceInUse, ValidationError
from pilothouse.operations import creation, models, transform_rules, views
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}


def create_transform_job(context: Context, request: Document) -> Document:
    """CreateTransformJob. The job is durable when this returns, and its model may be deleted afterwards."""
    name = request["TransformJobName"]
    if context.store.get(KIND, name):
        raise _taken(context, name)
    model = models.existing(context, request["ModelName"]).request
    transform_rules.check(context, request, model)
    row = creation.insert(
        context,
        KIND,
        name,
        request,
        _taken(context, name),
        status="InProgress",
        state={"_containers": hosting.containers(model)},
    )
    context.wake()
    return {"TransformJobArn": row.arn}


def describe_transform_job(context: Context, request: Document) -> Document:
    """DescribeTransformJob; a missing one is a ValidationException, as the other jobs' are in the real service."""
    return views.transform_job(_existing(context, request))


def list_transform_jobs(context: Context, request: Document) -> Document:
    """ListTransformJobs: the newest first unless asked otherwise."""
    rows, token = paging.page(
        context.store,
        KIND,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Descending",
        default_limit=10,
    )
    return {"TransformJobSummaries": [views.transform_job(row) for row in rows], "NextToken": token}


def stop_transform_job(context: Context, request: Document) -> None:
    """StopTransformJob: it ends without output."""
    row = _existing(context, request)
    if row.parent is not None:
        raise ValidationError(f"The transform job {row.name} is a step of {' '.join(row.parent)}. Stop that.")
    stopped = context.store.request_stop(KIND, row.name)
    status = _existing(context, request).status
    if stopped is None and status != "Stopping":
        raise ValidationError(f"The transform job {row.name} has ended with status {status} and cannot be stopped.")
    context.wake()


def _existing(context: Context, request: Document) -> Resource:
    row = context.store.get(KIND, request["TransformJobName"])
    if row is None:
        raise ValidationError("Requested resource not found.")
    return row


def _taken(context: Context, name: str) -> ResourceInUse:
    return ResourceInUse(
        "Transform job names must be unique within an AWS account and region, and a transform job with this name "
        f"already exists ({context.arn(KIND, name)})."
    )
