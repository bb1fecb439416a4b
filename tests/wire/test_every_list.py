"""Every List operation served: its sorts, filters, limits and tokens, as its model names them, against a plain list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from botocore.model import Shape

from pilothouse import clock, composition
from pilothouse.config import Settings
from pilothouse.operations import log_search, logs
from pilothouse.operations.context import Context
from pilothouse.operations.table import SERVED
from pilothouse.store.resource import Parent
from pilothouse.wire import models, validate

Row = dict[str, Any]
"""What is in the store, under the names of the filters: name, status, created, modified, value."""

S3 = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}
TUNING = {"Strategy": "Random", "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}}
OBJECTIVE = {"Type": "Maximize", "MetricName": "auc"}
VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
REQUESTS: dict[str, Row] = {
    "hyper-parameter-tuning-job": {"HyperParameterTuningJobConfig": TUNING},
    "transform-job": {"TransformInput": {"DataSource": S3}, "TransformOutput": {"S3OutputPath": "s3://b/k"}},
    "endpoint-config": {"ProductionVariants": [VARIANT]},
}
"""What the lists read of a request."""

AUTOML, TUNED = ("automl-job", "owner"), ("hyper-parameter-tuning-job", "owner")


@dataclass(frozen=True)
class List:
    """A List operation: which rows it lists, and its defaults as the service documents them."""

    kind: str
    by: str = "CreationTime"
    order: str = "Descending"
    size: int = 10
    parent: Parent | None = None
    members: Mapping[str, str] | None = None
    """Members that it can't do without."""


LISTS = {
    "ListAutoMLJobs": List("automl-job", by="Name", size=100),
    "ListCandidatesForAutoMLJob": List(
        "candidate", order="Ascending", size=300, parent=AUTOML, members={"AutoMLJobName": "owner"}
    ),
    "ListProcessingJobs": List("processing-job"),
    "ListTransformJobs": List("transform-job"),
    "ListTrainingJobs": List("training-job", order="Ascending"),
    "ListHyperParameterTuningJobs": List("hyper-parameter-tuning-job", by="Name", order="Ascending"),
    "ListTrainingJobsForHyperParameterTuningJob": List(
        "training-job", by="Name", order="Ascending", parent=TUNED, members={"HyperParameterTuningJobName": "owner"}
    ),
    "ListModels": List("model"),
    "ListEndpointConfigs": List("endpoint-config"),
    "ListEndpoints": List("endpoint"),
}
ELSEWHERE = {"ListTags"}
"""Lists that are no lists of rows; they have tests of their own below."""

SORTED_BY: dict[str, Callable[[Row], Any]] = {
    "Name": lambda row: row["name"].lower(),
    "CreationTime": lambda row: row["created"],
    "Status": lambda row: row["status"],
    "FinalObjectiveMetricValue": lambda row: row["value"],
}
FILTERS: dict[str, Callable[[Row, Any], bool]] = {
    "NameContains": lambda row, text: text.lower() in row["name"].lower(),
    "StatusEquals": lambda row, status: row["status"] == status,
    "CandidateNameEquals": lambda row, name: row["name"] == name,
    "CreationTimeAfter": lambda row, at: row["created"] >= at,
    "CreationTimeBefore": lambda row, at: row["created"] <= at,
    "LastModifiedTimeAfter": lambda row, at: row["modified"] >= at,
    "LastModifiedTimeBefore": lambda row, at: row["modified"] <= at,
    "WarmPoolStatusEquals": lambda row, status: False,
    "TrainingPlanArnEquals": lambda row, arn: False,
}
PLACE = {"NextToken", "MaxResults", "SortBy", "SortOrder"}
START = 1_700_000_000.0
COUNT = 13


class House:
    """A store whose clock is set by hand, and the operations on it."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(home=home)
        self.context = Context(settings, composition.store(settings), composition.objects(settings))
        self.now = START
        monkeypatch.setattr(clock, "now", lambda: self.now)

    def add(self, listed: List, name: str, status: str, created: float, modified: float, value: float | None) -> Row:
        """A row of what is listed."""
        self.now = created
        state: Row = {}
        if listed.parent == TUNED:
            state["_trial"] = {"values": {}, "objective": OBJECTIVE}
            state |= {} if value is None else {"_objective": {"value": value}}
        elif listed.kind == "candidate" and value is not None:
            state["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "F1", "Value": value}
        if listed.parent is not None and self.context.store.get(*listed.parent) is None:
            self.context.store.insert(*listed.parent, REQUESTS.get(listed.parent[0], {}))
        request = {**REQUESTS.get(listed.kind, {}), "ProcessingJobName": name, "TransformJobName": name}
        self.context.store.insert(listed.kind, name, request, status=status, state=state, parent=listed.parent)
        self.now = modified
        self.context.store.update(listed.kind, name, state={"_seen": True})
        return {"name": name, "status": status, "created": created, "modified": modified, "value": value}

    def call(self, operation: str, request: Row) -> Row:
        """The answer of an operation, as the service would validate its request."""
        service = next(service for service, served in SERVED.items() if operation in served)
        validate.check(request, models.operation(service, operation))
        return SERVED[service][operation](self.context, request) or {}

    def walk(self, operation: str, request: Row, size: int) -> list[str]:
        """The names on all pages."""
        names: list[str] = []
        token: Row = {}
        while True:
            answer = self.call(operation, {**request, "MaxResults": size, **token})
            page = listed_names(operation, answer)
            assert len(page) <= size
            names += page
            if answer.get("NextToken") is None:
                return names
            assert len(page) == size
            token = {"NextToken": answer["NextToken"]}


def listed_names(operation: str, answer: Row) -> list[str]:
    """What an answer lists."""
    key, member = listed_member(operation)
    return [str(item[member]) for item in answer[key]]


@cache
def listed_member(operation: str) -> tuple[str, str]:
    """Where an answer has its list, and where an item of that has its name."""
    output = models.operation("sagemaker", operation).output_shape
    assert output is not None
    key = next(name for name, shape in output.members.items() if shape.type_name == "list")
    item = output.members[key].member
    assert isinstance(item, Shape)
    return key, next(name for name in item.required_members if name.endswith("Name"))


def inputs(operation: str) -> Mapping[str, Any]:
    """The members of an operation's input."""
    shape = models.operation("sagemaker", operation).input_shape
    assert shape is not None
    members: Mapping[str, Any] = shape.members
    return members


@pytest.fixture(scope="module")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty store."""
    settings = Settings(home=tmp_path_factory.mktemp("new"))
    store = composition.store(settings)
    store.migrate()
    store.close()
    return settings.home


@pytest.fixture
def house(new_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """An empty house."""
    made = House(copytree(new_home, tmp_path / "home"), monkeypatch)
    yield made
    made.context.store.close()


def filled(house: House, operation: str) -> list[Row]:
    """Rows with equal times, statuses and values among them, stored in another order than any of these."""
    listed, statuses = LISTS[operation], statuses_of(operation)
    return [
        house.add(
            listed,
            name=f"{'Job' if number % 2 else 'job'}-{number * 5 % COUNT:02}",
            status=statuses[number % len(statuses)],
            created=START + number // 3,
            modified=START + 100 - number // 2,
            value=None if number % 4 == 3 else float(number * 7 % 5),
        )
        for number in range(COUNT)
    ]


def statuses_of(operation: str) -> list[str]:
    """Some statuses that what is listed can have."""
    shape = inputs(operation).get("StatusEquals")
    return [""] if shape is None else list(shape.enum[:3])


def expected(rows: Sequence[Row], by: str, order: str, filters: Row, *, candidates: bool = False) -> list[list[str]]:
    """Names in groups: those within a group have the same sort value, and may come in any order."""
    kept = [row for row in rows if all(FILTERS[name](row, value) for name, value in filters.items())]
    measured = [row for row in kept if by != "FinalObjectiveMetricValue" or row["value"] is not None]
    groups: dict[Any, list[str]] = {}
    for row in sorted(measured, key=SORTED_BY[by], reverse=order == "Descending"):
        groups.setdefault(SORTED_BY[by](row), []).append(row["name"])
    rest = [row["name"] for row in kept if row not in measured]
    return [*groups.values(), *([rest] if candidates and rest else [])]


def agrees(names: list[str], groups: list[list[str]]) -> None:
    """Whether `names` come group by group."""
    assert len(names) == sum(map(len, groups))
    for group in groups:
        assert sorted(names[: len(group)]) == sorted(group)
        names = names[len(group) :]


def test_every_list_is_tried() -> None:
    assert {name for name in SERVED["sagemaker"] if name.startswith("List")} == set(LISTS) | ELSEWHERE


@pytest.mark.parametrize("operation", LISTS)
def test_a_list_sorts_filters_and_pages_as_its_model_says(house: House, operation: str) -> None:
    listed, rows = LISTS[operation], filled(house, operation)
    required, candidates = dict(listed.members or {}), listed.kind == "candidate"
    accepted = inputs(operation)
    assert set(accepted) - PLACE - set(required) <= set(FILTERS), "a filter that nobody has thought of"
    middle = rows[COUNT // 2]
    values = {
        "NameContains": "B-1",
        "StatusEquals": middle["status"],
        "CandidateNameEquals": middle["name"],
        "WarmPoolStatusEquals": "InUse",
        "TrainingPlanArnEquals": "arn:aws:sagemaker:us-east-1:000000000000:training-plan/a",
        **{f"CreationTime{side}": middle["created"] for side in ("After", "Before")},
        **{f"LastModifiedTime{side}": middle["modified"] for side in ("After", "Before")},
    }
    filters = [{}, *({name: values[name]} for name in FILTERS if name in accepted)]
    filters.append({name: values[name] for name in ("StatusEquals", "CreationTimeAfter") if name in accepted})
    for by in accepted["SortBy"].enum:
        for order in accepted["SortOrder"].enum:
            for chosen in filters:
                request = {**required, **chosen, "SortBy": by, "SortOrder": order}
                whole = house.walk(operation, request, 100)
                agrees(whole, expected(rows, by, order, chosen, candidates=candidates))
                assert house.walk(operation, request, 1) == house.walk(operation, request, 4) == whole


@pytest.mark.parametrize("operation", LISTS)
def test_a_list_has_the_defaults_of_its_service(house: House, operation: str) -> None:
    listed, rows = LISTS[operation], filled(house, operation)
    answer = house.call(operation, dict(listed.members or {}))
    names = listed_names(operation, answer)
    assert len(names) == min(listed.size, COUNT)
    assert (answer.get("NextToken") is not None) == (listed.size < COUNT)
    request = {**(listed.members or {}), "SortBy": listed.by, "SortOrder": listed.order}
    assert names == house.walk(operation, request, 100)[: listed.size]
    agrees(house.walk(operation, request, 100), expected(rows, listed.by, listed.order, {}))


@pytest.mark.parametrize("operation", LISTS)
def test_a_token_survives_what_comes_and_goes(house: House, operation: str) -> None:
    listed, rows = LISTS[operation], filled(house, operation)
    accepted = inputs(operation)
    for by in accepted["SortBy"].enum:
        for order in accepted["SortOrder"].enum:
            request = {**(listed.members or {}), "SortBy": by, "SortOrder": order, "MaxResults": 4}
            before = house.walk(operation, request, 100)
            first = house.call(operation, request)
            seen = listed_names(operation, first)
            status = rows[0]["status"]
            for number, name in enumerate(("a-first", "job-06-middle", "z-last")):
                house.add(listed, name, status, START + (0, 2, 50)[number], START, (-1.0, 2.0, 9.0)[number])
            removed = {seen[-1], before[6]}
            gone = [row for row in rows if row["name"] in removed]
            for name in removed:
                house.context.store.delete(listed.kind, name)
            rest = house.walk(operation, {**request, "NextToken": first["NextToken"]}, 3)
            stayed = [name for name in before[4:] if name not in removed]
            assert [name for name in rest if name in before] == stayed
            assert len(set(rest)) == len(rest)
            for name in ("a-first", "job-06-middle", "z-last"):
                house.context.store.delete(listed.kind, name)
            for row in gone:
                house.add(listed, **row)


def test_tags_come_and_go_between_pages(house: House) -> None:
    arn = house.context.store.insert("model", "m", {}, tags={f"key-{number:02}": "v" for number in range(20)}).arn
    request = {"ResourceArn": arn}
    everything = [tag["Key"] for tag in house.call("ListTags", request)["Tags"]]
    assert everything == sorted(everything)
    list_tags = SERVED["sagemaker"]["ListTags"]  # as called: the model wants pages of 50, and there are no more tags
    first = list_tags(house.context, {**request, "MaxResults": 5}) or {}
    house.context.store.remove_tags(arn, ["key-04", "key-10"])
    house.context.store.add_tags(arn, {"a": "v", "key-07b": "v"})
    rest = list_tags(house.context, {**request, "MaxResults": 50, "NextToken": first["NextToken"]}) or {}
    keys = [tag["Key"] for tag in first["Tags"] + rest["Tags"]]
    assert keys == sorted({*everything, "key-07b"} - {"key-10"})


@pytest.mark.parametrize("order", ["LogStreamName", "LastEventTime"])
@pytest.mark.parametrize("descending", [True, False])
def test_a_group_of_many_log_streams_is_walked_whatever_is_logged(house: House, order: str, descending: bool) -> None:
    store, names = house.context.store, [f"job-{number:03}" for number in range(120)]
    for number, name in enumerate(names):
        house.now = START + number
        store.logs.append("/group", name, ["hello"])
    request = {"logGroupName": "/group", "orderBy": order, "descending": descending}
    answer = house.call("DescribeLogStreams", request)
    seen = [stream["logStreamName"] for stream in answer["logStreams"]]
    assert len(seen) == 50
    store.logs.append("/group", "job-000-new", [(START + 0.5, "hello")])
    while answer["nextToken"] is not None:
        answer = house.call("DescribeLogStreams", {**request, "limit": 7, "nextToken": answer["nextToken"]})
        seen += [stream["logStreamName"] for stream in answer["logStreams"]]
    assert [name for name in seen if name != "job-000-new"] == (names[::-1] if descending else names)
    assert seen.count("job-000-new") == descending


def test_log_events_go_on_where_they_ended_whatever_is_logged(house: House) -> None:
    house.context.store.logs.append("/group", "stream", [f"line {number}" for number in range(10)])
    request = {"logGroupName": "/group", "logStreamName": "stream"}
    first = house.call("GetLogEvents", {**request, "startFromHead": True, "limit": 4})
    house.context.store.logs.append("/group", "stream", ["line 10", "line 11"])
    rest = house.call("GetLogEvents", {**request, "nextToken": first["nextForwardToken"]})
    messages = [event["message"] for event in first["events"] + rest["events"]]
    assert messages == [f"line {number}" for number in range(12)]
    assert house.call("GetLogEvents", {**request, "nextToken": rest["nextForwardToken"]})["events"] == []


@pytest.mark.parametrize("from_head", [True, False])
def test_an_answer_of_log_events_takes_no_more_from_the_store_than_it_can_hold(
    house: House, monkeypatch: pytest.MonkeyPatch, from_head: bool
) -> None:
    group, read = f"/long/{from_head}", []
    store_logs = house.context.store.logs
    store_logs.append(group, "stream", [f"{number:05d}{'x' * 995}" for number in range(3000)])
    events = store_logs.events

    def noted(*place: Any, **bounds: Any) -> Any:
        found = events(*place, **bounds)
        read.append(len(found))
        return found

    monkeypatch.setattr(store_logs, "events", noted)
    request = {"logGroupName": group, "logStreamName": "stream", "startFromHead": from_head}
    answer = house.call("GetLogEvents", request)["events"]
    most = logs.MOST_BYTES // 1026
    first = 0 if from_head else 3000 - most
    assert [int(event["message"][:5]) for event in answer] == list(range(first, first + most))
    assert sum(read) <= 2000


def test_a_search_of_many_events_goes_on_where_it_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In short pages, of which those without a fitting event are empty."""
    monkeypatch.setattr(log_search, "_MOST_READ", 20)
    monkeypatch.setattr(logs, "MOST_BYTES", 80)
    for number in range(60):
        line = f"needle {number}" if number >= 40 else "hay"
        house.context.store.logs.append("/group", f"stream-{number % 3}", [(START + number // 2, line)])
    request, pages = {"logGroupName": "/group", "filterPattern": "needle"}, []
    token = None
    while not pages or token is not None:
        answer = house.call("FilterLogEvents", {**request, **({"nextToken": token} if token else {})})
        pages.append([event["message"] for event in answer["events"]])
        token = answer["nextToken"]
    assert pages[:2] == [[], []]
    assert max(map(len, pages)) == 2
    assert [message for page in pages for message in page] == [f"needle {number}" for number in range(40, 60)]


def test_a_search_that_takes_long_ends_and_goes_on_where_it_ended(house: House) -> None:
    """Each look at the clock takes a second here, so that five lines fill a call."""
    house.context.store.logs.append("/group", "stream", [(START + number, f"hay {number % 8}") for number in range(16)])
    ticks, pages = itertools.count(), []
    token: Row = {}
    while not pages or token["nextToken"]:
        request = {"logGroupName": "/group", "filterPattern": "%y [07]%", **token}
        answer = log_search.filter_log_events(house.context, request, monotonic=lambda: float(next(ticks)))
        pages.append([event["message"] for event in answer["events"]])
        token = {"nextToken": answer["nextToken"]}
    assert pages == [["hay 0"], ["hay 7", "hay 0"], [], ["hay 7"]]
