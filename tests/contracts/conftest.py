"""A PostgreSQL server of the tests' own, on a unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

ACCOUNT = "postgres"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    base = request.getfixturevalue("postgres")
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return base.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a running PostgreSQL; skips where none is installed."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with running(folder) as url:
        yield url


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Starts a server with the programs in `folder`; yields the SQLAlchemy URL of an empty database."""
    place = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(place, ACCOUNT)
    data = place / "data"
    _run(folder / "initdb", "-D", data, "-U", ACCOUNT, "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-k {place} -c listen_addresses= -c fsync=off"
    _run(folder / "pg_ctl", "-D", data, "-o", options, "-l", place / "log", "-w", "start")
    try:
        yield f"postgresql+pg8000://{ACCOUNT}@/postgres?unix_sock={place}/.s.PGSQL.5432"
    finally:
        _run(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(place, ignore_errors=True)


def _run(*command: object) -> None:
    """PostgreSQL refuses to run as root, so root runs it as the account that its package makes."""
    words = [str(word) for word in command]
    if os.getuid() == 0:
        words = ["runuser", "-u", ACCOUNT, "--", *words]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
