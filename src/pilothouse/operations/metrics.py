"""Metrics as CloudWatch shows them: GetMetricStatistics, GetMetricData. There are those of training jobs."""

from __future__ import annotations

from typing import Any

from pilothouse.errors import ValidationError
from pilothouse.operations import measurements
from pilothouse.operations.context import Context
from pilothouse.operations.measurements import Bucket

NAMESPACE = "/aws/sagemaker/TrainingJobs"

_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_JOB_DIMENSIONS = ("TrainingJobName", "Host")
_MOST_POINTS, _MOST_DATA = 1_440, 100_800

Document = dict[str, Any]


def get_metric_statistics(context: Context, request: Document) -> Document:
    """GetMetricStatistics: no datapoints for what is measured by nobody here, as in AWS."""
    asked = request.get("Statistics", [])
    if request.get("ExtendedStatistics") or not asked:
        raise ValidationError(f"Ask for Statistics: percentiles are not kept here. There are {', '.join(_STATISTICS)}.")
    found = _buckets(context, request, request, request["Period"], _MOST_POINTS)
    points = []
    for bucket in found:
        known = bucket.statistics()
        points.append({"Timestamp": bucket.at, **{name: known[name] for name in asked}, "Unit": "None"})
    return {"Label": request["MetricName"], "Datapoints": points}


def get_metric_data(context: Context, request: Document) -> Document:
    """GetMetricData: each query's metric whole, the newest value first unless asked otherwise."""
    newest_first = request.get("ScanBy", "TimestampDescending") == "TimestampDescending"
    results = [_result(context, request, query, newest_first) for query in request["MetricDataQueries"]]
    return {"MetricDataResults": [result for result in results if result is not None], "Messages": []}


def _result(context: Context, request: Document, query: Document, newest_first: bool) -> Document | None:
    stat = query.get("MetricStat")
    if stat is None or "Expression" in query:
        raise ValidationError(f"The query {query['Id']} has no MetricStat: expressions are not worked out here.")
    if stat["Stat"] not in _STATISTICS:
        raise ValidationError(f"The query {query['Id']} asks for {stat['Stat']}. There are {', '.join(_STATISTICS)}.")
    if not query.get("ReturnData", True):
        return None
    found = _buckets(context, request, stat["Metric"], stat["Period"], _MOST_DATA)
    if newest_first:
        found.reverse()
    return {
        "Id": query["Id"],
        "Label": query.get("Label", stat["Metric"].get("MetricName", "")),
        "Timestamps": [bucket.at for bucket in found],
        "Values": [bucket.statistics()[stat["Stat"]] for bucket in found],
        "StatusCode": "Complete",
    }


def _buckets(context: Context, times: Document, metric: Document, period: int, most: int) -> list[Bucket]:
    """The buckets of a metric between StartTime and EndTime of `times`; `ValidationError` for too many of them."""
    start, end = times["StartTime"], times["EndTime"]
    if start >= end:
        raise ValidationError("The parameter StartTime must be less than the parameter EndTime.")
    count = int((end - start) / period)
    if count > most:
        raise ValidationError(
            f"You have requested up to {count:,} datapoints, which exceeds the limit of {most:,}. You may reduce the "
            "datapoints requested by increasing Period, or decreasing the time range."
        )
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    host = next((dimensions[name] for name in _JOB_DIMENSIONS if name in dimensions), None)
    if metric.get("Namespace") != NAMESPACE or host is None:
        return []
    points = measurements.points(context, host, metric.get("MetricName", ""), start - start % period, end)
    return measurements.buckets(points, period)
