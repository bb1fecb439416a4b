"""What people do with polars, against the S3 that the variables AWS_* name. Fails at the first surprise."""

from __future__ import annotations

import os
import sys

import polars as pl

BUCKET = sys.argv[1]
OPTIONS = {
    "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    "aws_region": os.environ["AWS_DEFAULT_REGION"],
    "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    "aws_allow_http": "true",
}
frame = pl.DataFrame({"n": range(400_000), "text": [f"row {n} of many" for n in range(400_000)]})

frame.write_parquet(f"s3://{BUCKET}/p/one.parquet", storage_options=OPTIONS)
frame.head(3).write_csv(f"s3://{BUCKET}/small ü.csv", storage_options=OPTIONS)
frame.lazy().sink_parquet(f"s3://{BUCKET}/p/two.parquet", storage_options=OPTIONS)
frame.lazy().sink_ipc(f"s3://{BUCKET}/frame.arrow", compression="uncompressed", storage_options=OPTIONS)

assert pl.read_parquet(f"s3://{BUCKET}/p/one.parquet", storage_options=OPTIONS).equals(frame)
assert pl.read_csv(f"s3://{BUCKET}/small ü.csv", storage_options=OPTIONS).equals(frame.head(3))
assert pl.scan_ipc(f"s3://{BUCKET}/frame.arrow", storage_options=OPTIONS).collect().equals(frame)
both = pl.scan_parquet(f"s3://{BUCKET}/p/*.parquet", storage_options=OPTIONS)
assert both.select(pl.len()).collect().item() == 2 * len(frame)
assert both.filter(pl.col("n") == 399_999).collect()["text"].to_list() == ["row 399999 of many"] * 2
try:
    pl.read_parquet(f"s3://{BUCKET}/none.parquet", storage_options=OPTIONS)
except (FileNotFoundError, OSError):
    pass
else:
    raise AssertionError("an object that is not there was read")
