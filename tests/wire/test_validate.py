"""Constraints of the service model: the sentences. `test_every_constraint` tries every constraint there is."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import pytest
from botocore.model import OperationModel, Shape

from pilothouse.errors import ValidationError
from pilothouse.wire import models, patterns, validate

LIST_JOBS = models.operation("sagemaker", "ListAutoMLJobs")
CREATE = models.operation("sagemaker", "CreateAutoMLJob")
CREATE_V2 = models.operation("sagemaker", "CreateAutoMLJobV2")
ADD_TAGS = models.operation("sagemaker", "AddTags")
CREATE_MODEL = models.operation("sagemaker", "CreateModel")

ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train/"}}
JOB = {
    "AutoMLJobName": "job-1",
    "InputDataConfig": [{"DataSource": SOURCE, "TargetAttributeName": "y"}],
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
    "RoleArn": ROLE,
}
ARN = "arn:aws:sagemaker:us-east-1:000000000000:automl-job/job-1"


def refusal(request: dict[str, Any], operation: OperationModel) -> str:
    with pytest.raises(ValidationError) as caught:
        validate.check(request, operation)
    return caught.value.message


def test_a_valid_request_passes() -> None:
    validate.check(JOB, CREATE)


def test_an_enum_is_told_with_its_values() -> None:
    assert refusal({"SortOrder": "Up"}, LIST_JOBS) == (
        "1 validation error detected: Value 'Up' at 'sortOrder' failed to satisfy constraint: "
        "Member must satisfy enum value set: [Ascending, Descending]"
    )


def test_all_faults_are_told_at_once() -> None:
    message = refusal({"SortOrder": "Up", "MaxResults": 101, "NameContains": "a b"}, LIST_JOBS)
    assert message.startswith("3 validation errors detected: Value ")
    assert message.count("; Value '") == 2
    assert (
        "Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"
        in message
    )
    assert (
        "Value 'a b' at 'nameContains' failed to satisfy constraint: Member must satisfy regular expression" in message
    )


def test_one_value_may_break_two_constraints() -> None:
    message = refusal({**JOB, "AutoMLJobName": "_" * 33}, CREATE)
    assert message.startswith("2 validation errors detected: ")
    assert (
        "at 'autoMLJobName' failed to satisfy constraint: Member must have length less than or equal to 32" in message
    )


def test_a_missing_member_is_null_on_its_path() -> None:
    message = refusal({**JOB, "InputDataConfig": [{"DataSource": SOURCE}], "OutputDataConfig": {}}, CREATE)
    assert (
        "Value null at 'inputDataConfig.1.member.targetAttributeName' failed to satisfy constraint: Member must"
        in message
    )
    assert (
        "Value null at 'outputDataConfig.s3OutputPath' failed to satisfy constraint: Member must not be null" in message
    )


def test_items_of_lists_are_counted_from_one() -> None:
    message = refusal({"ResourceArn": ARN, "Tags": [{"Key": "a", "Value": "b"}, {"Key": "", "Value": "b"}]}, ADD_TAGS)
    assert message == (
        "1 validation error detected: Value '' at 'tags.2.member.key' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )


def test_null_is_no_item_of_a_list() -> None:
    assert "Value null at 'tags.1.member' failed" in refusal({"ResourceArn": ARN, "Tags": [None]}, ADD_TAGS)


def test_keys_and_values_of_maps_are_held_against_their_shapes() -> None:
    request = {"ModelName": "m", "PrimaryContainer": {"Environment": {"1x": "v", "OK": "v" * 1025}}}
    message = refusal(request, CREATE_MODEL)
    assert (
        "at 'primaryContainer.environment' failed to satisfy constraint: Map keys must satisfy constraint: [Member"
        in message
    )
    assert (
        "at 'primaryContainer.environment.OK.member' failed to satisfy constraint: Member must have length less"
        in message
    )


@pytest.mark.parametrize(
    "config", [{}, {"TabularJobConfig": {"TargetAttributeName": "y"}, "TextGenerationJobConfig": {}}]
)
def test_a_union_has_exactly_one_member(config: dict[str, Any]) -> None:
    channels = [{"DataSource": SOURCE}]
    job = {k: v for k, v in JOB.items() if k != "InputDataConfig"}
    message = refusal({**job, "AutoMLJobInputDataConfig": channels, "AutoMLProblemTypeConfig": config}, CREATE_V2)
    assert (
        "at 'autoMLProblemTypeConfig' failed to satisfy constraint: Member must have exactly one of its members"
        in message
    )


def test_the_whole_value_must_match_the_pattern() -> None:
    for name in ("job 1", "job-1\n", "\njob-1", "-job"):
        assert "regular expression pattern" in refusal({**JOB, "AutoMLJobName": name}, CREATE)


def test_unicode_categories_of_java_patterns_hold() -> None:
    for key in ("Größe", "ключ", "名前 1", "a:b/c=d+e-f@g_h.i"):
        validate.check({"ResourceArn": ARN, "Tags": [{"Key": key, "Value": key}]}, ADD_TAGS)
    for key in ("a!b", "a\tb", "😀"):
        assert "regular expression" in refusal({"ResourceArn": ARN, "Tags": [{"Key": key, "Value": ""}]}, ADD_TAGS)


def test_long_values_are_not_repeated_in_full() -> None:
    assert len(refusal({"NameContains": "a" * 100_000}, LIST_JOBS)) < 1000


def test_what_is_sensitive_is_not_repeated() -> None:
    operation = models.operation("iam", "ChangePassword")
    assert "Value '***' at 'newPassword' failed" in refusal({"OldPassword": "old", "NewPassword": ""}, operation)


def test_a_long_value_is_matched_as_far_as_it_may_be_long() -> None:
    operation = models.operation("iam", "SimulatePrincipalPolicy")
    request = {"PolicySourceArn": ROLE, "ActionNames": ["a:b"], "PolicyInputList": ["a" * 20_000 + "\0"]}
    assert "regular expression" in refusal(request, operation)
    validate.check({**request, "PolicyInputList": ["a" * 20_000]}, operation)


def test_a_flood_of_faults_is_counted_and_cut() -> None:
    message = refusal({"ResourceArn": ARN, "Tags": [{"Key": "", "Value": ""}] * 5000}, ADD_TAGS)
    assert message.startswith("5001 validation errors detected: ")
    assert len(message) < 50_000


def test_a_flood_of_faults_takes_no_memory() -> None:
    tags = [{"Key": "", "Value": ""}] * 50_000
    tracemalloc.start()
    refusal({"ResourceArn": ARN, "Tags": tags}, ADD_TAGS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 << 20


MEANINGLESS = {
    r"([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,128}",
    r"([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,256}",
    r"[\w-_]*",
    r"[\p{L}\p{M}\p{Z}\p{N}\p{P}]{0,1024}",
}
"""Patterns that even Java does not read as their authors meant, or of more repetitions than RE2 has; in operations that
are not served."""


@pytest.mark.parametrize("service", ["sagemaker", "sagemaker-runtime", "logs", "iam", "sts"])
def test_every_pattern_of_the_models_has_a_meaning_here(service: str) -> None:
    model = models.service(service)
    shapes = (model.shape_for(name) for name in model.shape_names)
    unreadable = {shape.metadata["pattern"] for shape in shapes if shape.metadata.get("pattern") if not compiles(shape)}
    assert unreadable <= MEANINGLESS


def compiles(shape: Shape) -> bool:
    return patterns.compiled(shape.metadata["pattern"]) is not None


def test_classes_are_asciis_as_in_java() -> None:
    expression = patterns.compiled(r"\w\d")
    assert expression is not None
    assert not expression.fullmatch("é1")
    assert not expression.fullmatch("a٣")
    assert re.fullmatch(r"\w\d", "a٣")
