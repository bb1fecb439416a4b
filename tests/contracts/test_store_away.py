"""A PostgreSQL that ends connections, or refuses to work for a while, is away, and nothing worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from pilothouse.errors import StoreAway
from pilothouse.store.store import Store

KIND = "automl-job"
Administer = Callable[[str], None]


@pytest.fixture
def url(postgres: str) -> str:
    """Its own database, since others than this one's connections are not to be ended."""
    name = "away"
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres.replace("/postgres?", f"/{name}?")


def opened(url: str) -> Store:
    return Store(url, region="us-east-1", account="000000000000")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(opened(url)) as store:
        store.migrate()
        store.insert(KIND, "job", {})
        yield store


@pytest.fixture
def administer(postgres: str) -> Iterator[Administer]:
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")

    def execute(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    yield execute
    engine.dispose()


END_ALL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'away'"


@pytest.mark.slow
def test_connections_that_the_server_has_ended_are_replaced_unnoticed(store: Store, administer: Administer) -> None:
    assert store.get(KIND, "job") is not None
    administer(END_ALL)
    assert store.get(KIND, "job") is not None


@pytest.mark.slow
@pytest.mark.parametrize("goes_on", [True, False], ids=["statement", "commit"])
def test_a_server_that_ends_in_the_middle_is_away_and_the_next_call_finds_it(
    store: Store, administer: Administer, goes_on: bool
) -> None:
    def cut_off() -> None:
        with store.database.write() as connection:
            connection.execute(text("DELETE FROM resources"))
            administer(END_ALL)
            if goes_on:
                connection.execute(text("SELECT 1"))

    with pytest.raises(StoreAway, match="Try the call again"):
        cut_off()
    assert store.get(KIND, "job") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("LOGIN CONNECTION LIMIT 0", "too many connections"),
        ("LOGIN", "permission denied"),
        ("NOLOGIN", "not permitted to log in"),
    ],
)
def test_what_the_server_refuses_to_a_user_says_why(
    store: Store, url: str, administer: Administer, role: str, reason: str
) -> None:
    administer("DROP ROLE IF EXISTS guest")
    administer(f"CREATE ROLE guest {role}")
    with (
        closing(opened(url.replace("//postgres@", "//guest@"))) as guest,
        pytest.raises(StoreAway, match=reason) as told,
    ):
        guest.get(KIND, "job")
    assert "{" not in told.value.message


@pytest.mark.slow
def test_a_server_that_only_reads_for_now_is_away_for_those_who_write(
    store: Store, url: str, administer: Administer
) -> None:
    administer("DROP ROLE IF EXISTS reader")
    administer("CREATE ROLE reader SUPERUSER LOGIN")
    administer("ALTER ROLE reader SET default_transaction_read_only = on")
    with closing(opened(url.replace("//postgres@", "//reader@"))) as reader:
        assert reader.get(KIND, "job") is not None
        with pytest.raises(StoreAway, match="read-only"):
            reader.insert(KIND, "other", {})


@pytest.mark.slow
def test_a_database_that_is_not_there_is_named(url: str) -> None:
    with closing(opened(url.replace("/away?", "/nowhere?"))) as other, pytest.raises(StoreAway, match='"nowhere"'):
        other.get(KIND, "job")


@pytest.mark.slow
def test_a_new_database_has_no_tables_yet(url: str) -> None:
    with closing(opened(url)) as new:
        assert not new.has_tables
        new.migrate()
        assert new.has_tables
