"""The S3 door as libraries of other makers meet it: pyarrow, and s3fs and polars where there is a Python with them.

s3fs requires an older botocore than Pilothouse, and polars is large, so the two live in an environment of their own,
which `make clients` makes.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import fs

pytestmark = pytest.mark.slow

MIB = 1 << 20
TOYS = Path(__file__).parent / "toys"
PYTHON = Path(__file__).parents[2] / ".clients/s3/bin/python"


@pytest.fixture(scope="module")
def arrow(s3_door: Any) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        access_key=s3_door.KEY_ID,
        secret_key=s3_door.SECRET,
        region="us-east-1",
        scheme="http",
        endpoint_override=s3_door.url.removeprefix("http://"),
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )


def test_pyarrow_keeps_files_and_folders(arrow: fs.S3FileSystem) -> None:
    arrow.create_dir("files/empty", recursive=True)
    assert arrow.get_file_info("files/empty").type is fs.FileType.Directory
    with arrow.open_output_stream("files/d/ü +", metadata={"Content-Type": "text/x-own"}) as target:
        target.write(b"hello")
    told = arrow.get_file_info(["files/d/ü +", "files/none"])
    assert [(info.type, info.size) for info in told] == [(fs.FileType.File, 5), (fs.FileType.NotFound, None)]
    with arrow.open_output_stream("files/large") as target:
        for n in range(24):
            target.write(bytes([n]) * MIB)
    arrow.move("files/large", "files/moved")
    with arrow.open_input_file("files/moved") as source:
        source.seek(23 * MIB)
        assert (source.read(2), source.size()) == (b"\x17\x17", 24 * MIB)
    listed = {info.path for info in arrow.get_file_info(fs.FileSelector("files", recursive=True))}
    assert listed == {"files/d", "files/d/ü +", "files/empty", "files/moved"}
    arrow.delete_dir_contents("files")
    arrow.delete_dir("files")
    with pytest.raises(FileNotFoundError):
        arrow.open_input_file("files/moved")


def test_pyarrow_writes_and_reads_a_partitioned_data_set(arrow: fs.S3FileSystem) -> None:
    arrow.create_dir("sets")
    table = pa.table({"n": list(range(300)), "part": [n % 3 for n in range(300)]})
    ds.write_dataset(table, "sets/t", filesystem=arrow, format="parquet", partitioning=["part"])
    found = ds.dataset("sets/t", filesystem=arrow, partitioning=["part"])
    assert found.to_table(filter=ds.field("part") == 1)["n"].to_pylist() == list(range(1, 300, 3))


@pytest.mark.skipif(not PYTHON.exists(), reason="s3fs and polars are not installed: make clients")
@pytest.mark.parametrize("client", ["s3fs", "polars"])
def test_what_people_do_with_a_library_works(s3_door: Any, client: str) -> None:
    bucket = f"{client}-bucket"
    if client == "polars":
        s3_door.client().create_bucket(Bucket=bucket)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [str(PYTHON), str(TOYS / f"s3_by_{client}.py"), bucket]
    done = subprocess.run(command, env=kept | s3_door.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
