"""The real application on a real socket, in this process, for clients that are not ours."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from pilothouse import composition
from pilothouse.api.app import create_app
from pilothouse.config import Settings
from pilothouse.operations.context import Context

KEY_ID = "PHKAEXAMPLE000000000"
SECRET = "a+secret/of_forty-characters0123456789abcd"
IN_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class OneKey:
    """The only access key."""

    def secret(self, access_key_id: str) -> str | None:
        """Its secret."""
        return SECRET if access_key_id == KEY_ID else None


@dataclass(frozen=True)
class Api:
    """A served application."""

    url: str
    context: Context
    key_id: str = KEY_ID
    secret: str = SECRET

    def client(
        self, service: str, key: str = KEY_ID, secret: str = SECRET, region: str = "us-east-1", **config: Any
    ) -> Any:
        """A boto3 client of it, that does not try again."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, serving: Callable[..., AbstractContextManager[int]]) -> Iterator[Api]:
    """The API on a home of its own, without a worker."""
    home: Path = tmp_path_factory.mktemp("home")
    settings = Settings(home=home)
    context = Context(settings, composition.store(settings), composition.objects(settings))
    context.store.migrate()
    with serving(create_app(context, OneKey())) as port:
        yield Api(f"http://127.0.0.1:{port}", context)
    context.store.close()


def said(api: Api, raw: bytes) -> bytes:
    """What the server answers to these bytes, until it says no more."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(60)
        client.sendall(raw)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def signed(api: Api, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request to an S3 whose connection ends with the answer."""
    request = AWSRequest(method, f"{api.url}{path}", {"Connection": "close", **headers}, body)
    if headers.get("x-amz-content-sha256") == IN_CHUNKS:
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}  # has botocore say so
    S3SigV4Auth(Credentials(KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {api.url.removeprefix('http://')}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "host"]
    if "content-length" not in {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def code(answer: bytes) -> str:
    """The status and the code of an error."""
    status = answer.partition(b" ")[2][:3].decode()
    return f"{status} {answer.partition(b'<Code>')[2].partition(b'</Code>')[0].decode()}"
