"""Candidates of AutoML jobs."""

from __future__ import annotations

import math

from pilothouse.catalog.tabular_jobs import Document
from pilothouse.operations import automl, views
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_DEFAULT_PAGE = 300


def list_candidates_for_auto_ml_job(context: Context, request: Document) -> Document:
    """ListCandidatesForAutoMLJob: the best first when sorted by metric and descending.

    Sorted in memory: a job has at most 750 candidates. Those without a metric come last in either order.
    """
    job = automl.existing(context, request["AutoMLJobName"])
    rows = context.store.children("candidate", (job.kind, job.name))
    by, descending = request.get("SortBy", "CreationTime"), request.get("SortOrder", "Ascending") == "Descending"
    page, token = paging.slice(
        [row for row in rows if _wanted(row, request)],
        request,
        lambda row: _place(row, by, descending),
        descending=descending,
        default_limit=_DEFAULT_PAGE,
    )
    return {"Candidates": [views.candidate(row) for row in page], "NextToken": token}


def _wanted(row: Resource, request: Document) -> bool:
    return bool(
        request.get("StatusEquals", row.status) == row.status
        and request.get("CandidateNameEquals", row.name) == row.name
    )


def _place(row: Resource, by: str, descending: bool) -> tuple[str | float, ...]:
    if by != "FinalObjectiveMetricValue":
        return row.cursor("status" if by == "Status" else "created")
    value = row.state.get("FinalAutoMLJobObjectiveMetric", {}).get("Value")
    measured = value is not None and math.isfinite(value)
    return (measured == descending, float(value) if measured else 0.0, row.seq)
