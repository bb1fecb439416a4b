"""The guard under which clients run: what they try to reach outside is refused and known."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest


@pytest.mark.parametrize("host", ["sts.us-east-1.amazonaws.com", "169.254.169.254", "10.0.0.1"])
def test_a_call_outside_is_refused_and_told(lonely: Any, host: str) -> None:
    code = f"import socket; socket.create_connection(('{host}', 80), 5)"
    with pytest.raises(AssertionError, match=re.escape(host)):
        lonely.run(sys.executable, "-c", code, check=False)
    assert host in lonely.calls_outside()


def test_a_client_that_swallows_the_refusal_is_known_all_the_same(lonely: Any) -> None:
    code = "import boto3\ntry: boto3.client('sts').get_caller_identity()\nexcept Exception: pass"
    with pytest.raises(AssertionError):
        lonely.run(sys.executable, "-c", code)
    assert "sts" in lonely.calls_outside()


def test_loopback_is_open(lonely: Any) -> None:
    code = "import socket\ns = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5)"
    lonely.run(sys.executable, "-c", code)
