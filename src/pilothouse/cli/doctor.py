"""`pilothouse doctor`: whether this machine and this home are fit to run a server."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import stat
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from pilothouse import composition
from pilothouse.cli.settings import home_option, load
from pilothouse.config import Settings
from pilothouse.credentials import Credentials
from pilothouse.errors import ConfigurationError, PilothouseError
from pilothouse.home import Home
from pilothouse.objects.master_keys import MasterKeys
from pilothouse.volumes import Volumes

_LIBRARIES = ("boto3", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn", "numpy", "pyarrow", "sqlalchemy")
_LOW_DISK = 2 << 30
_LOW_MEMORY = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was seen, and whether a server can run with it."""

    subject: str
    seen: str
    good: bool = True


@click.command()
@home_option
def doctor(home: Path | None) -> None:
    """Check Python, libraries, home, database, disk, memory and port. Exit code 1 if something is wrong."""
    from rich.console import Console
    from rich.table import Table

    findings = list(examine(load(home=home)))
    table = Table("", "checked", "seen", box=None, pad_edge=False)
    for finding in findings:
        table.add_row("[green]ok[/]" if finding.good else "[red]fault[/]", finding.subject, finding.seen)
    Console().print(table)
    if not all(finding.good for finding in findings):
        raise SystemExit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings. Nothing is changed: a home or database that doesn't exist yet is not made."""
    yield Finding("Python", platform.python_version(), (3, 11) <= sys.version_info[:2] <= (3, 13))
    yield from (_library(name) for name in _LIBRARIES)
    yield _home(settings)
    yield _keys(settings)
    yield _master_keys(settings)
    yield _volume_keys(settings)
    yield _database(settings)
    yield _disk(settings)
    yield _memory()
    yield Finding(
        "cores", f"{len(os.sched_getaffinity(0))}, {settings.slots} trials and {settings.jobs} jobs at a time"
    )
    yield _trial("training programs", lambda: _isolation(settings))
    yield _server(settings)


def _isolation(settings: Settings) -> Finding:
    from pilothouse.launch.engine import engine
    from pilothouse.launch.isolation import isolation

    images = f"; images as {engine().meaning}" if settings.launcher == "docker" else ""
    return Finding("training programs", f"run as {isolation(settings.isolation).meaning}{images}")


def _library(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing; install Pilothouse again", good=False)


def _home(settings: Settings) -> Finding:
    home = settings.home
    if not home.exists():
        return Finding("home", f"{home}, not made yet; `pilothouse serve` makes it", os.access(_parent(home), os.W_OK))
    mode = stat.S_IMODE(home.stat().st_mode)
    if not os.access(home, os.W_OK):
        return Finding("home", f"{home} cannot be written to", good=False)
    return Finding(
        "home", f"{home}, mode {mode:04o}" + ("" if mode & 0o077 == 0 else "; should be 0700"), mode & 0o077 == 0
    )


def _keys(settings: Settings) -> Finding:
    file = settings.credentials_file
    if not file.exists():
        return Finding("access keys", "none yet; the first `pilothouse serve` makes one")
    return _trial("access keys", lambda: _key_facts("access keys", file, Credentials(file).all()))


def _master_keys(settings: Settings) -> Finding:
    file = settings.master_keys_file
    if settings.master_keys and not settings.master_keys.is_dir():
        return Finding("master keys", f"{settings.master_keys} is no folder; mount it", good=False)
    if not file.exists():
        return Finding("master keys", "none yet; the first encrypted object makes one")
    return _trial("master keys", lambda: _key_facts("master keys", file, MasterKeys(file).all()))


def _volume_keys(settings: Settings) -> Finding:
    """That no key of a volume can be honoured is a fault where somebody has said how it is to be."""
    try:
        return Finding("volume keys", Volumes(settings).meaning())
    except ConfigurationError as error:
        is_usual = settings.volumes is None and settings.volume_keys == "honour"
        return Finding("volume keys", f"requests with one are refused: {error.message}", is_usual)


def _key_facts(subject: str, file: Path, keys: Sequence[object]) -> Finding:
    mode = stat.S_IMODE(file.stat().st_mode)
    private = mode & 0o077 == 0
    seen = f"{len(keys)} in {file}, mode {mode:04o}"
    return Finding(subject, seen if private else f"{seen}; should be 0600", private)


def _database(settings: Settings) -> Finding:
    shown = settings.database.rsplit("@", 1)[-1]
    if settings.database_url is None and not (settings.home / "pilothouse.sqlite").exists():
        return Finding("database", "SQLite, not made yet; `pilothouse serve` makes it")
    return _trial("database", lambda: _database_facts(settings, shown))


def _database_facts(settings: Settings, shown: str) -> Finding:
    store = composition.store(settings)
    try:
        if not store.has_tables:
            return Finding("database", f"{shown}, without tables yet; `pilothouse serve` makes them")
        jobs = len(store.find("automl-job", status="InProgress", limit=1000))
        return Finding("database", f"{shown}, {jobs} AutoML jobs in progress")
    finally:
        store.close()


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_parent(settings.home)).free
    return Finding("disk", f"{_gib(free)} free" + ("" if free > _LOW_DISK else "; too little"), free > _LOW_DISK)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    good = memory.available > _LOW_MEMORY
    return Finding(
        "memory", f"{_gib(memory.available)} of {_gib(memory.total)} free" + ("" if good else "; too little"), good
    )


def _server(settings: Settings) -> Finding:
    running = Home(settings.home).running()
    if running is None:
        return _port(settings)
    try:
        with urllib.request.urlopen(f"{running.url}/health", timeout=10) as answer:  # noqa: S310 - our own http URL
            return Finding("server", f"{running.url}, process {running.pid}", answer.status == 200)
    except OSError as error:
        return Finding("server", f"process {running.pid} does not answer at {running.url}: {error}", good=False)


def _port(settings: Settings) -> Finding:
    from pilothouse.server import listen

    def free() -> Finding:
        listen(settings.host, settings.port).close()
        return Finding("server", f"none runs on this home; port {settings.port} is free")

    return _trial("server", free)


def _trial(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except PilothouseError as error:
        return Finding(subject, error.message, good=False)


def _parent(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
