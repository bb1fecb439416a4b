"""The database under the store: connections, transactions, and what SQLite and PostgreSQL do differently."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InterfaceError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pilothouse import clock
from pilothouse.errors import ConfigurationError, StoreAway
from pilothouse.store import tls
from pilothouse.store.turns import Turns

_BUSY_SECONDS = 30
_LOGGED_PAGES = 4000  # of 4 KiB, after which a commit empties the write-ahead log: four times as rarely as by default
_MIGRATION_LOCK = 0x70696C6F74  # any number that no other program on this PostgreSQL database takes
_AWAY = ("08", "25006", "28", "3D", "40", "42501", "53", "55", "57", "58", "XX")
"""How PostgreSQL's codes of errors begin that are no fault of a statement's: it restarts, is full, was made read-only,
knows no such user. To pg8000 all but a few are alike.
"""

_ENDED = ("08", "57P")
"""How those begin that end the connection."""


class OnDatabase(Protocol):
    """Anything that lives on one `Database`, as the store does."""

    @property
    def database(self) -> Database:
        """The database it lives on."""


class Database:
    """Transactions on one database; many threads and many processes may use it at once.

    `read()` sees committed rows only; on SQLite all its statements see the same moment. `write()` commits durably when
    its block ends, or changes nothing if the block raises. A database that cannot be reached, refuses to work or stays
    busy or silent for 30 s raises `StoreAway`. Blocks of one thread must not be nested.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(_checked(url))
        self.dialect = self.engine.dialect.name
        self._writing = self.engine.execution_options(pilothouse_write=True)
        self._transaction: Callable[[], AbstractContextManager[Connection]] = self._writing.begin
        if self.dialect == "sqlite":
            self._turns = Turns(self._writing)
            self._transaction = self._turns.transaction

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading."""
        with _reachable(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection within a transaction that commits at the end of the block."""
        with _reachable(), self._transaction() as connection:
            yield connection

    def now(self, connection: Connection) -> float:
        """The time that leases are measured by: the database server's, so that workers' clocks may differ."""
        if self.dialect == "sqlite":
            return clock.now()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def insert_or(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that takes ON CONFLICT."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    def prepare(self) -> None:
        """Put a SQLite file into WAL mode, which it then keeps. Safe if several processes do it at once.

        `ConfigurationError` if the folder of the file does not exist.
        """
        if self.dialect == "sqlite":
            _check_folder(Path(str(self.engine.url.database)))
            with _reachable(), self.engine.connect() as connection:
                _write_ahead(connection.connection.dbapi_connection)

    def migrating(self, connection: Connection) -> None:
        """Keep other migrations out until the transaction ends; on SQLite every write transaction does."""
        if self.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:  # pg8000 does not wrap all of a socket's
        raise _unavailable(getattr(error, "orig", None) or error) from error
    except DatabaseError as error:
        if _told(error.orig, "C").startswith(_AWAY):
            raise _unavailable(error.orig or error) from error
        if type(error) is not DatabaseError:  # the driver's word for "not a database" and "malformed" has no subclass
            raise
        raise ConfigurationError(
            f"The metadata store is damaged ({error.orig}). Put a backup of the database in its place, or move it away."
        ) from error


def _unavailable(cause: BaseException) -> StoreAway:
    reason = (_refusal(cause) or str(cause)).strip().rstrip(".")
    return StoreAway(f"The metadata store cannot be used right now ({reason}). Try the call again.")


def _refusal(cause: BaseException | None) -> str:
    # What PostgreSQL said, or "". pg8000 says goodbye to a server that has refused it; where that has hung up already,
    # a bare "network error" hides the refusal.
    while cause is not None and not _told(cause, "M"):
        cause = cause.__context__
    return _told(cause, "M")


def _told(cause: BaseException | None, field: str) -> str:
    """A field of what PostgreSQL said, such as its code "C" or message "M"; "" if it said nothing."""
    said = cause.args[0] if cause is not None and cause.args else None
    return str(said.get(field, "")) if isinstance(said, dict) else ""


def _checked(text_url: str) -> URL:
    try:
        url = make_url(text_url)
    except ArgumentError as error:
        raise _unusable("this address") from error
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError("The store needs a file: set PILOTHOUSE_DATABASE_URL to sqlite:///PATH.")
        return url
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+pg8000")
    if url.drivername == "postgresql+pg8000":
        return url
    raise _unusable(f'"{url.drivername}"')


def _unusable(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The store cannot use {what}: set PILOTHOUSE_DATABASE_URL to sqlite:///PATH or postgresql://USER@HOST/NAME."
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url, connect_args={"timeout": _BUSY_SECONDS}, pool_size=16, max_overflow=32, pool_use_lifo=True
        )
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    url, encrypted = tls.options(url)
    arguments = {"timeout": _BUSY_SECONDS, **encrypted}
    try:
        engine = create_engine(url, connect_args=arguments, pool_size=8, max_overflow=40)  # 40 API threads, the worker
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigurationError("PostgreSQL needs a driver: pip install 'pilothouse[postgres]'.") from error
    event.listen(engine, "checkout", _on_postgresql_checkout)
    event.listen(engine, "handle_error", _on_postgresql_error)
    return engine


def _on_postgresql_checkout(connection: Any, _record: object, _proxy: object) -> None:
    # In place of pool_pre_ping, which does not know all the errors by which pg8000 tells of a broken connection.
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
    except Exception as error:
        raise InvalidatePoolError from error


def _on_postgresql_error(context: ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(error, OSError) or _told(error, "C").startswith(_ENDED):
        context.is_disconnect = True


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come late and deferred; see _on_sqlite_begin
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOGGED_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_sqlite_begin(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once if another wrote in between; IMMEDIATE waits.
    writing = connection.get_execution_options().get("pilothouse_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _write_ahead(connection: Any) -> None:
    # Changing the journal mode does not wait for the busy timeout, so it is tried again here.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise _unavailable(error) from error
            time.sleep(0.02)


def _check_folder(file: Path) -> None:
    if not file.parent.is_dir():
        raise ConfigurationError(f"The store's folder {file.parent} does not exist. Make it, or choose another.")
