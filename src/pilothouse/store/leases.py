"""Leases: who works on a job now, so that at most one worker writes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from pilothouse import names
from pilothouse.errors import LeaseLost
from pilothouse.store import statements
from pilothouse.store.engine import OnDatabase
from pilothouse.store.tables import leases

TERMINAL = frozenset({"Completed", "Failed", "Stopped", "Deleted"})
"""The statuses of a job that has ended. Such a job is never claimed."""


FORGIVEN = 50
"""How many attempts at a job may end with their server, or nursery, or for want of the store, before such ends count
against it: it may be their cause.
"""


@dataclass(frozen=True)
class Lease:
    """The right to work on one resource. `token` is new with every claim; `attempt` counts the claims from 1."""

    kind: str
    name: str
    token: str
    attempt: int


class Leases:
    """Claims on top-level resources (a child belongs to whoever holds its parent).

    A lease runs for `ttl` seconds from its claim or last renewal, by the database's clock. After that, or when it was
    released, anybody may claim the resource, which replaces the token; the former holder's guarded writes and renewals
    then fail. Until somebody does, an expired lease still guards, and can be renewed.
    """

    def __init__(self, store: OnDatabase) -> None:
        self._database = store.database

    def claim(
        self, kinds: Sequence[str], *, owner: str, ttl: float, statuses: Sequence[str] = ("InProgress", "Stopping")
    ) -> Lease | None:
        """Take the oldest resource of these kinds and statuses that nobody holds; None if there is none.

        A stop request does not keep a job from being claimed: whoever claims it ends it. `owner` names the claiming
        server, for `release_owned`.
        """
        alive = [status for status in statuses if status not in TERMINAL]
        while True:
            with self._database.write() as connection:
                now = self._database.now(connection)
                free = connection.execute(statements.next_to_claim(kinds, alive, now)).one_or_none()
                if free is None:
                    return None
                token = names.token(32)
                insert = self._database.insert_or(leases)
                taken = statements.claimed(
                    insert, seq=free.seq, token=token, owner=owner, expires_at=now + ttl, now=now
                )
                attempt = connection.execute(taken).scalar_one_or_none()
                if attempt is not None:
                    return Lease(free.kind, free.name, token, attempt)

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Let the lease run `ttl` seconds from now. False: it is lost, and the holder has to stop."""
        with self._database.write() as connection:
            expires_at = self._database.now(connection) + ttl
            return connection.execute(statements.renewed(lease.kind, lease.name, lease.token, expires_at)).rowcount == 1

    def stop_requested(self, lease: Lease) -> bool:
        """Whether the job should end early: a stop was requested, or the job was deleted."""
        with self._database.read() as connection:
            row = connection.execute(statements.named(lease.kind, lease.name)).one_or_none()
        return row is None or bool(row.stop_requested)

    def release(self, lease: Lease, *, orderly: bool = False) -> None:
        """Give the lease back, so that the next claim need not wait. Nothing happens if it is lost already.

        `orderly` says that the holder stopped of its own accord (the server shuts down), or ended with the nursery or
        because the store was away, so that the claim does not count as `fruitless`.
        """
        with self._database.write() as connection:
            connection.execute(statements.released(lease.kind, lease.name, lease.token, orderly=orderly))

    def release_owned(self, owner: str) -> int:
        """Give back all leases that `owner` left behind when it died; answers how many.

        That the owner died is not the job's fault, so up to attempt number `FORGIVEN` the claim is not `fruitless`.
        """
        with self._database.write() as connection:
            return connection.execute(statements.released_of(owner, FORGIVEN)).rowcount

    def fruitless(self, lease: Lease) -> int:
        """How many claims in a row, the present one included, have led to nothing new.

        Each claim adds one. It goes back to 0 when, guarded by the present lease, a step is recorded, another resource
        is inserted, or another's status or state changes. Writing what is there already is no progress, nor is a
        change of the job's own row or one with `progress=False`, for every attempt makes those. An orderly release
        takes its own claim out again, and so does `release_owned`. So the value is 1 after the first claim, and n while
        the n-th worker in a row works, or lies dead, without having brought the job further.
        """
        with self._database.read() as connection:
            return _held(connection, lease).fruitless


@dataclass(frozen=True)
class _Held:
    seq: int
    fruitless: int


def _held(connection: Connection, lease: Lease, *, lock: bool = False) -> _Held:
    find = statements.locked if lock else statements.named
    job = connection.execute(find(lease.kind, lease.name)).one_or_none()
    row = connection.execute(statements.lease_of(job.seq)).one_or_none() if job is not None else None
    if row is None or row.token != lease.token:
        raise LeaseLost(f'The lease on {lease.kind} "{lease.name}" has passed to another worker. Stop working on it.')
    return _Held(row.resource_seq, row.fruitless)


def guard(connection: Connection, lease: Lease) -> int:
    """Hold the leased job for the rest of this transaction; its number. `LeaseLost` if the token is not current."""
    return _held(connection, lease, lock=True).seq


def progressed(connection: Connection, seq: int) -> None:
    """Note that the job with this number has come further under its present lease."""
    connection.execute(statements.progressed(seq))
