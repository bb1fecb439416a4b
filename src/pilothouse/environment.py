"""What a client needs to know to reach a server: environment variables, and the SageMaker SDK's own defaults file."""

from __future__ import annotations

from pathlib import Path

from pilothouse.config import Settings
from pilothouse.credentials import AccessKey
from pilothouse.private_file import write_private

_ROLES = {
    "AutoMLJob": "RoleArn",
    "AutoMLJobV2": "RoleArn",
    "TrainingJob": "RoleArn",
    "ProcessingJob": "RoleArn",
    "Model": "ExecutionRoleArn",
}


_EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - names them, binds nothing


def url(host: str, port: int) -> str:
    """Where a server that listens on `host` and `port` answers, seen from this machine."""
    address = _EVERY_ADDRESS.get(host) or (f"[{host}]" if ":" in host else host)
    return f"http://{address}:{port}"


def variables(settings: Settings, key: AccessKey, endpoint: str) -> dict[str, str]:
    """The environment with which boto3, the AWS CLI and the SageMaker SDK talk to the server at `endpoint`."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PILOTHOUSE_HOME": str(settings.home.absolute()),
        "PILOTHOUSE_ROLE_ARN": settings.role_arn,
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(sdk_defaults_file(settings)),
    }


def sdk_defaults_file(settings: Settings) -> Path:
    """Where `write_sdk_defaults` puts the SDK's defaults."""
    return settings.home / "sagemaker-config.yaml"


def write_sdk_defaults(settings: Settings) -> None:
    """Write the SDK's defaults file: a bucket and roles, without which it asks AWS's public STS, and no telemetry."""
    text = sdk_defaults(settings)
    path = sdk_defaults_file(settings)
    if not path.exists() or path.read_text() != text:
        write_private(path, text)


def sdk_defaults(settings: Settings) -> str:
    """The content of the SDK's defaults file, YAML after the SDK's schema 1.0."""
    lines = [
        "SchemaVersion: '1.0'",
        "SageMaker:",
        "  PythonSDK:",
        "    Modules:",
        "      TelemetryOptOut: true",
        "      Session:",
        f"        DefaultS3Bucket: {settings.default_bucket}",
    ]
    for resource, member in _ROLES.items():
        lines += [f"  {resource}:", f"    {member}: {settings.role_arn}"]
    return "\n".join(lines) + "\n"
