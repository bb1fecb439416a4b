"""The tables, as the newest migration leaves them.

A change here needs a new file in `migrations/versions` and a new `SCHEMA_VERSION`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = "0001"

metadata = MetaData()

_number = BigInteger().with_variant(Integer(), "sqlite")
_text = String().with_variant(String(collation="C"), "postgresql")  # both databases then sort by code point


def _of_resource(*, primary_key: bool = False) -> Column[int]:
    owner = ForeignKey("resources.seq", ondelete="CASCADE")
    return Column("resource_seq", _number, owner, primary_key=primary_key, autoincrement=False, nullable=False)


resources = Table(
    "resources",
    metadata,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("kind", _text, nullable=False),
    Column("name", _text, nullable=False),
    Column("name_key", _text, nullable=False),
    Column("arn", _text, nullable=False),
    Column("parent_seq", _number, ForeignKey("resources.seq", ondelete="CASCADE")),
    Column("parent_kind", _text),
    Column("parent_name", _text),
    Column("request", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", _text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("modified_at", Double, nullable=False),
    Column("stop_requested", Boolean, nullable=False),
    UniqueConstraint("kind", "name_key", name="resources_by_name"),
    UniqueConstraint("arn", name="resources_by_arn"),
    Index("resources_by_creation", "kind", "created_at", "seq"),
    Index("resources_by_modification", "kind", "modified_at", "seq"),
    Index("resources_by_status", "kind", "status", "seq"),
    Index("resources_by_parent", "parent_seq", "kind", "seq"),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    _of_resource(primary_key=True),
    Column("token", _text),
    Column("owner", _text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fruitless", Integer, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    _of_resource(primary_key=True),
    Column("step", _text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("result", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("recorded_at", Double, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    _of_resource(primary_key=True),
    Column("key", _text, primary_key=True),
    Column("value", Text, nullable=False),
)

log_streams = Table(
    "log_streams",
    metadata,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("log_group", _text, nullable=False),
    Column("name", _text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("first_event_at", Double),
    Column("last_event_at", Double),
    UniqueConstraint("log_group", "name", name="log_streams_by_name"),
    sqlite_autoincrement=True,
)

log_events = Table(
    "log_events",
    metadata,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("stream_seq", _number, ForeignKey("log_streams.seq", ondelete="CASCADE"), nullable=False),
    Column("timestamp", Double, nullable=False),
    Column("message", Text, nullable=False),
    Index("log_events_by_stream", "stream_seq", "seq"),
    sqlite_autoincrement=True,
)
