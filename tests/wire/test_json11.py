"""AWS JSON 1.1: what is read from a body, what is refused, and what an answer looks like."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from botocore.model import OperationModel
from botocore.parsers import JSONParser
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import SerializationError, UnknownOperation
from pilothouse.wire import json11, models

LIST_JOBS = models.operation("sagemaker", "ListAutoMLJobs")
CREATE = models.operation("sagemaker", "CreateAutoMLJob")
DESCRIBE = models.operation("sagemaker", "DescribeAutoMLJob")
STOP = models.operation("sagemaker", "StopAutoMLJob")


def read(document: object, operation: OperationModel = LIST_JOBS) -> dict[str, Any]:
    return json11.parse(json.dumps(document).encode(), operation)


def test_known_members_come_through_verbatim_and_others_do_not() -> None:
    config = {"CompletionCriteria": {"MaxCandidates": 3}, "Unheard": {"of": 1}}
    request = read({"AutoMLJobName": "a", "AutoMLJobConfig": config, "ProblemType": None, "Extra": []}, CREATE)
    assert request == {"AutoMLJobName": "a", "AutoMLJobConfig": {"CompletionCriteria": {"MaxCandidates": 3}}}


def test_an_empty_body_is_an_empty_request() -> None:
    assert json11.parse(b"", LIST_JOBS) == {}


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (12, 12.0),
        (12.5, 12.5),
        ("1970-01-01T00:00:12Z", 12.0),
        ("1970-01-01T01:00:12.5+01:00", 12.5),
        ("1970-01-02", 86400.0),
    ],
)
def test_times_are_epoch_seconds_or_iso_8601(sent: object, seconds: float) -> None:
    value = read({"CreationTimeAfter": sent})["CreationTimeAfter"]
    assert value == seconds
    assert isinstance(value, float)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[]", b'"a"', b"1", b'{"MaxResults": NaN}', b"[" * 100000, b"1" * 5000]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationError):
        json11.parse(body, LIST_JOBS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"MaxResults": "10"},
        {"MaxResults": True},
        {"MaxResults": 1.5},
        {"MaxResults": 2**31},
        {"MaxResults": [1]},
        {"NameContains": 1},
        {"NameContains": {"a": 1}},
        {"NameContains": "\ud800"},
        {"CreationTimeAfter": "yesterday"},
        {"CreationTimeAfter": True},
        {"CreationTimeAfter": 1e15},
        {"CreationTimeAfter": 10**400},
    ],
)
def test_a_value_of_the_wrong_type_is_named(wrong: dict[str, object]) -> None:
    name = next(iter(wrong))
    with pytest.raises(SerializationError, match=f" at '{name[0].lower()}{name[1:]}'$"):
        read(wrong)


def test_a_wrong_type_deep_down_is_named_with_its_path() -> None:
    with pytest.raises(
        SerializationError, match=r"^NUMBER_VALUE can not be converted to a String at 'tags.2.member.value'$"
    ):
        read({"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": 1}]}, CREATE)


def test_all_wrong_types_are_told_at_once() -> None:
    with pytest.raises(SerializationError) as caught:
        read({"AutoMLJobName": {}, "Tags": [{"Key": True}], "OutputDataConfig": "s3://b/k"}, CREATE)
    assert caught.value.message == (
        "Start of structure or map found where not expected at 'autoMLJobName'; "
        "STRING_VALUE can not be converted to a Structure at 'outputDataConfig'; "
        "TRUE_VALUE can not be converted to a String at 'tags.1.member.key'"
    )


def test_a_flood_of_wrong_types_takes_no_memory() -> None:
    tags = [{"Key": 1, "Value": 2}] * 50_000
    tracemalloc.start()
    with pytest.raises(SerializationError, match=r"^(NUMBER_VALUE[^;]*; ){99}NUMBER_VALUE[^;]*$"):
        json11.typed({"Tags": tags}, CREATE.input_shape)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20  # some 10 MB are what is read, without a value in it


def test_a_float_has_32_bits() -> None:
    operation = models.operation("sagemaker", "UpdateEndpointWeightsAndCapacities")

    def weight(value: float) -> dict[str, Any]:
        return {"DesiredWeightsAndCapacities": [{"VariantName": "a", "DesiredWeight": value}]}

    assert read(weight(3.4028234e38), operation) == weight(3.4028234e38)
    with pytest.raises(SerializationError, match=r"large as this can not be converted to a Float at '.*desiredWeight'"):
        read(weight(1e39), operation)


def test_whole_floats_are_integers() -> None:
    assert read({"MaxResults": 10.0}) == {"MaxResults": 10}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Tags", "Key", "AutoMLJobConfig", "InputDataConfig", "Mode"]), inner, max_size=3
        )
    ),
)


@given(document=JSON)
def test_any_json_is_read_or_refused(document: object) -> None:
    try:
        assert isinstance(read(document, CREATE), dict)
    except SerializationError:
        pass


def answered(answer: dict[str, Any] | None, operation: OperationModel) -> dict[str, Any]:
    body = json11.serialise(answer, operation)
    parsed: dict[str, Any] = JSONParser().parse(
        {"status_code": 200, "headers": {}, "body": body}, operation.output_shape
    )
    parsed.pop("ResponseMetadata")
    return parsed


def test_answers_hold_what_the_shape_knows() -> None:
    answer = {"AutoMLJobName": "a", "_private": 1, "Unheard": 2, "EndTime": None, "CreationTime": 1662495635.6789}
    body = json.loads(json11.serialise(answer, DESCRIBE))
    assert body == {"AutoMLJobName": "a", "CreationTime": 1662495635.679}


def test_botocore_reads_times_and_nested_members_back() -> None:
    metric = {"MetricName": "F1", "Value": 0.5, "Set": "Validation"}
    answer = {
        "CreationTime": 12.5,
        "BestCandidate": {"CandidateProperties": {"CandidateMetrics": [metric]}, "CandidateName": "é\u2028"},
    }
    parsed = answered(answer, DESCRIBE)
    assert parsed["CreationTime"].timestamp() == 12.5
    assert parsed["BestCandidate"] == answer["BestCandidate"]


def test_what_is_not_a_number_is_left_out() -> None:
    answer = {"BestCandidate": {"FinalAutoMLJobObjectiveMetric": {"MetricName": "F1", "Value": math.nan}}}
    assert answered(answer, DESCRIBE)["BestCandidate"]["FinalAutoMLJobObjectiveMetric"] == {"MetricName": "F1"}


def test_an_operation_without_an_output_answers_nothing() -> None:
    assert json11.serialise(None, STOP) == b""


def test_an_unknown_operation_or_target_is_told() -> None:
    with pytest.raises(UnknownOperation):
        models.operation("sagemaker", "MakeCoffee")
    for target in ("SageMaker.", "ListTags", "", "Logs_20140328.GetLogEvents"):
        with pytest.raises(UnknownOperation):
            models.operation_of_target("sagemaker", target)
    assert models.operation_of_target("sagemaker", "SageMaker.ListTags") == "ListTags"
