"""Turns at writing to a SQLite file: one thread at a time, first come first served; those who wait share a commit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

_MOST = 32  # transactions that share a commit, so that the first of them does not wait for ever


class Turns:
    """The write transactions of the threads of one process.

    One that finds others in line behind it leaves the commit to the last of them. A commit waits for the disk, so the
    more come at once, the fewer waits there are for each. None is done before its commit is. One that fails is undone
    alone. If the commit fails, its whole group does, and also those that were to be told of an error of their own,
    which may have come of what another of the group wrote.
    """

    def __init__(self, engine: Engine) -> None:
        """`engine` begins transactions that keep other processes from writing."""
        self._engine = engine
        self._line = _Line()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose changes are on disk when the block has ended, or undone if it raised."""
        group = self._line.enter() or self._begun()
        try:
            with group.member() as connection:
                yield connection
        finally:
            if group.outcome.done() or group.size >= _MOST or not self._line.pass_on(group):
                group.commit()
                self._line.pass_on()
            group.outcome.result()

    def _begun(self) -> _Group:
        try:
            return _Group(self._engine)
        except BaseException:
            self._line.pass_on()
            raise


class _Group:
    """Transactions that commit together. `outcome` is there once they have, or failed to. In one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self.outcome: Future[None] = Future()
        self.size = 0
        self._connection = engine.connect()
        try:
            self._connection.begin()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def member(self) -> Iterator[Connection]:
        """The connection, for one more transaction of the group. The first needs no savepoint: it is alone so far."""
        self.size += 1
        is_first = self.size == 1
        if not is_first:
            self._connection.exec_driver_sql("SAVEPOINT member")
        try:
            yield self._connection
            if not is_first:
                self._connection.exec_driver_sql("RELEASE member")
        except BaseException:
            self._undo(is_first)
            raise

    def commit(self) -> None:
        """Commit what the members did, unless the group has ended already."""
        if self.outcome.done():
            return
        try:
            self._connection.commit()
        except BaseException as error:
            self._fail(error)
        else:
            self._end()

    def _undo(self, is_first: bool) -> None:
        try:
            if is_first:
                self._connection.rollback()
                self._end()
            else:
                self._connection.exec_driver_sql("ROLLBACK TO member")
                self._connection.exec_driver_sql("RELEASE member")
        except BaseException as error:  # SQLite has undone all of it, as it does when the disk is full
            self._fail(error)

    def _end(self) -> None:
        self._connection.close()
        self.outcome.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self._connection.invalidate()  # closed, it holds no lock and no transaction any more
        self._connection.close()
        self.outcome.set_exception(error)


class _Line:
    """A lock that goes to those who wait for it in their order, with the open group of who had it before."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._places: deque[Future[_Group | None]] = deque()
        self._is_taken = False

    def enter(self) -> _Group | None:
        """Waits for the turn; the group that comes with it."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return None
            place: Future[_Group | None] = Future()
            self._places.append(place)
        try:
            return place.result()
        except BaseException:  # who waits is interrupted
            self._leave(place)
            raise

    def _leave(self, place: Future[_Group | None]) -> None:
        with self._guard:
            if place in self._places:
                self._places.remove(place)
                return
        group = place.result()  # the turn has come, or is just coming
        if not self.pass_on(group) and group is not None:
            group.commit()
            self.pass_on()

    def pass_on(self, group: _Group | None = None) -> bool:
        """Gives the turn to the next in line. If there is nobody: False, and who has a group still has the turn."""
        with self._guard:
            if not self._places:
                self._is_taken = group is not None
                return False
            place = self._places.popleft()
        place.set_result(group)
        return True
