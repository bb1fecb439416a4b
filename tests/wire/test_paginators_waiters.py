"""Every paginator and every waiter that botocore has for an operation served here, made from botocore's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import UnknownServiceError, WaiterError
from botocore.waiter import AcceptorConfig

from pilothouse.api import bucket
from pilothouse.operations.table import SERVED

ITEMS = 3
OPERATIONS = {**{service: set(served) for service, served in SERVED.items()}, "s3": set(bucket.SERVED)}
SESSION = botocore.session.get_session()
AT_ONCE = {"Delay": 0, "MaxAttempts": 2}

SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://pages/in"}}
REQUESTS: dict[str, dict[str, Any]] = {
    "automl-job": {},
    "endpoint": {},
    "endpoint-config": {},
    "hyper-parameter-tuning-job": {
        "HyperParameterTuningJobConfig": {"Strategy": "Random", "ResourceLimits": {"MaxParallelTrainingJobs": 1}}
    },
    "model": {},
    "processing-job": {},
    "training-job": {"TrainingJobName": "one", "OutputDataConfig": {"S3OutputPath": "s3://pages/out"}},
    "transform-job": {"TransformInput": {"DataSource": SOURCE}, "TransformOutput": {"S3OutputPath": "s3://pages/out"}},
}
"""What the rows of each kind hold at least."""

ARN = "arn:aws:sagemaker:us-east-1:000000000000:automl-job/item-0"
PARAMETERS: dict[str, dict[str, Any]] = {
    "ListCandidatesForAutoMLJob": {"AutoMLJobName": "item-0"},
    "ListTrainingJobsForHyperParameterTuningJob": {"HyperParameterTuningJobName": "item-0"},
    "ListTags": {"ResourceArn": ARN},
    "DescribeLogStreams": {"logGroupName": "/aws/sagemaker/TrainingJobs"},
    "FilterLogEvents": {"logGroupName": "/aws/sagemaker/TrainingJobs"},
    "SimulatePrincipalPolicy": {
        "PolicySourceArn": "arn:aws:iam::000000000000:role/one",
        "ActionNames": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
    },
    "ListObjects": {"Bucket": "pages"},
    "ListObjectsV2": {"Bucket": "pages"},
    "ListObjectVersions": {"Bucket": "pages"},
    "ListMultipartUploads": {"Bucket": "pages"},
}
"""What a List operation must be told."""
AT_A_TIME = {"GetMetricData"}
"""What is limited by datapoints and not by results, and answers with all of them."""

DESCRIBED = {
    "DescribeEndpoint": ("endpoint", "EndpointName"),
    "DescribeProcessingJob": ("processing-job", "ProcessingJobName"),
    "DescribeTrainingJob": ("training-job", "TrainingJobName"),
    "DescribeTransformJob": ("transform-job", "TransformJobName"),
}
"""The kind and the member with the name, for the waiters that go by the status or by an error."""
BY_CODE: dict[str, dict[str, dict[str, Any]]] = {
    "GetRole": {"there": {"RoleName": "anyone"}},
    "HeadBucket": {"there": {"Bucket": "pages"}, "missing": {"Bucket": "no-such-bucket"}},
    "HeadObject": {"there": {"Bucket": "pages", "Key": "0"}, "missing": {"Bucket": "pages", "Key": "none"}},
}
"""What is there, and what is not, for the waiters that go by the code of the answer."""
NEVER = {("BucketExists", 301), ("BucketExists", 403), ("RoleExists", "NoSuchEntity")}
"""There is one region; who has a key may use every bucket; every name is a role."""


@dataclass(frozen=True)
class Case:
    """One acceptor of a waiter."""

    service: str
    waiter: str
    operation: str
    acceptor: AcceptorConfig

    def __str__(self) -> str:
        return f"{self.waiter}-{self.acceptor.expected}"


def paginated() -> Iterator[tuple[str, str]]:
    for service, served in OPERATIONS.items():
        model = described("paginators-1", service)
        yield from (
            (service, name) for name in sorted(model["pagination"] if model else ()) if name in served - AT_A_TIME
        )


def cases() -> Iterator[Case]:
    for service, served in OPERATIONS.items():
        model = described("waiters-2", service) or {"waiters": {}}
        for name, waiter in sorted(model["waiters"].items()):
            if waiter["operation"] in served:
                acceptors = [AcceptorConfig(acceptor) for acceptor in waiter["acceptors"]]
                yield from (Case(service, name, waiter["operation"], acceptor) for acceptor in acceptors)


def described(kind: str, service: str) -> dict[str, Any] | None:
    """One of botocore's files about a service, or None if there is none."""
    try:
        return dict(SESSION.get_component("data_loader").load_service_model(service, kind))
    except UnknownServiceError:
        return None


PAGINATED = list(paginated())
CASES = [case for case in cases() if (case.waiter, case.acceptor.expected) not in NEVER]


@pytest.fixture(scope="module")
def filled(api: Any) -> Any:
    """Three of everything that can be listed, and a row of every status that a waiter looks for."""
    store = api.context.store
    for kind, request in REQUESTS.items():
        for number in range(ITEMS):
            store.insert(kind, f"item-{number}", request, status="Completed")
    trial = {"_trial": {"number": 0, "definition": 0, "values": {}}}
    for number in range(ITEMS):
        store.insert("candidate", f"candidate-{number}", {}, status="Completed", parent=("automl-job", "item-0"))
        parent = ("hyper-parameter-tuning-job", "item-0")
        store.insert("training-job", f"trial-{number}", {}, status="Completed", state=trial, parent=parent)
        store.logs.append("/aws/sagemaker/TrainingJobs", f"job/{number}", ["a line"])
        store.logs.append(f"/aws/sagemaker/Endpoints/item-{number}", "main/0", ["a line"])
    store.add_tags(ARN, {f"key-{number}": "value" for number in range(ITEMS)})
    for case in CASES:
        if case.acceptor.matcher == "path":
            kind, _ = DESCRIBED[case.operation]
            name = f"{case.acceptor.expected}".lower()
            if store.get(kind, name) is None:
                store.insert(kind, name, REQUESTS[kind], status=case.acceptor.expected)
    fill_buckets(api.client("s3"))
    return api


def fill_buckets(s3: Any) -> None:
    for name in ("pages", "others", "more"):
        s3.create_bucket(Bucket=name)
    for number in range(ITEMS):
        s3.put_object(Bucket="pages", Key=str(number), Body=b"content")
        s3.create_multipart_upload(Bucket="pages", Key=f"upload-{number}")
    upload = s3.list_multipart_uploads(Bucket="pages")["Uploads"][0]
    for number in range(1, ITEMS + 1):
        s3.upload_part(Bucket="pages", Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=number, Body=b"part")


def parameters(client: Any, operation: str) -> dict[str, Any]:
    if operation == "ListParts":
        upload = client.list_multipart_uploads(Bucket="pages")["Uploads"][0]
        return {"Bucket": "pages", "Key": upload["Key"], "UploadId": upload["UploadId"]}
    return PARAMETERS.get(operation, {})


def smallest_page(client: Any, operation: str, limit: str) -> int:
    """The least that the model allows for the page size."""
    members = client.meta.service_model.operation_model(operation).input_shape.members
    return int(members[limit].metadata.get("min", 1))


@pytest.mark.parametrize(("service", "operation"), PAGINATED)
def test_a_paginator_gives_each_item_once_whatever_the_page(filled: Any, service: str, operation: str) -> None:
    client = filled.client(service)
    paginator = client.get_paginator(xform_name(operation))
    asked = parameters(client, operation)
    whole = paginator.paginate(**asked)
    member = whole.result_keys[0].expression
    items = whole.build_full_result()[member]
    assert len(items) >= ITEMS

    size = smallest_page(client, operation, paginator._limit_key)
    pages = list(paginator.paginate(**asked, PaginationConfig={"PageSize": size}))
    assert [item for page in pages for item in page.get(member, [])] == items
    assert all(len(page.get(member, [])) <= size for page in pages)
    assert len(pages) >= len(items) / size


@pytest.mark.parametrize(("service", "operation"), PAGINATED)
def test_a_paginator_goes_on_where_max_items_ended_it(filled: Any, service: str, operation: str) -> None:
    client = filled.client(service)
    paginator = client.get_paginator(xform_name(operation))
    asked = parameters(client, operation)
    whole = paginator.paginate(**asked)
    member = whole.result_keys[0].expression
    items = whole.build_full_result()[member]

    first = paginator.paginate(**asked, PaginationConfig={"MaxItems": 2}).build_full_result()
    rest = paginator.paginate(**asked, PaginationConfig={"StartingToken": first["NextToken"]}).build_full_result()
    assert first[member] + rest[member] == items


def waiting(api: Any, case: Case, name: str) -> Callable[[], None]:
    """Waits, at most for two answers of which none is waited for, for the resource of this name."""
    waiter = api.client(case.service).get_waiter(xform_name(case.waiter))
    asked = {DESCRIBED[case.operation][1]: name} if case.operation in DESCRIBED else BY_CODE[case.operation][name]
    return lambda: waiter.wait(**asked, WaiterConfig=AT_ONCE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_waiter_ends_as_its_acceptor_says(filled: Any, case: Case) -> None:
    by = case.acceptor.matcher
    name = {"path": str(case.acceptor.expected).lower(), "error": "missing"}.get(by) or (
        "there" if case.acceptor.expected == 200 else "missing"
    )
    wait = waiting(filled, case, name)
    if case.acceptor.state == "success":
        wait()
        return
    reason = {"failure": "terminal failure state", "retry": "Max attempts exceeded"}[case.acceptor.state]
    with pytest.raises(WaiterError, match=reason):
        wait()


@pytest.mark.parametrize("case", [case for case in CASES if case.operation in DESCRIBED], ids=str)
def test_a_waiter_goes_on_waiting_for_what_has_not_ended(filled: Any, case: Case) -> None:
    kind, _ = DESCRIBED[case.operation]
    if filled.context.store.get(kind, "busy") is None:
        status = "Creating" if kind == "endpoint" else "InProgress"
        filled.context.store.insert(kind, "busy", REQUESTS[kind], status=status)
    with pytest.raises(WaiterError, match="Max attempts exceeded"):
        waiting(filled, case, "busy")()


def test_nothing_that_is_served_is_left_out() -> None:
    assert {operation for _, operation in PAGINATED} >= {"ListAutoMLJobs", "DescribeLogStreams", "ListObjectsV2"}
    waited_for = {case.operation for case in CASES}
    assert waited_for == set(DESCRIBED) | set(BY_CODE)
