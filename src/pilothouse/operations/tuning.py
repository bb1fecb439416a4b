"""Hyperparameter tuning jobs: create, describe, list, stop, delete, and the list of their training jobs."""

from __future__ import annotations

from pilothouse.catalog import training_jobs, tuning_trials
from pilothouse.catalog.tuning_jobs import Document
from pilothouse.catalog.tuning_trials import KIND
from pilothouse.errors import ResourceInUse, ResourceNotFound, ValidationError
from pilothouse.operations import creation, tuning_checks, tuning_views
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}
_ACTIVE = ("InProgress", "Stopping")


def create_hyper_parameter_tuning_job(context: Context, request: Document) -> Document:
    """CreateHyperParameterTuningJob. The job is durable when this returns."""
    name = request["HyperParameterTuningJobName"]
    if context.store.get(KIND, name):
        raise _taken(context, name)
    tuning_checks.check(context, request)
    row = creation.insert(
        context, KIND, name, request, _taken(context, name), status="InProgress", state=tuning_trials.first_state()
    )
    context.wake()
    return {"HyperParameterTuningJobArn": row.arn}


def describe_hyper_parameter_tuning_job(context: Context, request: Document) -> Document:
    """DescribeHyperParameterTuningJob."""
    return tuning_views.described(context.store, _existing(context, request))


def list_hyper_parameter_tuning_jobs(context: Context, request: Document) -> Document:
    """ListHyperParameterTuningJobs: by name, ascending, unless asked otherwise."""
    rows, token = paging.page(
        context.store, KIND, request, sorts=_SORTS, default_sort="Name", default_order="Ascending", default_limit=10
    )
    return {"HyperParameterTuningJobSummaries": [tuning_views.summary(row) for row in rows], "NextToken": token}


def list_training_jobs_for_hyper_parameter_tuning_job(context: Context, request: Document) -> Document:
    """ListTrainingJobsForHyperParameterTuningJob: by name, ascending, unless asked otherwise.

    Sorted by FinalObjectiveMetricValue, those without a value of the objective are left out.
    """
    owner = (KIND, _existing(context, request).name)
    if request.get("SortBy") == "FinalObjectiveMetricValue":
        descending = request.get("SortOrder") == "Descending"
        page, token = paging.slice(_measured(context, owner, request), request, _place, descending=descending)
        return {"TrainingJobSummaries": page, "NextToken": token}
    rows, token = paging.page(
        context.store,
        training_jobs.KIND,
        request,
        sorts=_SORTS,
        default_sort="Name",
        default_order="Ascending",
        default_limit=10,
        parent=owner,
    )
    return {"TrainingJobSummaries": [tuning_views.trial(row) for row in rows], "NextToken": token}


def stop_hyper_parameter_tuning_job(context: Context, request: Document) -> None:
    """StopHyperParameterTuningJob: its job process stops all running training jobs, and what they saved is kept."""
    row = _existing(context, request)
    stopped = context.store.request_stop(KIND, row.name)
    status = _existing(context, request).status
    if stopped is None and status != "Stopping":
        raise ValidationError(f"The tuning job {row.name} has ended with status {status} and cannot be stopped.")
    context.wake()


def delete_hyper_parameter_tuning_job(context: Context, request: Document) -> None:
    """DeleteHyperParameterTuningJob: the record of an ended job. Its training jobs and what they left stay."""
    row = _existing(context, request)
    if row.status in _ACTIVE:
        raise ResourceInUse(f"The tuning job {row.name} is {row.status}. Stop it, and delete it once it has ended.")
    context.store.delete(KIND, row.name, keep_children=True)


def _measured(context: Context, owner: tuple[str, str], request: Document) -> list[Document]:
    rows = context.store.children(training_jobs.KIND, owner)
    found = [tuning_views.trial(row) for row in rows if request.get("StatusEquals", row.status) == row.status]
    return [one for one in found if "FinalHyperParameterTuningJobObjectiveMetric" in one]


def _place(summary: Document) -> tuple[float, str]:
    return float(summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]), summary["TrainingJobName"]


def _existing(context: Context, request: Document) -> Resource:
    name = request["HyperParameterTuningJobName"]
    row = context.store.get(KIND, name)
    if row is None:
        raise ResourceNotFound(f"Could not find tuning job {name}.")
    return row


def _taken(context: Context, name: str) -> ResourceInUse:
    return ResourceInUse(
        "Tuning job names must be unique within an AWS account and region, and a tuning job with this name already "
        f"exists ({context.arn(KIND, name)})."
    )
