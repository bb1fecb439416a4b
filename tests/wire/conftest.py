"""The real application on a real socket, in this process, for clients that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from pilothouse import composition
from pilothouse.api.app import create_app
from pilothouse.config import Settings
from pilothouse.operations.context import Context

KEY_ID = "PHKAEXAMPLE000000000"
SECRET = "a+secret/of_forty-characters0123456789abcd"


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
