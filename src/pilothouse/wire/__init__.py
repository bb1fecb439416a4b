"""The wire: bytes to dicts and back, from botocore's own service models; knows no operation and no store."""
