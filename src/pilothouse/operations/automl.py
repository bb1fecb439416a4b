"""AutoML jobs: create, describe, list, stop. One row serves both versions of the API."""

from __future__ import annotations

from pilothouse.catalog.tabular_jobs import Document, TabularJob
from pilothouse.errors import OperationNotServed, ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.operations import automl_rules, creation, views
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

KIND = "automl-job"
_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}


def create_auto_ml_job(context: Context, request: Document) -> Document:
    """CreateAutoMLJob. The job is durable when this returns."""
    automl_rules.agreement(request["InputDataConfig"])
    return _create(context, request)


def create_auto_ml_job_v2(context: Context, request: Document) -> Document:
    """CreateAutoMLJobV2, for tabular data."""
    problem = next(iter(request["AutoMLProblemTypeConfig"]))
    if problem != "TabularJobConfig":
        raise OperationNotServed(
            f"AutoMLProblemTypeConfig {problem} is not served by this version of Pilothouse. Served: TabularJobConfig."
        )
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    if ("ProblemType" in config) != ("AutoMLJobObjective" in request):
        raise ValidationError(
            "ProblemType and AutoMLJobObjective must be given together, or both left out to be inferred from the data."
        )
    return _create(context, request)


def _create(context: Context, request: Document) -> Document:
    name = request["AutoMLJobName"]
    automl_rules.check(context, TabularJob.of(request))
    row = creation.insert(
        context,
        KIND,
        name,
        request,
        ResourceInUse(
            f"AutoML job names must be unique, whatever their case, and an AutoML job named {name} already exists. "
            "Choose another AutoMLJobName."
        ),
        status="InProgress",
        state={"AutoMLJobSecondaryStatus": "Starting"},
    )
    context.wake()
    return {"AutoMLJobArn": row.arn}


def describe_auto_ml_job(context: Context, request: Document) -> Document:
    """DescribeAutoMLJob, of a job made by either operation."""
    return views.auto_ml_job_v1(context.store, existing(context, request["AutoMLJobName"]))


def describe_auto_ml_job_v2(context: Context, request: Document) -> Document:
    """DescribeAutoMLJobV2, of a job made by either operation."""
    return views.auto_ml_job_v2(context.store, existing(context, request["AutoMLJobName"]))


def list_auto_ml_jobs(context: Context, request: Document) -> Document:
    """ListAutoMLJobs: by name, descending, unless asked otherwise."""
    rows, token = paging.page(
        context.store, KIND, request, sorts=_SORTS, default_sort="Name", default_order="Descending", default_limit=100
    )
    return {"AutoMLJobSummaries": [views.auto_ml_job_summary(row) for row in rows], "NextToken": token}


def stop_auto_ml_job(context: Context, request: Document) -> None:
    """StopAutoMLJob. The job process sees the wish within a second and keeps what is finished."""
    row = existing(context, request["AutoMLJobName"])
    stopped = context.store.request_stop(KIND, row.name, state={"AutoMLJobSecondaryStatus": "Stopping"})
    if stopped is None and existing(context, row.name).status != "Stopping":
        raise ValidationError(f"The AutoML job {row.name} has ended with status {row.status} and cannot be stopped.")
    context.wake()


def existing(context: Context, name: str) -> Resource:
    """The job's row, or ResourceNotFound."""
    row = context.store.get(KIND, name)
    if row is None:
        raise ResourceNotFound(f"Could not find AutoML job {name}.")
    return row
