"""Every SQL statement of the store, in SQLAlchemy's notation. The same on SQLite and PostgreSQL.

Locks: a transaction that is guarded by a lease, or claims one, locks the row of the leased resource first
(`FOR NO KEY UPDATE`; SQLite's write transactions exclude each other anyway) and only then reads or writes others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    ScalarSelect,
    Select,
    Update,
    case,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from pilothouse.names import name_key
from pilothouse.store.resource import Cursor, Parent, Resource, Sort, encoded
from pilothouse.store.tables import leases, log_events, log_streams, resources, steps, tags

Upsert = postgresql.Insert | sqlite.Insert

_SORTS: dict[str, ColumnElement[Any]] = {
    "created": resources.c.created_at,
    "name": resources.c.name_key,
    "status": resources.c.status,
    "modified": resources.c.modified_at,
}


# Resources

NEW_RESOURCE = resources.insert().returning(resources)
NEW_TAGS = tags.insert()


def named(kind: str, name: str) -> Select[Any]:
    """The resource of this kind and name, whatever its case."""
    return select(resources).where(resources.c.kind == kind, resources.c.name_key == name_key(name))


def locked(kind: str, name: str) -> Select[Any]:
    """The same, locked until the transaction ends; its key stays free for children that refer to it."""
    return named(kind, name).with_for_update(key_share=True)


def closed(kind: str, name: str) -> Select[Any]:
    """The same, locked so that no new child can refer to it either."""
    return named(kind, name).with_for_update()


def parent_of_new(parent: Parent) -> Select[Any]:
    """The row that a new child will refer to, kept from being deleted until the transaction ends."""
    return named(*parent).with_for_update(key_share=True, read=True)


def with_arn(arn: str) -> Select[Any]:
    """The resource with this ARN, whatever its case."""
    return select(resources).where(resources.c.arn == arn.lower())


def locked_by_arn(arn: str) -> Select[Any]:
    """The same, locked as `locked` does, so that its tags change one transaction after another."""
    return with_arn(arn).with_for_update(key_share=True)


def with_names(kind: str, names: Collection[str]) -> Select[Any]:
    """The resources with these names, in the order of their inserts."""
    keys = [name_key(name) for name in names]
    query = select(resources).where(resources.c.kind == kind, resources.c.name_key.in_(keys))
    return query.order_by(resources.c.seq)


def children_of(kind: str, parent: Parent) -> Select[Any]:
    """All children of one kind, in the order of their inserts."""
    return select(resources).where(resources.c.kind == kind, _child_of(parent)).order_by(resources.c.seq)


def found(
    filters: Sequence[ColumnElement[bool]], sort: Sort, descending: bool, after: Cursor | None, limit: int
) -> Select[Any]:
    """One page of the resources that pass all `filters`: at most `limit` rows behind `after`."""
    column, seq = _SORTS[sort], resources.c.seq
    query = select(resources).where(*filters).limit(limit)
    if after is not None:
        place = tuple_(literal(after[0], column.type), literal(after[1], seq.type))
        query = query.where(tuple_(column, seq) < place if descending else tuple_(column, seq) > place)
    return query.order_by(column.desc(), seq.desc()) if descending else query.order_by(column, seq)


def filters(
    kind: str,
    *,
    parent: Parent | None = None,
    name_contains: str | None = None,
    status: str | Collection[str] | None = None,
    created_after: float | None = None,
    created_before: float | None = None,
    modified_after: float | None = None,
    modified_before: float | None = None,
) -> list[ColumnElement[bool]]:
    """The conditions that `find` and `count` were given."""
    row = resources.c
    chosen: list[ColumnElement[bool] | None] = [
        row.kind == kind,
        None if parent is None else _child_of(parent),
        None if name_contains is None else row.name_key.contains(name_key(name_contains), autoescape=True),
        None if status is None else row.status.in_([status] if isinstance(status, str) else list(status)),
        None if created_after is None else row.created_at >= created_after,
        None if created_before is None else row.created_at <= created_before,
        None if modified_after is None else row.modified_at >= modified_after,
        None if modified_before is None else row.modified_at <= modified_before,
    ]
    return [condition for condition in chosen if condition is not None]


def counted(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """How many resources pass all `conditions`."""
    return select(func.count()).select_from(resources).where(*conditions)


def saved(resource: Resource) -> Update:
    """Write what may change of a resource."""
    return (
        update(resources)
        .where(resources.c.seq == resource.seq)
        .values(
            state=encoded(resource.state),
            status=resource.status,
            modified_at=resource.modified_at,
            stop_requested=resource.stop_requested,
        )
    )


def removed(kind: str, name: str, seq: int | None = None) -> Delete:
    """Delete a resource, if it has this number; the database deletes its lease, steps, tags and children with it."""
    doomed = delete(resources).where(resources.c.kind == kind, resources.c.name_key == name_key(name))
    return doomed if seq is None else doomed.where(resources.c.seq == seq)


def orphaned(kind: str, name: str) -> Update:
    """Let the children of a resource go."""
    gone = {"parent_seq": None, "parent_kind": None, "parent_name": None}
    return update(resources).where(_child_of((kind, name))).values(gone)


def _child_of(parent: Parent) -> ColumnElement[bool]:
    kind, name = parent
    owner = resources.alias("owner")
    number = select(owner.c.seq).where(owner.c.kind == kind, owner.c.name_key == name_key(name))
    return resources.c.parent_seq == number.scalar_subquery()


# Tags


def tags_of(seq: int) -> Select[Any]:
    """The tags of a resource, by key."""
    return select(tags.c.key, tags.c.value).where(tags.c.resource_seq == seq).order_by(tags.c.key)


def tagged(insert: Upsert) -> Upsert:
    """Set tags, in place of those with the same key."""
    return insert.on_conflict_do_update(index_elements=["resource_seq", "key"], set_={"value": insert.excluded.value})


def untagged(seq: int, keys: Collection[str]) -> Delete:
    """Take tags away."""
    return delete(tags).where(tags.c.resource_seq == seq, tags.c.key.in_(list(keys)))


# Leases


def next_to_claim(kinds: Collection[str], statuses: Collection[str], now: float) -> Select[Any]:
    """The oldest top-level resource without a running lease. A row that another transaction holds is passed over."""
    free = leases.c.token.is_(None) | (leases.c.expires_at <= now)
    return (
        select(resources.c.seq, resources.c.kind, resources.c.name)
        .select_from(resources.outerjoin(leases, leases.c.resource_seq == resources.c.seq))
        .where(resources.c.kind.in_(list(kinds)), resources.c.status.in_(list(statuses)))
        .where(resources.c.parent_seq.is_(None), free)
        .order_by(resources.c.seq)
        .limit(1)
        .with_for_update(of=resources, key_share=True, skip_locked=True)
    )


def claimed(insert: Upsert, *, seq: int, token: str, owner: str, expires_at: float, now: float) -> ReturningInsert[Any]:
    """Take the lease unless another took it since; answers the attempt number, or no row."""
    new = insert.values(resource_seq=seq, token=token, owner=owner, expires_at=expires_at, attempt=1, fruitless=1)
    return new.on_conflict_do_update(
        index_elements=["resource_seq"],
        set_={
            "token": token,
            "owner": owner,
            "expires_at": expires_at,
            "attempt": leases.c.attempt + 1,
            "fruitless": leases.c.fruitless + 1,
        },
        where=leases.c.token.is_(None) | (leases.c.expires_at <= now),
    ).returning(leases.c.attempt)


def lease_of(seq: int) -> Select[Any]:
    """The lease row of a resource."""
    return select(leases).where(leases.c.resource_seq == seq)


def renewed(kind: str, name: str, token: str, expires_at: float) -> Update:
    """Let the lease with this token run until `expires_at`."""
    return _lease_with(kind, name, token).values(expires_at=expires_at)


def released(kind: str, name: str, token: str, *, orderly: bool) -> Update:
    """End the lease with this token. An orderly end takes the claim out of the fruitless count."""
    fruitless = _one_fewer() if orderly else leases.c.fruitless
    return _lease_with(kind, name, token).values(token=None, fruitless=fruitless)


def _lease_with(kind: str, name: str, token: str) -> Update:
    job = named(kind, name).with_only_columns(resources.c.seq).scalar_subquery()
    return update(leases).where(leases.c.resource_seq == job, leases.c.token == token)


def released_of(owner: str, forgiven: int) -> Update:
    """End all leases of an owner. Up to attempt number `forgiven`, that takes the claim out of the fruitless count."""
    fruitless = case((leases.c.attempt <= forgiven, _one_fewer()), else_=leases.c.fruitless)
    held = update(leases).where(leases.c.owner == owner, leases.c.token.is_not(None))
    return held.values(token=None, fruitless=fruitless)


def _one_fewer() -> ColumnElement[int]:
    return case((leases.c.fruitless > 0, leases.c.fruitless - 1), else_=0)


def progressed(seq: int) -> Update:
    """Note that the present claim was not fruitless."""
    return update(leases).where(leases.c.resource_seq == seq, leases.c.fruitless > 0).values(fruitless=0)


# Steps


def steps_of(kind: str, name: str) -> Select[Any]:
    """The recorded steps of a job, in the order they were recorded."""
    return (
        select(steps.c.step, steps.c.result)
        .join(resources, resources.c.seq == steps.c.resource_seq)
        .where(resources.c.kind == kind, resources.c.name_key == name_key(name))
        .order_by(steps.c.position)
    )


def steps_recorded(seq: int) -> Select[Any]:
    """How many steps a job has recorded."""
    return select(func.count()).select_from(steps).where(steps.c.resource_seq == seq)


# Logs


def stream_ensured(insert: Upsert, *, group: str, name: str, created_at: float) -> Upsert:
    """Make a log stream unless it exists."""
    new = insert.values(log_group=group, name=name, created_at=created_at)
    return new.on_conflict_do_nothing(index_elements=["log_group", "name"])


def stream_locked(group: str, name: str) -> Select[Any]:
    """A log stream, kept for this transaction, so that its events are numbered in the order of their commits."""
    return stream_named(group, name).with_for_update(key_share=True)


def stream_named(group: str, name: str) -> Select[Any]:
    """A log stream."""
    return select(log_streams).where(log_streams.c.log_group == group, log_streams.c.name == name)


def stream_extended(seq: int, first: float, last: float) -> Update:
    """Widen the times that a stream spans."""
    return update(log_streams).where(log_streams.c.seq == seq).values(first_event_at=first, last_event_at=last)


def streams_found(
    group: str, prefix: str | None, by_event: bool, descending: bool, after: Cursor | None, limit: int
) -> Select[Any]:
    """One page of a group's streams, by name or by their last event; those without an event count as time 0."""
    row = log_streams.c
    column: ColumnElement[Any] = func.coalesce(row.last_event_at, 0.0) if by_event else row.name
    query = select(log_streams).where(row.log_group == group).limit(limit)
    if prefix:
        query = query.where(row.name >= prefix, func.substr(row.name, 1, len(prefix)) == prefix)
    if after is not None:
        place = tuple_(literal(after[0], column.type), literal(after[1], row.seq.type))
        query = query.where(tuple_(column, row.seq) < place if descending else tuple_(column, row.seq) > place)
    return query.order_by(column.desc(), row.seq.desc()) if descending else query.order_by(column, row.seq)


def events_found(
    group: str,
    stream: str,
    *,
    after_seq: int | None,
    before_seq: int | None,
    start: float | None,
    end: float | None,
    limit: int,
    newest: bool,
) -> Select[Any]:
    """Up to `limit` events of a stream between the given bounds, the newest or the oldest of them first."""
    row = log_events.c
    bounds: list[ColumnElement[bool] | None] = [
        row.stream_seq == _number_of(group, stream),
        None if after_seq is None else row.seq > after_seq,
        None if before_seq is None else row.seq < before_seq,
        None if start is None else row.timestamp >= start,
        None if end is None else row.timestamp < end,
    ]
    query = select(row.seq, row.timestamp, row.message).limit(limit)
    query = query.where(*[bound for bound in bounds if bound is not None])
    return query.order_by(row.seq.desc() if newest else row.seq)


def events_counted(group: str, stream: str) -> Select[Any]:
    """How many events a stream has."""
    return select(func.count()).select_from(log_events).where(log_events.c.stream_seq == _number_of(group, stream))


def _number_of(group: str, stream: str) -> ScalarSelect[Any]:
    named = select(log_streams.c.seq).where(log_streams.c.log_group == group, log_streams.c.name == stream)
    return named.scalar_subquery()


def groups_found() -> Select[Any]:
    """All groups by name."""
    row = log_streams.c
    return (
        select(row.log_group, func.min(row.created_at).label("created_at"))
        .group_by(row.log_group)
        .order_by(row.log_group)
    )


def events_searched(
    group: str,
    names: Sequence[str],
    prefix: str,
    *,
    start: float | None,
    end: float | None,
    after: Cursor | None,
    limit: int,
    descending: bool,
) -> Select[Any]:
    """Events of a group by time, of these streams, without their messages, which would have to be sorted too.

    Streams that have none between the bounds are not read.
    """
    row, owner = log_events.c, log_streams.c
    query = select(owner.name, row.seq, row.timestamp).join(log_streams, owner.seq == row.stream_seq)
    query = query.where(owner.log_group == group).limit(limit)
    if names:
        query = query.where(owner.name.in_(names))
    if prefix:
        query = query.where(owner.name >= prefix, func.substr(owner.name, 1, len(prefix)) == prefix)
    if start is not None:
        query = query.where(owner.last_event_at >= start, row.timestamp >= start)
    if end is not None:
        query = query.where(owner.first_event_at < end, row.timestamp < end)
    place = tuple_(row.timestamp, row.seq)
    if after is not None:
        reached = tuple_(literal(after[0], row.timestamp.type), literal(after[1], row.seq.type))
        query = query.where(place < reached if descending else place > reached)
    return (
        query.order_by(row.timestamp.desc(), row.seq.desc()) if descending else query.order_by(row.timestamp, row.seq)
    )


def messages_of(seqs: Collection[int]) -> Select[Any]:
    """The messages of these events, in any order."""
    return select(log_events.c.seq, log_events.c.message).where(log_events.c.seq.in_(seqs))
