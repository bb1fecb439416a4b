"""`pilothouse env`: what it exports, quoted, and what it says when something is missing."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pilothouse.cli import main
from pilothouse.cli.env import in_the_way, past_proxies
from pilothouse.config import Settings
from pilothouse.credentials import Credentials
from pilothouse.environment import sdk_defaults, url
from pilothouse.home import Home

NAMES = {
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "PILOTHOUSE_HOME",
    "AWS_EC2_METADATA_DISABLED",
    "PILOTHOUSE_ROLE_ARN",
    "SAGEMAKER_USER_CONFIG_OVERRIDE",
}


@pytest.fixture(autouse=True)
def _no_aws_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    for name in [n for n in os.environ if n.startswith(("AWS_", "PILOTHOUSE_")) or n.lower() in proxies]:
        monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "a home's name")
    home.create()
    Credentials(home.root / "credentials.json").ensure()
    return home


def exported(text: str) -> dict[str, str]:
    words = [shlex.split(line) for line in text.splitlines()]
    assert all(word[0] == "export" for word in words)
    return dict(word[1].split("=", 1) for word in words)


def test_every_variable_is_exported_and_quoted(home: Home) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(home.root)])
    assert result.exit_code == 0
    variables = exported(result.stdout)
    assert set(variables) == NAMES
    assert variables["SAGEMAKER_USER_CONFIG_OVERRIDE"] == str(home.root / "sagemaker-config.yaml")


def test_without_a_server_the_configured_port_is_used_and_said(home: Home) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(home.root)], env={"PILOTHOUSE_PORT": "8700"})
    assert exported(result.stdout)["AWS_ENDPOINT_URL"] == "http://127.0.0.1:8700"
    assert "No server runs" in result.stderr


def test_a_running_server_is_found(home: Home) -> None:
    with home.serving():
        home.announce("http://127.0.0.1:40001", "us-east-1", "000000000000")
        result = CliRunner().invoke(main, ["env", "--home", str(home.root)])
    assert exported(result.stdout)["AWS_ENDPOINT_URL"] == "http://127.0.0.1:40001"
    assert result.stderr == ""


def test_what_a_running_server_was_started_with_counts_not_what_is_set_here(home: Home) -> None:
    with home.serving():
        home.announce("http://127.0.0.1:40001", "eu-west-1", "111122223333")
        here = {"PILOTHOUSE_REGION": "us-west-2", "PILOTHOUSE_ACCOUNT_ID": "444455556666"}
        variables = exported(CliRunner().invoke(main, ["env", "--home", str(home.root)], env=here).stdout)
    assert variables["AWS_DEFAULT_REGION"] == variables["AWS_REGION"] == "eu-west-1"
    assert variables["PILOTHOUSE_ROLE_ARN"] == "arn:aws:iam::111122223333:role/PilothouseRole"
    assert "sagemaker-eu-west-1-111122223333" in (home.root / "sagemaker-config.yaml").read_text()


def test_a_home_without_a_key_is_an_error_and_prints_nothing_to_evaluate(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "pilothouse serve" in result.stderr


def test_a_wrong_setting_is_named(home: Home) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(home.root)], env={"PILOTHOUSE_PORT": "70000"})
    assert result.exit_code == 1
    assert "PILOTHOUSE_PORT is wrong" in result.stderr


def test_a_launcher_that_is_not_there_is_refused(home: Home) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(home.root)], env={"PILOTHOUSE_LAUNCHER": "ray"})
    assert result.exit_code == 1
    assert "PILOTHOUSE_LAUNCHER is wrong: Input should be 'local' or 'docker'." in result.stderr


def test_variables_that_would_lead_elsewhere_are_unset() -> None:
    variables = {"AWS_SESSION_TOKEN": "x", "AWS_ENDPOINT_URL_S3": "x", "AWS_PROFILE": "x", "AWS_ENDPOINT_URL": "x"}
    assert in_the_way(variables) == ["AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"]


def test_a_proxy_is_passed_by_for_the_server_only() -> None:
    url = "http://127.0.0.1:8642"
    assert past_proxies({"HOME": "x"}, url) == {}
    past = past_proxies({"https_proxy": "p", "NO_PROXY": "a.example"}, url)
    assert past == {"no_proxy": "127.0.0.1", "NO_PROXY": "a.example,127.0.0.1"}
    assert past_proxies({"HTTP_PROXY": "p", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}, url) == {}


def test_unset_lines_come_before_the_exports(home: Home) -> None:
    result = CliRunner().invoke(main, ["env", "--home", str(home.root)], env={"AWS_SESSION_TOKEN": "x"})
    assert result.stdout.splitlines()[0] == "unset AWS_SESSION_TOKEN"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8642"),
        ("0.0.0.0", "http://127.0.0.1:8642"),
        ("::1", "http://[::1]:8642"),
        ("::", "http://[::1]:8642"),
        ("localhost", "http://localhost:8642"),
    ],
)
def test_the_url_can_be_called_from_this_machine(host: str, expected: str) -> None:
    assert url(host, 8642) == expected


def test_the_sdk_defaults_name_bucket_and_role_and_no_telemetry(tmp_path: Path) -> None:
    import yaml

    document = yaml.safe_load(sdk_defaults(Settings(home=tmp_path)))
    assert document["SchemaVersion"] == "1.0"
    modules = document["SageMaker"]["PythonSDK"]["Modules"]
    assert modules["TelemetryOptOut"] is True
    assert modules["Session"]["DefaultS3Bucket"] == "sagemaker-us-east-1-000000000000"
    assert document["SageMaker"]["AutoMLJobV2"]["RoleArn"] == "arn:aws:iam::000000000000:role/PilothouseRole"
