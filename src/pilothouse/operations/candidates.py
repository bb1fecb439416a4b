"""Candidates of AutoML jobs."""

from __future__ import annotations

from pilothouse.catalog.tabular_jobs import Document
from pilothouse.operations import automl, views
from pilothouse.operations.context import Context
from pilothouse.wire import paging

_DEFAULT_PAGE = 300


def list_candidates_for_auto_ml_job(context: Context, request: Document) -> Document:
    """ListCandidatesForAutoMLJob: the best first when sorted by metric and descending.

    Sorted in memory: a job has at most 750 candidates. Those without a metric come last in either order.
    """
    job = automl.existing(context, request["AutoMLJobName"])
    rows = context.store.children("candidate", (job.kind, job.name))
    chosen = [views.candidate(row) for row in rows if _wanted(row.name, row.status, request)]
    page, token = paging.slice(_sorted(chosen, request), request, default_limit=_DEFAULT_PAGE)
    return {"Candidates": page, "NextToken": token}


def _wanted(name: str, status: str, request: Document) -> bool:
    return bool(request.get("StatusEquals", status) == status and request.get("CandidateNameEquals", name) == name)


def _sorted(candidates: list[Document], request: Document) -> list[Document]:
    by = request.get("SortBy", "CreationTime")
    descending = request.get("SortOrder", "Ascending") == "Descending"
    if by == "FinalObjectiveMetricValue":
        measured = [c for c in candidates if "FinalAutoMLJobObjectiveMetric" in c]
        rest = [c for c in candidates if "FinalAutoMLJobObjectiveMetric" not in c]
        return (
            sorted(measured, key=lambda c: float(c["FinalAutoMLJobObjectiveMetric"]["Value"]), reverse=descending)
            + rest
        )
    key = "CandidateStatus" if by == "Status" else "CreationTime"
    return sorted(candidates, key=lambda c: c[key], reverse=descending)
