"""Buckets are found in the names of hosts that are the server's own, and nowhere else."""

from __future__ import annotations

import pytest

from pilothouse.wire.virtual_hosts import bucket_of, own_names

NAMES = own_names("0.0.0.0", "Pilothouse.internal, s3.pilothouse.internal")


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("data.localhost:8642", "data"),
        ("data.localhost", "data"),
        ("my.data.localhost:8642", "my.data"),
        ("DATA.LocalHost.:80", "data"),
        ("data.pilothouse.internal", "data"),
        ("data.s3.pilothouse.internal", "data"),
        ("s3.pilothouse.internal:8642", ""),
        ("localhost:8642", ""),
        ("127.0.0.1:8642", ""),
        ("[::1]:8642", ""),
        ("[::1]", ""),
        ("data.example.org", ""),
        ("datalocalhost", ""),
        ("", ""),
    ],
)
def test_a_bucket_stands_before_a_name_of_the_server(host: str, bucket: str) -> None:
    assert bucket_of(host, NAMES) == bucket


@pytest.mark.parametrize(
    ("host", "further", "names"),
    [
        ("127.0.0.1", "", ("localhost",)),
        ("", "", ("localhost",)),
        ("::", "", ("localhost",)),
        ("localhost", "localhost", ("localhost",)),
        ("::1", "a.b:8642,[::1]:80,c:1", ("localhost", "a.b", "c")),
        ("Pilothouse.internal", "a.b, c", ("localhost", "pilothouse.internal", "a.b", "c")),
    ],
)
def test_a_server_has_the_name_localhost_and_those_that_are_set(
    host: str, further: str, names: tuple[str, ...]
) -> None:
    assert own_names(host, further) == names
