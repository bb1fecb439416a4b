"""Processing jobs: in this version, the steps behind AutoML candidates, to be described and listed."""

from __future__ import annotations

from pilothouse.catalog.tabular_jobs import Document
from pilothouse.errors import ValidationError
from pilothouse.operations import views
from pilothouse.operations.context import Context
from pilothouse.wire import paging

KIND = "processing-job"
_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}


def describe_processing_job(context: Context, request: Document) -> Document:
    """DescribeProcessingJob; a missing one is a ValidationException in the real service too."""
    row = context.store.get(KIND, request["ProcessingJobName"])
    if row is None:
        raise ValidationError("Requested resource not found.")
    return views.processing_job(row)


def list_processing_jobs(context: Context, request: Document) -> Document:
    """ListProcessingJobs: the newest first unless asked otherwise."""
    rows, token = paging.page(
        context.store,
        KIND,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Descending",
        default_limit=10,
    )
    return {"ProcessingJobSummaries": [views.processing_job(row) for row in rows], "NextToken": token}
