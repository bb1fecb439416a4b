"""The reference pages say what the code says, and what they derive from it is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.errors import ResourceInUse, S3Error, ValidationError
from pilothouse.operations import endpoints, s3_objects, s3_uploads, transform
from pilothouse.wire import models

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _generator_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def test_the_pages_are_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_errors_are_found_in_what_a_function_calls() -> None:
    from docs.generate.raised import Refusal, refusals

    found = refusals(transform.create_transform_job)
    assert {Refusal(ResourceInUse), Refusal(ValidationError)} <= found
    assert Refusal(ResourceInUse) not in refusals(transform.describe_transform_job)


def test_an_error_that_is_caught_is_not_the_callers() -> None:
    from docs.generate.raised import Refusal, refusals

    assert Refusal(ResourceInUse) not in refusals(endpoints.create_endpoint)


def test_errors_of_the_object_store_carry_their_codes() -> None:
    from docs.generate.raised import Refusal, refusals

    found = refusals(s3_objects.get_object)
    assert Refusal(S3Error, "NoSuchKey", 404) in found
    assert Refusal(S3Error, "InvalidRange", 416) in found


def test_errors_are_found_behind_what_a_call_answers() -> None:
    from docs.generate.raised import Refusal, refusals

    assert Refusal(S3Error, "NoSuchUpload", 404) in refusals(s3_uploads.abort_multipart_upload)
    assert Refusal(S3Error, "BadDigest", 400) in refusals(s3_objects.put_object)


@pytest.mark.parametrize(
    ("service", "operation", "member", "named"),
    [
        ("sagemaker", "CreateTrainingJob", "HyperParameters", True),
        ("sagemaker", "CreateTrainingJob", "VpcConfig", False),
        ("s3", "PutObject", "ChecksumSHA256", True),  # by a name that code puts together
        ("s3", "GetObject", "IfNoneMatch", True),
        ("s3", "GetObject", "RequestPayer", False),
    ],
)
def test_a_member_counts_as_read_if_code_names_it(service: str, operation: str, member: str, named: bool) -> None:
    from docs.generate import reading

    shape = models.operation(service, operation).input_shape
    assert reading.is_named(member, shape.members[member]) is named
