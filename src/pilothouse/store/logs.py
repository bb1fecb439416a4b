"""Logs: what jobs and endpoints said, in groups and streams as CloudWatch Logs has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Row

from pilothouse import clock
from pilothouse.store import statements
from pilothouse.store.engine import OnDatabase
from pilothouse.store.resource import Cursor
from pilothouse.store.tables import log_events, log_streams

StreamOrder = Literal["name", "last_event"]
_BATCH = 1000  # messages that a search holds at a time
Message = str | tuple[float, str]
"""A line that is logged now, or a time in epoch seconds and a line."""


@dataclass(frozen=True)
class LogStream:
    """A stream of events; times are epoch seconds, None while the stream is empty."""

    group: str
    name: str
    created_at: float
    first_event_at: float | None
    last_event_at: float | None
    seq: int

    def cursor(self, order: StreamOrder = "name") -> Cursor:
        """Where this stream stands in a list in this order; `Logs.streams(after=…)` goes on behind it."""
        return Cursor(self.name if order == "name" else self.last_event_at or 0.0, self.seq)


@dataclass(frozen=True)
class LogEvent:
    """One logged line. `seq` grows along the stream."""

    seq: int
    timestamp: float
    message: str


class Streams(NamedTuple):
    """The streams of a group with these names, or with names that begin with `prefix`."""

    group: str
    names: tuple[str, ...] = ()
    prefix: str = ""


class Logs:
    """Log streams on the store's database. They outlive the resources that wrote them."""

    def __init__(self, store: OnDatabase) -> None:
        self._database = store.database

    def append(self, group: str, stream: str, messages: Sequence[Message]) -> None:
        """Add lines to the end of a stream, which is made if need be. No lines: the stream is made all the same."""
        now = clock.now()
        events = [_event(message, now) for message in messages]
        with self._database.write() as connection:
            insert = self._database.insert_or(log_streams)
            connection.execute(statements.stream_ensured(insert, group=group, name=stream, created_at=now))
            row = connection.execute(statements.stream_locked(group, stream)).one()
            if events:
                _extend(connection, row, events)

    def streams(
        self,
        group: str,
        prefix: str | None = None,
        limit: int = 50,
        after: Cursor | None = None,
        *,
        order: StreamOrder = "name",
        descending: bool = False,
    ) -> list[LogStream]:
        """One page of the streams of a group whose names begin with `prefix`."""
        query = statements.streams_found(group, prefix, order == "last_event", descending, after, limit)
        with self._database.read() as connection:
            return [_stream(row) for row in connection.execute(query)]

    def events(
        self,
        group: str,
        stream: str,
        *,
        after_seq: int | None = None,
        before_seq: int | None = None,
        start: float | None = None,
        end: float | None = None,
        limit: int = 10000,
        from_head: bool = False,
    ) -> list[LogEvent]:
        """Up to `limit` events in the order they were logged; none if there is no such stream.

        The oldest after `after_seq` if that is given, the newest before `before_seq` if that is; with neither, the
        oldest of all (`from_head`) or the newest. `start` is inclusive and `end` exclusive, in epoch seconds.
        """
        newest = after_seq is None and (before_seq is not None or not from_head)
        query = statements.events_found(
            group,
            stream,
            after_seq=after_seq,
            before_seq=before_seq,
            start=start,
            end=end,
            limit=limit,
            newest=newest,
        )
        with self._database.read() as connection:
            events = [LogEvent(row.seq, row.timestamp, row.message) for row in connection.execute(query)]
        return events[::-1] if newest else events

    def count(self, group: str, stream: str) -> int:
        """How many events a stream has; none if there is no such stream."""
        with self._database.read() as connection:
            return int(connection.execute(statements.events_counted(group, stream)).scalar_one())

    def groups(self) -> list[tuple[str, float]]:
        """All groups by name, each with the time of its first stream in epoch seconds."""
        with self._database.read() as connection:
            return [(row.log_group, row.created_at) for row in connection.execute(statements.groups_found())]

    def search(
        self,
        streams: Streams,
        *,
        start: float | None = None,
        end: float | None = None,
        after: Cursor | None = None,
        limit: int = 1000,
        descending: bool = False,
    ) -> Iterator[tuple[str, LogEvent]]:
        """Up to `limit` events behind the place `after` (time and `seq`), by time, each with its stream's name.

        `start` is inclusive and `end` exclusive, in epoch seconds. The group is sorted once; messages are read on the
        way, some at a time.
        """
        query = statements.events_searched(
            *streams, start=start, end=end, after=after, limit=limit, descending=descending
        )
        with self._database.read() as connection:
            places = connection.execute(query).all()
        for first in range(0, len(places), _BATCH):
            batch = places[first : first + _BATCH]
            with self._database.read() as connection:
                read = connection.execute(statements.messages_of([row.seq for row in batch]))
                messages = {row.seq: row.message for row in read}
            for row in batch:
                yield row.name, LogEvent(row.seq, row.timestamp, messages[row.seq])


def _event(message: Message, now: float) -> tuple[float, str]:
    timestamp, line = (now, message) if isinstance(message, str) else message
    # PostgreSQL takes neither NUL nor half a surrogate pair, and programs print both.
    return timestamp, line.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _extend(connection: Connection, stream: Row[tuple[object, ...]], events: list[tuple[float, str]]) -> None:
    rows = [{"stream_seq": stream.seq, "timestamp": timestamp, "message": line} for timestamp, line in events]
    connection.execute(log_events.insert(), rows)
    times = [timestamp for timestamp, _ in events]
    known = [time for time in (stream.first_event_at, stream.last_event_at) if time is not None]
    connection.execute(statements.stream_extended(stream.seq, min(times + known), max(times + known)))


def _stream(row: Row[tuple[object, ...]]) -> LogStream:
    return LogStream(
        group=row.log_group,
        name=row.name,
        created_at=row.created_at,
        first_event_at=row.first_event_at,
        last_event_at=row.last_event_at,
        seq=row.seq,
    )
