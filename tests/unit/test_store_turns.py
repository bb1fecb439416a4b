"""Threads that write to one SQLite file: their order, what shares a commit, and who is told what when one fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event
from sqlalchemy.exc import OperationalError

from pilothouse.errors import ResourceInUse, StoreAway
from pilothouse.store import turns
from pilothouse.store.store import NewResource, Store
from pilothouse.store.tables import resources

KIND = "model"
PATIENCE = 60  # seconds; only a store that hangs takes them


class Crowd:
    """Threads that want to write while another transaction has the turn; `told` is what each got, in their order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits = 0
        self.told: list[object] = []
        event.listen(store.database.engine, "commit", self._committed)

    def run(self, *works: Callable[[], object], front: Callable[[Connection], object] = lambda _: None) -> None:
        """Lets all `works` stand in line, in their order, behind a transaction that does `front` once they do."""
        self.commits, self.told = 0, [None] * len(works)
        threads = [threading.Thread(target=self._tell, args=work) for work in enumerate(works)]
        try:
            with self.store.database.write() as connection:
                for number, thread in enumerate(threads, 1):
                    thread.start()
                    await_line(self.store, number)
                front(connection)
        finally:
            for thread in threads:
                thread.join(PATIENCE)
                assert not thread.is_alive()

    def _tell(self, number: int, work: Callable[[], object]) -> None:
        try:
            self.told[number] = work()
        except Exception as error:
            self.told[number] = error

    def _committed(self, _connection: object) -> None:
        self.commits += 1


def await_line(store: Store, length: int) -> None:
    """Returns once so many threads stand in line."""
    deadline = time.monotonic() + PATIENCE
    while len(store.database._turns._line._places) < length:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}", region="us-east-1", account="000000000000")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def crowd(store: Store) -> Crowd:
    return Crowd(store)


def insert(store: Store, name: str) -> Callable[[], object]:
    """Inserts a row, then asks another connection whether it is there."""

    def work() -> bool:
        store.insert(KIND, name, {})
        return name in names(store)

    return work


def names(store: Store) -> list[str]:
    """The rows on disk, in the order of their inserts."""
    other = sqlite3.connect(str(store.database.engine.url.database))
    try:
        return [name for (name,) in other.execute("SELECT name FROM resources ORDER BY seq")]
    finally:
        other.close()


def test_those_who_wait_share_a_commit_and_are_answered_after_it(store: Store, crowd: Crowd) -> None:
    crowd.run(*[insert(store, f"m{number}") for number in range(6)])
    assert crowd.told == [True] * 6
    assert crowd.commits == 1
    assert names(store) == [f"m{number}" for number in range(6)]  # first come, first served


def test_nobody_waits_for_more_transactions_than_share_a_commit(
    store: Store, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_MOST", 3)
    crowd.run(*[insert(store, f"m{n}") for n in range(6)])
    assert crowd.told == [True] * 6
    assert crowd.commits == 3  # of seven transactions, the one in front included


def test_one_that_fails_is_undone_alone(store: Store, crowd: Crowd) -> None:
    def half() -> object:
        return store.insert(KIND, "half", {}, also=[NewResource(KIND, "m0")])

    crowd.run(insert(store, "m0"), half, insert(store, "M0"), insert(store, "m1"))
    assert [type(told) for told in crowd.told] == [bool, ResourceInUse, ResourceInUse, bool]
    assert crowd.commits == 1
    assert names(store) == ["m0", "m1"]


def test_the_first_in_a_transaction_that_fails_takes_nobody_along(store: Store, crowd: Crowd) -> None:
    def front(connection: Connection) -> None:
        connection.execute(delete(resources))
        raise KeyError

    store.insert(KIND, "before", {})
    with pytest.raises(KeyError):
        crowd.run(insert(store, "m0"), insert(store, "m1"), front=front)
    assert crowd.told == [True] * 2
    assert crowd.commits == 1
    assert names(store) == ["before", "m0", "m1"]


def test_a_commit_that_fails_fails_all_that_share_it(store: Store, crowd: Crowd) -> None:
    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    store.insert(KIND, "before", {})
    event.listen(store.database.engine, "commit", fail)
    with pytest.raises(StoreAway, match="disk I/O error"):
        crowd.run(insert(store, "m0"), insert(store, "M0"), insert(store, "m1"))
    event.remove(store.database.engine, "commit", fail)
    assert [type(told) for told in crowd.told] == [StoreAway] * 3  # "M0" was taken by a row that is not there
    assert names(store) == ["before"]
    assert insert(store, "after")() is True


def test_all_fail_whose_transaction_sqlite_has_undone(store: Store, crowd: Crowd) -> None:
    def undone() -> None:
        with store.database.write() as connection:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    with pytest.raises(StoreAway):
        crowd.run(insert(store, "m0"), undone, insert(store, "m1"))
    assert [type(told) for told in crowd.told] == [StoreAway, StoreAway, bool]
    assert names(store) == ["m1"]


@pytest.mark.parametrize("comes", ["not yet", "alone", "with a group"])
def test_who_is_interrupted_in_line_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, comes: str) -> None:
    line, committed = turns._Line(), []
    group: Any = SimpleNamespace(commit=lambda: committed.append(1)) if comes == "with a group" else None

    class Interrupted(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            monkeypatch.setattr(Interrupted, "result", Future.result)
            if comes != "not yet":
                line.pass_on(group)
            raise KeyboardInterrupt

    monkeypatch.setattr(turns, "Future", Interrupted)
    assert line.enter() is None
    with pytest.raises(KeyboardInterrupt):
        line.enter()
    if comes == "not yet":
        line.pass_on()
    assert line.enter() is None
    assert len(committed) == (comes == "with a group")
