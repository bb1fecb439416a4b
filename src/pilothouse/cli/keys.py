"""`pilothouse keys`: who may call."""

from __future__ import annotations

from pathlib import Path

import click

from pilothouse.cli.settings import home_option, load
from pilothouse.clock import iso
from pilothouse.credentials import Credentials
from pilothouse.home import Home


@click.group()
def keys() -> None:
    """Show, make and revoke access keys. A running server notices at once."""


@keys.command("list")
@home_option
def list_keys(home: Path | None) -> None:
    """Show the ids of the valid keys, oldest first, with the time each was made."""
    for key in _credentials(home).all():
        click.echo(f"{key.id}  {iso(key.created_at)}")


@keys.command()
@home_option
def create(home: Path | None) -> None:
    """Make a further key and print it. The secret is in the credentials file too, and nowhere else."""
    settings = load(home=home)
    Home(settings.home).create()
    key = Credentials(settings.credentials_file).create()
    click.echo(f"AWS_ACCESS_KEY_ID={key.id}")
    click.echo(f"AWS_SECRET_ACCESS_KEY={key.secret}")


@keys.command()
@click.argument("access_key_id", metavar="ID")
@home_option
def revoke(access_key_id: str, home: Path | None) -> None:
    """End the validity of the key ID, from the next request on."""
    _credentials(home).revoke(access_key_id)
    click.echo(f"{access_key_id} is no longer valid.", err=True)


def _credentials(home: Path | None) -> Credentials:
    return Credentials(load(home=home).credentials_file)
