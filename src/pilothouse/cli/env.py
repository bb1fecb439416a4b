"""`pilothouse env`: what to export so that AWS's own tools talk to this server."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import click

from pilothouse import environment
from pilothouse.cli.settings import home_option, load
from pilothouse.config import Settings
from pilothouse.credentials import AccessKey, Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.home import Home

_IN_THE_WAY = (
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@click.command()
@home_option
def env(home: Path | None) -> None:
    """Print the variables that boto3, the AWS CLI and the SageMaker SDK need.

    They are those of the server that runs on the home, if one does, else of one that would be started now.

    Use it as: eval "$(pilothouse env)"
    """
    settings = load(home=home)
    running = Home(settings.home).running()
    if running is not None:
        settings = settings.model_copy(update=running.names())
    key = _key(settings)
    environment.write_sdk_defaults(settings)
    for name in in_the_way(os.environ):
        click.echo(f"unset {name}")
    url = running.url if running is not None else _url_to_be(settings)
    for name, value in (environment.variables(settings, key, url) | past_proxies(os.environ, url)).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def in_the_way(variables: os._Environ[str] | dict[str, str]) -> list[str]:
    """The names among `variables` that would lead AWS's tools past the exported ones."""
    return sorted(name for name in variables if name in _IN_THE_WAY or name.startswith("AWS_ENDPOINT_URL_"))


def past_proxies(variables: os._Environ[str] | dict[str, str], url: str) -> dict[str, str]:
    """What keeps AWS's tools from asking a proxy, if `variables` name one, for the server at `url`."""
    if not any(name.lower() in _PROXIES for name in variables):
        return {}
    host = urlsplit(url).hostname or ""
    past = {name: variables.get(name, "") for name in ("no_proxy", "NO_PROXY")}
    return {name: ",".join(filter(None, [hosts, host])) for name, hosts in past.items() if host not in hosts.split(",")}


def _key(settings: Settings) -> AccessKey:
    keys = Credentials(settings.credentials_file).all()
    if not keys:
        raise ConfigurationError(
            f"There is no access key in {settings.home}. The first `pilothouse serve` on this home makes one."
        )
    return keys[0]


def _url_to_be(settings: Settings) -> str:
    url = environment.url(settings.host, settings.port)
    click.echo(f"No server runs on {settings.home} now. These variables are for one that will be at {url}.", err=True)
    return url
