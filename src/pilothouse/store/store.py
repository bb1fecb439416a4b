"""The store: every resource with its request, state and status, and what hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, TypedDict, Unpack, overload

from sqlalchemy import Connection, Row, Select
from sqlalchemy.exc import IntegrityError

from pilothouse import clock, names
from pilothouse.errors import ResourceInUse, ResourceNotFound
from pilothouse.store import schema, statements
from pilothouse.store.engine import Database
from pilothouse.store.leases import Lease, Leases, guard, progressed
from pilothouse.store.logs import Logs
from pilothouse.store.resource import (
    Change,
    Cursor,
    NewResource,
    Parent,
    Resource,
    Sort,
    Tags,
    encoded,
    from_row,
    merged,
    tag_pairs,
)
from pilothouse.store.steps import Steps
from pilothouse.store.tables import tags as tags_table

__all__ = ["Change", "Cursor", "NewResource", "Resource", "Sort", "Store"]


class Filters(TypedDict, total=False):
    """What `find` and `count` can be narrowed by; times are inclusive bounds in epoch seconds."""

    parent: Parent | None
    name_contains: str | None
    status: str | Collection[str] | None
    created_after: float | None
    created_before: float | None
    modified_after: float | None
    modified_before: float | None


class Store:
    """Resources in SQL. Every method is one transaction: durable when it returns, and nothing if it raises.

    Safe to use from many threads and processes. Names are compared without regard to case and are unique per kind;
    `StoreAway` is raised while the database cannot be reached.
    """

    def __init__(self, url: str, *, region: str, account: str) -> None:
        """`url` is SQLAlchemy's: sqlite:///PATH or postgresql://…. Nothing is opened yet."""
        self.database = Database(url)
        self._region = region
        self._account = account
        self._leases = Leases(self)
        self._steps = Steps(self)
        self._logs = Logs(self)

    @property
    def leases(self) -> Leases:
        """Who works on what."""
        return self._leases

    @property
    def steps(self) -> Steps:
        """What jobs have done."""
        return self._steps

    @property
    def logs(self) -> Logs:
        """What jobs and endpoints said."""
        return self._logs

    def migrate(self) -> None:
        """Make the tables, or bring older ones up to date; quick if there is nothing to do."""
        schema.migrate(self.database)

    @property
    def has_tables(self) -> bool:
        """Whether `migrate` has ever been called here. `ConfigurationError` if by a newer Pilothouse."""
        return schema.version(self.database) is not None

    def close(self) -> None:
        """Close the connections. The store must not be in use."""
        self.database.close()

    # Writing

    def insert(
        self,
        kind: str,
        name: str,
        request: dict[str, Any],
        *,
        status: str = "",
        state: dict[str, Any] | None = None,
        parent: Parent | None = None,
        tags: Tags = (),
        also: Iterable[NewResource] = (),
        lease: Lease | None = None,
    ) -> Resource:
        """Store a new resource and, in the same transaction, the others in `also`.

        `ResourceInUse` if one of the names is taken, `ResourceNotFound` if a parent does not exist. With the `lease`
        of a job the insert is guarded by it: `LeaseLost` if another worker holds the job now.
        """
        first = NewResource(kind, name, request, status, state, parent, tags)
        with self.database.write() as connection:
            job = guard(connection, lease) if lease else None
            created = [self._add(connection, new) for new in (first, *also)]
            if job is not None:
                progressed(connection, job)
        return created[0]

    @overload
    def update(
        self,
        kind: str,
        name: str,
        *,
        status: str | None = None,
        state: dict[str, Any] | None = None,
        lease: Lease | None = None,
        expect_status: None = None,
        progress: bool = True,
        also: Iterable[Change] = (),
    ) -> Resource: ...

    @overload
    def update(
        self,
        kind: str,
        name: str,
        *,
        status: str | None = None,
        state: dict[str, Any] | None = None,
        lease: Lease | None = None,
        expect_status: Collection[str] | None,
        seq: int | None = None,
        progress: bool = True,
        also: Iterable[Change] = (),
    ) -> Resource | None: ...

    def update(
        self,
        kind: str,
        name: str,
        *,
        status: str | None = None,
        state: dict[str, Any] | None = None,
        lease: Lease | None = None,
        expect_status: Collection[str] | None = None,
        seq: int | None = None,
        progress: bool = True,
        also: Iterable[Change] = (),
    ) -> Resource | None:
        """Change the status, and merge `state` at its top level (None takes a member away); make the changes in `also`.

        With `lease`, which may be on this resource or on the job it belongs to: `LeaseLost` unless its token is
        current. With `expect_status`: no change, and None, if the status is not among these; with `seq`, if it is
        another resource, which has the name by now. `progress` False: what every attempt at the job writes again, and
        so no progress of it. `ResourceNotFound` if there is no such resource.
        """
        with self.database.write() as connection:
            job = guard(connection, lease) if lease else None
            before = _locked(connection, kind, name)
            if expect_status is not None and before.status not in expect_status:
                return None
            if seq not in (None, before.seq):
                return None
            after = _changed(before, status=status, state=state)
            connection.execute(statements.saved(after))
            for change in also:
                other = _locked(connection, change.kind, change.name)
                connection.execute(statements.saved(_changed(other, status=change.status, state=change.state)))
            has_changed = (after.status, after.state) != (before.status, before.state)
            if progress and has_changed and job is not None and job != after.seq:
                progressed(connection, job)
        return after

    def request_stop(
        self,
        kind: str,
        name: str,
        *,
        status: str = "Stopping",
        state: dict[str, Any] | None = None,
        from_statuses: Collection[str] = ("InProgress",),
    ) -> Resource | None:
        """Ask whoever works on the resource to stop, and set its status, at once.

        No change, and None, if there is no such resource or its status is not one of `from_statuses`.
        """
        with self.database.write() as connection:
            row = connection.execute(statements.locked(kind, name)).one_or_none()
            if row is None or row.status not in from_statuses:
                return None
            before = from_row(row)
            after = replace(_changed(before, status=status, state=state), stop_requested=True)
            connection.execute(statements.saved(after))
        return after

    def delete(
        self,
        kind: str,
        name: str,
        *,
        seq: int | None = None,
        keep_children: bool = False,
        unless_has: str | None = None,
    ) -> bool:
        """Delete a resource with its tags, steps, lease and children; False if there was none.

        With `seq`: not another, which has the name by now. `keep_children`: they stay, as resources without a parent.
        `unless_has` names a kind of children: while there is one of these nothing happens, and the answer is False.
        """
        with self.database.write() as connection:
            if unless_has is not None:
                connection.execute(statements.closed(kind, name))
                kept = statements.counted(statements.filters(unless_has, parent=(kind, name)))
                if connection.execute(kept).scalar_one():
                    return False
            if keep_children:
                connection.execute(statements.orphaned(kind, name))
            return connection.execute(statements.removed(kind, name, seq)).rowcount > 0

    # Reading

    def get(self, kind: str, name: str) -> Resource | None:
        """The resource of this kind and name."""
        return self._first(statements.named(kind, name))

    def by_arn(self, arn: str) -> Resource | None:
        """The resource with this ARN, whatever its case."""
        return self._first(statements.with_arn(arn))

    def get_many(self, kind: str, names: Collection[str]) -> list[Resource]:
        """Those of the named resources that exist, in the order of their inserts."""
        return self._all(statements.with_names(kind, names))

    def children(self, kind: str, parent: Parent) -> list[Resource]:
        """All children of `parent` that are of this kind, in the order of their inserts."""
        return self._all(statements.children_of(kind, parent))

    def find(
        self,
        kind: str,
        *,
        sort: Sort = "created",
        descending: bool = False,
        after: Cursor | None = None,
        limit: int = 100,
        **filters: Unpack[Filters],
    ) -> list[Resource]:
        """One page of the resources of this kind that pass the filters (see `Filters`), ties in insert order.

        The next page begins behind the last resource's `cursor(sort)`; inserts in between move nothing. Names are
        compared and sorted without regard to case.
        """
        conditions = statements.filters(kind, **filters)
        return self._all(statements.found(conditions, sort, descending, after, limit))

    def count(self, kind: str, **filters: Unpack[Filters]) -> int:
        """How many resources of this kind pass the filters."""
        with self.database.read() as connection:
            query = statements.counted(statements.filters(kind, **filters))
            return int(connection.execute(query).scalar_one())

    # Tags

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of the resource with this ARN, sorted by key; none if there is no such resource."""
        with self.database.read() as connection:
            owner = connection.execute(statements.with_arn(arn)).one_or_none()
            return {} if owner is None else _tags(connection, owner.seq)

    def add_tags(
        self, arn: str, tags: Tags, *, check: Callable[[dict[str, str]], None] = lambda _: None
    ) -> dict[str, str]:
        """Set tags, in place of those with equal keys. Returns all; `ResourceNotFound` if there is no such resource.

        `check` sees all before, while no other transaction can change them, and may raise.
        """
        with self.database.write() as connection:
            owner = _owner(connection, arn)
            check(_tags(connection, owner.seq) | tag_pairs(tags))
            if rows := _tag_rows(owner.seq, tags):
                connection.execute(statements.tagged(self.database.insert_or(tags_table)), rows)
            return _tags(connection, owner.seq)

    def remove_tags(self, arn: str, keys: Collection[str]) -> None:
        """Take tags away; keys that are not there do not matter. `ResourceNotFound` if there is no such resource."""
        with self.database.write() as connection:
            connection.execute(statements.untagged(_owner(connection, arn).seq, keys))

    # Inside

    def _first(self, query: Select[Any]) -> Resource | None:
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else from_row(row)

    def _all(self, query: Select[Any]) -> list[Resource]:
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [from_row(row) for row in rows]

    def _add(self, connection: Connection, new: NewResource) -> Resource:
        now = clock.now()
        owner = _parent(connection, new.parent) if new.parent else None
        row = {
            "kind": new.kind,
            "name": new.name,
            "name_key": names.name_key(new.name),
            "arn": names.arn(self._region, self._account, new.kind, new.name),
            "parent_seq": owner.seq if owner else None,
            "parent_kind": owner.kind if owner else None,
            "parent_name": owner.name if owner else None,
            "request": encoded(new.request),
            "state": encoded(merged({}, new.state or {})),
            "status": new.status,
            "created_at": now,
            "modified_at": now,
            "stop_requested": False,
        }
        try:
            stored = connection.execute(statements.NEW_RESOURCE, row).one()
        except IntegrityError as error:
            raise ResourceInUse(f'The {new.kind} "{new.name}" exists already. Choose another name.') from error
        if rows := _tag_rows(stored.seq, new.tags):
            connection.execute(statements.NEW_TAGS, rows)
        return from_row(stored)


def _tag_rows(seq: int, tags: Tags) -> list[dict[str, Any]]:
    return [{"resource_seq": seq, "key": key, "value": value} for key, value in tag_pairs(tags).items()]


def _locked(connection: Connection, kind: str, name: str) -> Resource:
    row = connection.execute(statements.locked(kind, name)).one_or_none()
    if row is None:
        raise ResourceNotFound(f'There is no {kind} "{name}".')
    return from_row(row)


def _parent(connection: Connection, parent: Parent) -> Row[Any]:
    row = connection.execute(statements.parent_of_new(parent)).one_or_none()
    if row is None:
        raise ResourceNotFound(f'There is no {parent[0]} "{parent[1]}" to be the parent.')
    return row


def _owner(connection: Connection, arn: str) -> Row[Any]:
    row = connection.execute(statements.locked_by_arn(arn)).one_or_none()
    if row is None:
        raise ResourceNotFound(f"There is no resource {arn}.")
    return row


def _tags(connection: Connection, seq: int) -> dict[str, str]:
    return {row.key: row.value for row in connection.execute(statements.tags_of(seq))}


def _changed(before: Resource, *, status: str | None, state: dict[str, Any] | None) -> Resource:
    return replace(
        before,
        status=before.status if status is None else status,
        state=merged(before.state, state or {}),
        modified_at=clock.now(),
    )
