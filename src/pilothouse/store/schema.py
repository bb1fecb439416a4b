"""Bringing a database to the tables of this version."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from pilothouse.errors import ConfigurationError
from pilothouse.store.engine import Database
from pilothouse.store.tables import SCHEMA_VERSION

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(database: Database) -> None:
    """Upgrade to `SCHEMA_VERSION`, in one transaction. Two processes that start at once take turns.

    `ConfigurationError` if a newer Pilothouse made the database.
    """
    database.prepare()
    if version(database) == SCHEMA_VERSION:
        return  # without the import of Alembic, which would take longer than all else here
    with database.write() as connection:
        database.migrating(connection)
        _upgrade(connection)


def version(database: Database) -> str | None:
    """The version that the database is at; None if it has no tables yet.

    `ConfigurationError` if a newer Pilothouse made it.
    """
    with database.read() as connection:
        found = current(connection)
    if found is not None and found > SCHEMA_VERSION:
        raise ConfigurationError(
            f"The store is at version {found} and this Pilothouse knows {SCHEMA_VERSION}: install a newer Pilothouse."
        )
    return found


def current(connection: Connection) -> str | None:
    """The version that the database is at; None if it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
