"""Metrics of training jobs through CloudWatch: what boto3 asks in JSON, and what older clients ask as a form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.parsers import QueryParser
from botocore.serialize import QuerySerializer

from pilothouse.wire import models

BEGIN = 1_700_000_040.0  # a multiple of 60
GROUP = "/aws/sagemaker/TrainingJobs"
JOB = {
    "TrainingJobName": "measured",
    "AlgorithmSpecification": {
        "TrainingImage": "pilothouse/script:1",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "rate", "Regex": r"rate=(\S+)"}],
    },
    "HyperParameters": {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://b/source.tar.gz"},
    "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
}
POINTS = [(0, "loss=4"), (10, "loss=2 loss=3"), (59.5, "loss=nan loss=many"), (60, "loss=1"), (200, "rate=5 loss=9")]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(BEGIN + seconds, UTC)


def asked(**members: Any) -> dict[str, Any]:
    return {
        "Namespace": GROUP,
        "MetricName": "loss",
        "Dimensions": [{"Name": "TrainingJobName", "Value": "measured"}],
        "StartTime": at(30),
        "EndTime": at(180),
        "Period": 60,
        "Statistics": ["Average", "SampleCount"],
        **members,
    }


FOUND = [
    {"Timestamp": at(0), "SampleCount": 3.0, "Average": 3.0, "Unit": "None"},
    {"Timestamp": at(60), "SampleCount": 1.0, "Average": 1.0, "Unit": "None"},
]


@pytest.fixture(scope="module", autouse=True)
def measured(api: Any) -> None:
    """A training job, and what its program said."""
    store = api.context.store
    store.insert("training-job", "measured", JOB, status="Completed")
    store.logs.append(GROUP, "measured/algo-1", [(BEGIN + second, line) for second, line in POINTS])
    store.logs.append(GROUP, "measured-2/algo-1", [(BEGIN, "loss=100")])


def test_statistics_come_by_period(api: Any) -> None:
    cloudwatch = api.client("cloudwatch")
    answer = cloudwatch.get_metric_statistics(**asked())
    assert (answer["Label"], answer["Datapoints"]) == ("loss", FOUND)
    host = {"Dimensions": [{"Name": "Host", "Value": "measured/algo-1"}]}
    every = ["SampleCount", "Sum", "Minimum", "Maximum"]
    (point,) = cloudwatch.get_metric_statistics(**asked(**host, Period=600, Statistics=every))["Datapoints"]
    assert {name: point[name] for name in every} == {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}


@pytest.mark.parametrize(
    "members",
    [
        {"MetricName": "accuracy"},
        {"Namespace": "AWS/EC2"},
        {"Dimensions": []},
        {"Dimensions": [{"Name": "TrainingJobName", "Value": "unknown"}]},
        {"StartTime": at(300), "EndTime": at(400)},
    ],
)
def test_what_nobody_measured_has_no_datapoints(api: Any, members: dict[str, Any]) -> None:
    assert api.client("cloudwatch").get_metric_statistics(**asked(**members))["Datapoints"] == []


def test_a_metric_is_of_all_hosts_and_attempts_or_of_one_host(api: Any) -> None:
    store = api.context.store
    store.insert("training-job", "wide", {**JOB, "TrainingJobName": "wide"}, status="Completed")
    for host in range(1, 31):
        for attempt in (1, 2):
            store.logs.append(GROUP, f"wide/algo-{host}-{attempt}", [(BEGIN + 31, f"loss={host}")])

    def found(name: str, value: str) -> Any:
        one = asked(Dimensions=[{"Name": name, "Value": value}], Statistics=["SampleCount", "Maximum"])
        (point,) = api.client("cloudwatch").get_metric_statistics(**one)["Datapoints"]
        return point["SampleCount"], point["Maximum"]

    assert found("TrainingJobName", "wide") == (60, 30)
    assert found("Host", "wide/algo-1") == (2, 1)
    assert found("Host", "wide/algo-30") == (2, 30)


def query(name: str) -> dict[str, Any]:
    metric = {name: asked()[name] for name in ("Namespace", "Dimensions")}
    return {"Id": "q" + name, "MetricStat": {"Metric": {**metric, "MetricName": name}, "Period": 60, "Stat": "Maximum"}}


def test_several_metrics_come_in_one_answer(api: Any) -> None:
    times = {"StartTime": at(0), "EndTime": at(300)}
    queries = [query("loss"), {**query("rate"), "Label": "per hour"}, {**query("other"), "ReturnData": False}]
    pages = api.client("cloudwatch").get_paginator("get_metric_data").paginate(MetricDataQueries=queries, **times)
    loss, rate = pages.build_full_result()["MetricDataResults"]
    assert (loss["Id"], loss["Label"], loss["StatusCode"]) == ("qloss", "loss", "Complete")
    assert (loss["Timestamps"], loss["Values"]) == ([at(180), at(60), at(0)], [9.0, 1.0, 4.0])
    assert (rate["Label"], rate["Values"]) == ("per hour", [5.0])
    answer = api.client("cloudwatch").get_metric_data(MetricDataQueries=queries, ScanBy="TimestampAscending", **times)
    assert answer["MetricDataResults"][0]["Values"] == [4.0, 1.0, 9.0]


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"StartTime": at(180)}, "StartTime must be less than the parameter EndTime"),
        ({"EndTime": at(100_000), "Period": 60}, "exceeds the limit of 1,440"),
        ({"Statistics": [], "ExtendedStatistics": ["p90"]}, "percentiles are not kept"),
        ({"Period": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(api: Any, members: dict[str, Any], part: str) -> None:
    client = api.client("cloudwatch", parameter_validation=False)
    with pytest.raises(ClientError) as caught:
        client.get_metric_statistics(**{k: v for k, v in asked(**members).items() if v != []})
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert part in caught.value.response["Error"]["Message"]


def test_expressions_and_percentiles_of_queries_are_refused(api: Any) -> None:
    times, wrong = {"StartTime": at(0), "EndTime": at(300)}, query("loss")
    wrong["MetricStat"]["Stat"] = "p99"
    for one, part in [({"Id": "e", "Expression": "m1 * 2"}, "expressions"), (wrong, "asks for p99")]:
        with pytest.raises(ClientError, match=part):
            api.client("cloudwatch").get_metric_data(MetricDataQueries=[one], **times)


def form(api: Any, **members: Any) -> dict[str, Any]:
    """GetMetricStatistics as clients ask that know the query protocol only; the answer as botocore reads it."""
    operation = models.operation("cloudwatch", "GetMetricStatistics")
    fields = QuerySerializer().serialize_to_request(asked(**members), operation)["body"]
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", f"{api.url}/", data=urlencode(fields).encode(), headers=headers)
    SigV4Auth(Credentials(api.key_id, api.secret), "monitoring", "us-east-1").add_auth(request)
    answer = httpx.post(f"{api.url}/", content=request.data, headers=dict(request.headers))
    response = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
    parsed: dict[str, Any] = QueryParser().parse(response, operation.output_shape)
    return parsed


def test_a_form_is_answered_in_xml(api: Any) -> None:
    assert form(api)["Datapoints"] == FOUND
    error = form(api, StartTime=at(180))["Error"]
    assert (error["Code"], error["Type"]) == ("ValidationError", "Sender")


@pytest.mark.parametrize("period", [2**31, 10**400], ids=["33 bits", "too large for a float"])
def test_a_period_beyond_its_type_is_refused_in_either_protocol(api: Any, period: int) -> None:
    error = form(api, Period=period)["Error"]
    assert (error["Code"], error["Type"]) == ("MalformedInput", "Sender")
    assert error["Message"].endswith("can not be converted to an Integer at 'period'")
    with pytest.raises(ClientError, match=r"MalformedInput.* can not be converted to an Integer at 'period'$"):
        api.client("cloudwatch").get_metric_statistics(**asked(Period=period))
    assert form(api, Period=2**31 - 1)["Datapoints"]
