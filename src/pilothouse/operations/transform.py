"""Transform jobs: in this version, the steps behind AutoML candidates, to be described and listed."""

from __future__ import annotations

from pilothouse.catalog.tabular_jobs import Document
from pilothouse.errors import ValidationError
from pilothouse.operations import views
from pilothouse.operations.context import Context
from pilothouse.wire import paging

KIND = "transform-job"
_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}


def describe_transform_job(context: Context, request: Document) -> Document:
    """DescribeTransformJob; a missing one is a ValidationException, as the other jobs' are in the real service."""
    row = context.store.get(KIND, request["TransformJobName"])
    if row is None:
        raise ValidationError("Requested resource not found.")
    return views.transform_job(row)


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
