"""Changes: whether anything was committed since the last look, for those who look often."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from pilothouse.store.engine import OnDatabase


class Changes:
    """One looker's view of a store, from one thread at a time.

    On SQLite a look costs microseconds (its data_version, which every commit of another connection changes). Other
    databases cannot tell as cheaply: there, every look finds something.
    """

    def __init__(self, store: OnDatabase) -> None:
        self._database = store.database
        self._connection: PoolProxiedConnection | None = None
        self._version = -1

    def any(self) -> bool:
        """Whether there may be something new since the last call; True at the first."""
        if self._database.dialect != "sqlite":
            return True
        seen, self._version = self._version, self._read()
        return seen != self._version or seen < 0

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self) -> int:
        """SQLite's number; below 0 if it cannot be read, which whoever reads the store next will be told."""
        try:
            if self._connection is None:
                self._connection = self._database.engine.raw_connection()
            cursor = self._connection.cursor()
            version: int = cursor.execute("PRAGMA data_version").fetchone()[0]
            cursor.close()
        except (SQLAlchemyError, sqlite3.Error):
            self.close()
            return -1
        return version
