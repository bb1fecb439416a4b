"""The rows of endpoints, as those see and write them who host the endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilothouse.catalog import async_inference, hosting
from pilothouse.errors import ResourceNotFound
from pilothouse.hosting.fleet import Fleet
from pilothouse.store.changes import Changes
from pilothouse.store.store import Resource, Store

WANTED = (hosting.CREATING, *hosting.INVOCABLE)
"""The statuses of endpoints whose replicas are to run."""

_PAGE = 100


class EndpointRows:
    """Reads all, and writes one at a time; from one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = Changes(store)
        self._seen: dict[int, Resource] | None = None

    def all(self) -> dict[int, Resource]:
        """All endpoints, by number; read again when something has been written."""
        if self._changes.any() or self._seen is None:
            self._seen = None
            self._seen = {row.seq: row for row in self._read()}
        return self._seen

    def write(
        self, row: Resource, statuses: tuple[str, ...], state: dict[str, Any], status: str | None = None
    ) -> Resource | None:
        """Writes to a row unless it is in another status, or gone, by now; never to another endpoint of its name."""
        try:
            return self._store.update(
                hosting.ENDPOINT, row.name, status=status, state=state, expect_status=statuses, seq=row.seq
            )
        except ResourceNotFound:
            return None

    def publish(self, fleet: Fleet, status: str | None = None, state: dict[str, Any] | None = None) -> None:
        """Says in the row where the replicas that serve answer, and with that what else is given."""
        addresses = fleet.addresses
        self.write(fleet.row, WANTED, {**(state or {}), "_replicas": addresses}, status)
        fleet.published = addresses

    def delete(self, row: Resource) -> bool:
        """Deletes the row of an endpoint that is down; not, and False, while asynchronous requests wait there."""
        return self._store.delete(hosting.ENDPOINT, row.name, seq=row.seq, unless_has=async_inference.INVOCATION)

    def close(self) -> None:
        """Gives the connection back."""
        self._changes.close()

    def _read(self) -> Iterator[Resource]:
        after = None
        while True:
            page = self._store.find(hosting.ENDPOINT, sort="created", after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].cursor("created")
