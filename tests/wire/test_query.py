"""The query protocol: forms that botocore writes are read, and botocore reads the answers and the errors."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.parsers import QueryParser
from botocore.serialize import QuerySerializer

from pilothouse.errors import SerializationError
from pilothouse.wire import faults, models, query
from pilothouse.wire.faults import Fault

GET_ROLE = models.operation("iam", "GetRole")
TAG_ROLE = models.operation("iam", "TagRole")
SIMULATE = models.operation("iam", "SimulatePrincipalPolicy")
CREATE_ROLE = models.operation("iam", "CreateRole")
METRIC_DATA = models.operation("cloudwatch", "GetMetricData")
CALLER = models.operation("sts", "GetCallerIdentity")


def roundtrip(parameters: dict[str, Any], operation: Any) -> dict[str, Any]:
    from urllib.parse import urlencode

    form = QuerySerializer().serialize_to_request(parameters, operation)["body"]
    fields = query.form(urlencode(form).encode())
    assert fields["Action"] == operation.name
    return query.parse(fields, operation)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        (GET_ROLE, {"RoleName": "a role+=é"}),
        (CALLER, {}),
        (TAG_ROLE, {"RoleName": "r", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]}),
        (SIMULATE, {"PolicySourceArn": "arn", "ActionNames": ["a", "b", "c"], "MaxItems": 7}),
        (CREATE_ROLE, {"RoleName": "r", "AssumeRolePolicyDocument": "{}", "MaxSessionDuration": 3600}),
    ],
)
def test_what_botocore_writes_is_read_back(operation: Any, parameters: dict[str, Any]) -> None:
    assert roundtrip(parameters, operation) == parameters


def test_all_wrong_types_are_told_at_once_as_of_json() -> None:
    fields = {
        "StartTime": "yesterday",
        "MetricDataQueries.member.1.ReturnData": "perhaps",
        "MetricDataQueries.member.2.Period": "1.5",
        "MaxDatapoints": "9" * 50,
    }
    with pytest.raises(SerializationError) as caught:
        query.parse(fields, METRIC_DATA)
    assert caught.value.message == (
        "STRING_VALUE can not be converted to a Boolean at 'metricDataQueries.1.member.returnData'; "
        "STRING_VALUE can not be converted to an Integer at 'metricDataQueries.2.member.period'; "
        "STRING_VALUE can not be converted to a time in epoch seconds or ISO 8601 at 'startTime'; "
        "A number of more than 32 bits can not be converted to an Integer at 'maxDatapoints'"
    )


@pytest.mark.parametrize(("text", "number"), [("2147483647", 2**31 - 1), ("-2147483648", -(2**31)), (" 7", 7)])
def test_whole_numbers_of_32_bits_are_read(text: str, number: int) -> None:
    assert query.parse({"MaxItems": text}, SIMULATE) == {"MaxItems": number}


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a%d=1" % i for i in range(2000))])
def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationError):
        query.form(body)


def parsed(body: bytes, status: int, operation: Any) -> dict[str, Any]:
    answer: dict[str, Any] = QueryParser().parse(
        {"status_code": status, "headers": {}, "body": body}, operation.output_shape
    )
    return answer


def test_botocore_reads_the_answer() -> None:
    role = {"RoleName": "a<&>\x00b", "Arn": "arn", "CreateDate": 12.5, "Tags": [{"Key": "k", "Value": "v"}], "_x": 1}
    answer = parsed(query.serialise({"Role": role}, GET_ROLE, "id-1"), 200, GET_ROLE)
    assert answer["ResponseMetadata"]["RequestId"] == "id-1"
    assert answer["Role"].pop("CreateDate").timestamp() == 12.5
    assert answer["Role"] == {"RoleName": "a<&>�b", "Arn": "arn", "Tags": [{"Key": "k", "Value": "v"}]}


def test_botocore_reads_the_error() -> None:
    answer = faults.answer(Fault("NoSuchEntity", 404, "no <role>"), "iam", "id-1")
    error = parsed(answer.body, answer.status, GET_ROLE)
    assert error["Error"] == {"Type": "Sender", "Code": "NoSuchEntity", "Message": "no <role>"}
    assert error["ResponseMetadata"]["RequestId"] == "id-1"
