"""`pilothouse keys`: who may call, and the master keys of what is encrypted."""

from __future__ import annotations

from pathlib import Path

import click

from pilothouse.cli.settings import home_option, load
from pilothouse.clock import iso
from pilothouse.credentials import Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.home import Home
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.objects.master_keys import MasterKeys
from pilothouse.objects.rotation import rewrap


@click.group()
def keys() -> None:
    """Show, make and revoke access keys, and rotate the master key. A running server notices at once."""


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


@keys.command()
@click.option("--resume", is_flag=True, help="Make no new key: go on with a rotation that was cut off.")
@home_option
def rotate(resume: bool, home: Path | None) -> None:
    """Make a new master key of encryption at rest, and put all encrypted objects under it.

    Their content is not encrypted anew. Servers and jobs may run meanwhile. The older keys stay in the file.
    """
    settings = load(home=home)
    if settings.s3_endpoint:
        raise ConfigurationError(f"The objects are kept by {settings.s3_endpoint}, which has keys of its own.")
    masters = MasterKeys(settings.master_keys_file)
    if resume and not masters.all():
        raise ConfigurationError(f"There are no master keys in {settings.master_keys_file}. Leave --resume out.")
    newest = masters.newest() if resume else masters.add()
    click.echo(f"The newest of {len(masters.all())} master keys is {newest.id}.")
    done = rewrap(DirectoryObjects(settings.objects_root, settings.master_keys_file))
    click.echo(f"Encrypted objects: {done.encrypted}. Put under it now: {done.wrapped}. Failed: {len(done.failures)}.")
    if done.parts:
        click.echo(f"Parts of unfinished uploads under older keys: {done.parts}. Completing or aborting ends that.")
    for failure in done.failures:
        click.echo(failure, err=True)
    if done.failures:
        raise SystemExit(1)


def _credentials(home: Path | None) -> Credentials:
    return Credentials(load(home=home).credentials_file)
