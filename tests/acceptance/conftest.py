"""A user of boto3 who deploys models, and asks them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from pilothouse.catalog import images

BUCKET = "models"


class User:
    """boto3 clients without retries, and the few calls that tests of endpoints make."""

    def __init__(self, server: Any) -> None:
        once = Config(retries={"total_max_attempts": 1}, read_timeout=120)
        self.sagemaker = server.client("sagemaker", config=once)
        self.runtime = server.client("sagemaker-runtime", config=once)
        self.logs = server.client("logs", config=once)
        self.s3 = server.client("s3", config=boto3.session.Config(s3={"addressing_style": "path"}))

    def upload(self, archive: Path, key: str = "model.tar.gz") -> str:
        if BUCKET not in [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]:
            self.s3.create_bucket(Bucket=BUCKET)
        self.s3.upload_file(str(archive), BUCKET, key)
        return f"s3://{BUCKET}/{key}"

    def deploy(self, name: str, archive: Path, instances: int = 1, **environment: str) -> str:
        """Starts to deploy; the name that model, configuration and endpoint have."""
        return self.serve(name, [self.container(images.TABULAR_INFERENCE, archive, **environment)], instances)

    def container(self, image: str, archive: Path, hostname: str | None = None, **environment: str) -> dict[str, Any]:
        """A container's definition; its archive is uploaded."""
        uri = self.upload(archive, f"{archive.parent.name}-{archive.name}")
        named = {"ContainerHostname": hostname} if hostname else {}
        return {"Image": image, "ModelDataUrl": uri, "Environment": environment, **named}

    def serve(self, name: str, containers: list[dict[str, Any]], instances: int = 1, **members: Any) -> str:
        """Starts to serve containers; the name that model, configuration and endpoint have."""
        self.sagemaker.create_model(ModelName=name, Containers=containers, **members)
        variant = {
            "VariantName": "main",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": instances,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def wait(self, name: str, status: str = "InService") -> dict[str, Any]:
        give_up = time.monotonic() + 120
        while True:
            described = self.sagemaker.describe_endpoint(EndpointName=name)
            if described["EndpointStatus"] == status:
                return dict(described)
            assert described["EndpointStatus"] == "Creating", described
            assert time.monotonic() < give_up, described
            time.sleep(0.1)

    def ask(self, name: str, body: str, **options: str) -> str:
        return self.invoke(name, body, **options).decode()

    def invoke(self, name: str, body: str | bytes, **options: str) -> bytes:
        options = {"ContentType": "text/csv", **options}
        answer: bytes = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **options)["Body"].read()
        return answer

    def ask_until_answered(self, name: str, body: str) -> str:
        give_up = time.monotonic() + 120
        while True:
            try:
                return self.ask(name, body)
            except self.runtime.exceptions.ServiceUnavailable:
                if time.monotonic() > give_up:
                    raise


@pytest.fixture(scope="session")
def user_of() -> Callable[[Any], User]:
    """Makes the user of a server."""
    return User


@pytest.fixture(scope="module")
def user(shared_server: Any) -> User:
    """The user of the server that the tests of a module share."""
    return User(shared_server)
