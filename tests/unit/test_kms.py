"""KMS keys: what names one, whose they are, and what a real S3 is asked for on their account."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import kms
from pilothouse.catalog.data_capture import Capture
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.objects import s3
from pilothouse.objects.base import Attributes
from pilothouse.objects.s3 import RemoteObjects

KEY = "arn:aws:kms:us-east-1:000000000000:key/1234"
ENCRYPTED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}


class Pages:
    """A listing that is empty."""

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return []


class Recorder:
    """An S3 that takes whatever comes, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            self.calls.append((operation, request))
            at = datetime.fromtimestamp(0, UTC)
            return {"UploadId": "u", "ETag": '"e"', "ContentLength": 1, "LastModified": at, "Parts": []}

        return (lambda _: Pages()) if operation == "get_paginator" else call

    def encryption(self) -> dict[str, dict[str, str]]:
        """By operation, the members of its last request that speak of encryption."""
        return {name: {k: v for k, v in asked.items() if "SSE" in k or "Encr" in k} for name, asked in self.calls}


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> tuple[RemoteObjects, Recorder]:
    objects, recorder = RemoteObjects("http://127.0.0.1:1", "us-east-1", access_key="k", secret_key="s"), Recorder()
    objects._client.__dict__["_client"] = recorder
    return objects, recorder


def test_a_real_s3_is_asked_to_encrypt_what_a_keyed_writer_makes(remote: tuple[RemoteObjects, Recorder]) -> None:
    objects, recorder = remote
    keyed = objects.keyed(KEY)
    keyed.put("bucket", "key", b"content")
    keyed.create_upload("bucket", "key", Attributes())
    found = recorder.encryption()
    assert found.pop("put_object") == found.pop("create_multipart_upload") == ENCRYPTED
    assert all(members == {} for members in found.values())


def test_large_files_are_encrypted_as_well(
    remote: tuple[RemoteObjects, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_LARGEST_PUT", 3)
    objects, recorder = remote
    (tmp_path / "file").write_bytes(b"content")
    objects.keyed(KEY).upload(tmp_path / "file", "s3://bucket/key")
    found = recorder.encryption()
    assert (found["create_multipart_upload"], found["upload_part"]) == (ENCRYPTED, {})


def test_without_a_key_nothing_is_said_of_encryption(remote: tuple[RemoteObjects, Recorder]) -> None:
    objects, recorder = remote
    objects.keyed(KEY)
    objects.put("bucket", "key", b"content")
    objects.keyed(KEY).keyed(None).put("bucket", "key", b"content")
    assert recorder.encryption()["put_object"] == {}


@pytest.mark.parametrize("prefix", ["", "arn:aws:kms:us-east-1:000000000000:", "arn:aws-cn:kms:cn-1:111111111111:"])
@pytest.mark.parametrize("name", ["key/12ab34cd-12ab-34cd-56ef-1234567890ab", "key/mrk-1234", "alias/our/key_1"])
def test_ids_aliases_and_their_arns_name_a_key(prefix: str, name: str) -> None:
    text = prefix + name if prefix else name.removeprefix("key/")
    assert kms.names_key(text)
    full = prefix + name if prefix else f"arn:aws:kms:us-east-1:000000000000:{name}"
    assert kms.arn(text, "us-east-1", "000000000000") == full


@pytest.mark.parametrize("text", ["", "key/1", "a b", "alias/", "a/b", "arn:aws:s3:::b", "1234\n", "x" * 2049, "é"])
def test_other_texts_name_none(text: str) -> None:
    assert not kms.names_key(text)


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        ({"OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": KEY}}, KEY),
        ({"TransformOutput": {"S3OutputPath": "s3://b/o", "KmsKeyId": KEY}}, KEY),
        ({"OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": ""}}, None),
        ({"HyperParameterTuningJobName": "t", "TrainingJobDefinition": {}}, None),
    ],
)
def test_a_job_names_the_key_of_its_output(request_: dict[str, Any], key: str | None) -> None:
    assert kms.of_output(request_) == key


def test_a_trial_and_a_capture_have_keys_of_their_own() -> None:
    trial = {"TrainingJobName": "t", "OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": KEY}}
    assert TrainingJob.of(trial).kms_key == KEY
    config = {
        "InitialSamplingPercentage": 1,
        "DestinationS3Uri": "s3://b/c",
        "CaptureOptions": [{"CaptureMode": "Input"}],
        "KmsKeyId": KEY,
    }
    capture = Capture.of(config)
    assert capture is not None
    assert capture.kms_key == KEY
