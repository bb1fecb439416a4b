"""The database under the store: its address, its schema, its indexes, and what it says when it cannot be used."""

from __future__ import annotations

import ast
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pilothouse.errors import ConfigurationError, StoreAway
from pilothouse.store import engine, schema, statements
from pilothouse.store.changes import Changes
from pilothouse.store.store import Store
from pilothouse.store.tables import SCHEMA_VERSION, metadata


def opened(file: Path) -> Store:
    return Store(f"sqlite:///{file}", region="us-east-1", account="000000000000")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = opened(tmp_path / "store.sqlite")
    store.migrate()
    yield store
    store.close()


def test_the_migrations_end_in_the_tables_as_they_are_written(store: Store) -> None:
    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert schema.current(connection) == SCHEMA_VERSION


def test_the_newest_migration_is_the_schema_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_a_second_migration_loads_no_alembic(store: Store, tmp_path: Path) -> None:
    program = (
        "import sys; from pilothouse.store.store import Store\n"
        "Store(sys.argv[1], region='r', account='0').migrate(); print('alembic' in sys.modules)"
    )
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) is False


def test_a_database_of_a_newer_version_is_refused(store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer Pilothouse"):
        store.migrate()


def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path / "store.sqlite")
    upgrade = schema._upgrade

    def broken(connection) -> None:
        upgrade(connection)
        raise RuntimeError

    monkeypatch.setattr(schema, "_upgrade", broken)
    with pytest.raises(RuntimeError):
        store.migrate()
    monkeypatch.undo()
    with store.database.read() as connection:
        assert schema.current(connection) is None
    store.migrate()
    store.close()


def test_a_sqlite_store_is_durable_and_checked(store: Store) -> None:
    with store.database.read() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "no url at all"])
def test_an_unusable_address_is_refused_with_what_to_set(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PILOTHOUSE_DATABASE_URL"):
        Store(url, region="us-east-1", account="000000000000")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+pg8000"])
def test_every_spelling_of_a_postgresql_address_uses_pg8000(scheme: str) -> None:
    store = Store(f"{scheme}://user:secret@nowhere/db", region="us-east-1", account="000000000000")
    assert store.database.engine.url.drivername == "postgresql+pg8000"


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    file.write_bytes(b"this is no database\n" * 100)
    with pytest.raises(ConfigurationError, match="damaged"):
        opened(file).migrate()


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    store = Store("postgresql://user@127.0.0.1:1/db", region="us-east-1", account="000000000000")
    with pytest.raises(StoreAway, match="cannot be used right now"):
        store.get("automl-job", "a")


@pytest.fixture
def pretended_server() -> Iterator[socket.socket]:
    """Listens in place of a PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def at(listener: socket.socket) -> Store:
    url = f"postgresql://user@127.0.0.1:{listener.getsockname()[1]}/db"
    return Store(url, region="us-east-1", account="000000000000")


def test_a_server_that_is_silent_is_unavailable(
    pretended_server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.2)
    answers: Future[object] = Future()

    def ask() -> None:
        try:
            answers.set_result(at(pretended_server).get("automl-job", "a"))
        except StoreAway as error:
            answers.set_result(error)

    threading.Thread(target=ask, daemon=True).start()
    assert isinstance(answers.result(20), StoreAway)


def test_a_connection_that_is_reset_is_unavailable(pretended_server: socket.socket) -> None:
    def reset() -> None:
        connection, _ = pretended_server.accept()
        connection.recv(1024)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    threading.Thread(target=reset, daemon=True).start()
    with pytest.raises(StoreAway, match="cannot be used right now"):
        at(pretended_server).get("automl-job", "a")


def test_a_refusal_is_told_though_the_server_hung_up_before_the_goodbye(tmp_path: Path) -> None:
    address = tmp_path / ".s.PGSQL.5432"

    def refuse() -> None:
        connection, _ = listener.accept()
        connection.recv(1024)
        connection.sendall(b"N")  # no TLS
        connection.recv(1024)
        connection.shutdown(socket.SHUT_RD)  # what is written to it from now on is a broken pipe
        fields = b'SFATAL\0C28000\0Mrole "user" is not permitted to log in\0\0'
        connection.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        threading.Thread(target=refuse, daemon=True).start()
        store = Store(f"postgresql://user@/db?unix_sock={address}", region="us-east-1", account="000000000000")
        with pytest.raises(StoreAway, match="not permitted to log in"):
            store.get("automl-job", "a")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        opened(tmp_path / "nowhere" / "store.sqlite").migrate()


def test_a_database_that_stays_busy_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.05)
    store = opened(tmp_path / "store.sqlite")
    store.migrate()
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="Try the call again"):
        store.insert("model", "m", {})
    assert store.get("model", "m") is None
    other.execute("ROLLBACK")
    other.close()
    assert store.insert("model", "m", {}).seq
    store.close()


@pytest.mark.parametrize("sort", ["created", "name", "status", "modified"])
@pytest.mark.parametrize("first", [True, False])
def test_a_page_is_read_along_an_index_without_sorting(store: Store, sort, first: bool) -> None:
    after = None if first else store.insert("automl-job", "job", {}).cursor(sort)
    query = statements.found(statements.filters("automl-job"), sort, True, after, 100)
    assert_indexed(store, query)


def test_the_next_job_is_found_without_reading_those_that_ended(store: Store) -> None:
    plan = assert_indexed(store, statements.next_to_claim(["automl-job"], ["InProgress"], 0.0))
    assert "resources_by_status" in plan


def assert_indexed(store: Store, query) -> str:
    with store.database.read() as connection:
        sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(str(row) for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + sql))
    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan
    return plan


def test_a_look_finds_what_anybody_committed_since_the_last(store: Store, tmp_path: Path) -> None:
    changes = Changes(store)
    assert changes.any()
    assert not changes.any()
    store.insert("model", "here", {})
    assert changes.any()
    elsewhere = opened(tmp_path / "store.sqlite")
    elsewhere.get("model", "here")
    assert not changes.any()
    elsewhere.insert("model", "there", {})
    elsewhere.close()
    assert changes.any()
    assert not changes.any()
    changes.close()
    assert store.database.engine.pool.checkedout() == 0


def test_a_store_that_cannot_be_read_may_have_changed(tmp_path: Path) -> None:
    changes = Changes(opened(tmp_path / "nowhere" / "store.sqlite"))
    assert changes.any()
    assert changes.any()


def test_every_look_finds_something_on_a_database_that_does_not_tell() -> None:
    changes = Changes(Store("postgresql://user@127.0.0.1:1/db", region="us-east-1", account="000000000000"))
    assert changes.any()
    assert changes.any()
