"""The servers that are compared."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

_PATIENCE = 60


@dataclass(frozen=True)
class Peer:
    """A server: where it listens and what requests to it are signed with."""

    name: str
    url: str
    credentials: Any
    region: str

    @classmethod
    def pilothouse(cls, client: Any) -> Peer:
        """The Pilothouse that a client of boto3 talks to."""
        url, signer = client.meta.endpoint_url.rstrip("/"), client._request_signer
        return cls("pilothouse", url, signer._credentials, client.meta.region_name)


@contextlib.contextmanager
def moto(python: Path) -> Iterator[Peer]:
    """A started moto server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield Peer("moto", f"http://127.0.0.1:{port}", Credentials("AKIDEXAMPLE", "secret"), "us-east-1")
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"moto's server ended with exit code {process.returncode}.")
