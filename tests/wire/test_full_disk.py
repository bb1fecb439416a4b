"""A disk that is full: the client is told so, and nothing is stored by halves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

BUCKET = "full"
MIB = 1 << 20


@pytest.fixture(scope="module")
def s3(api: Any) -> Any:
    client = api.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="k", Body=b"before")
    return client


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to files of the store that are new goes to a device that has no room for it."""
    opened = os.open

    def on_full_device(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        descriptor = opened(path, flags, *arguments, **options)
        if flags & os.O_EXCL and Path(path).parent.name == "incoming":
            device = opened("/dev/full", os.O_WRONLY)
            os.dup2(device, descriptor)
            os.close(device)
        return descriptor

    monkeypatch.setattr(os, "open", on_full_device)


@pytest.mark.parametrize(
    "write",
    [
        lambda s3, _: s3.put_object(Bucket=BUCKET, Key="k", Body=b"after"),
        lambda s3, _: s3.put_object(Bucket=BUCKET, Key="k", Body=b"x" * 3 * MIB),
        lambda s3, _: s3.copy_object(Bucket=BUCKET, Key="l", CopySource=f"{BUCKET}/k"),
        lambda s3, upload: s3.upload_part(**upload, PartNumber=1, Body=b"x" * 3 * MIB),
    ],
    ids=["small", "large", "copy", "part"],
)
def test_a_write_fails_and_leaves_all_as_it_was(
    api: Any, s3: Any, full: None, write: Callable[[Any, dict[str, Any]], Any]
) -> None:
    upload = {
        "Bucket": BUCKET,
        "Key": "parts",
        "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"],
    }
    with pytest.raises(ClientError, match="The disk of the object store is full") as error:
        write(s3, upload)
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("InsufficientStorage", 507)
    assert list((api.context.settings.objects_root / BUCKET / "incoming").iterdir()) == []
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["k"]
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"before"
    assert "Parts" not in s3.list_parts(**upload)
    s3.abort_multipart_upload(**upload)
