"""Resources, leases, steps, tags and logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")

    def of_resource() -> sa.Column[int]:
        owner = sa.ForeignKey("resources.seq", ondelete="CASCADE")
        return sa.Column("resource_seq", number, owner, primary_key=True, autoincrement=False, nullable=False)

    op.create_table(
        "resources",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("kind", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("name_key", text, nullable=False),
        sa.Column("arn", text, nullable=False),
        sa.Column("parent_seq", number, sa.ForeignKey("resources.seq", ondelete="CASCADE")),
        sa.Column("parent_kind", text),
        sa.Column("parent_name", text),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("modified_at", sa.Double, nullable=False),
        sa.Column("stop_requested", sa.Boolean, nullable=False),
        sa.UniqueConstraint("kind", "name_key", name="resources_by_name"),
        sa.UniqueConstraint("arn", name="resources_by_arn"),
        sqlite_autoincrement=True,
    )
    op.create_index("resources_by_creation", "resources", ["kind", "created_at", "seq"])
    op.create_index("resources_by_modification", "resources", ["kind", "modified_at", "seq"])
    op.create_index("resources_by_status", "resources", ["kind", "status", "seq"])
    op.create_index("resources_by_parent", "resources", ["parent_seq", "kind", "seq"])
    op.create_table(
        "leases",
        of_resource(),
        sa.Column("token", text),
        sa.Column("owner", text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fruitless", sa.Integer, nullable=False),
    )
    op.create_table(
        "steps",
        of_resource(),
        sa.Column("step", text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("recorded_at", sa.Double, nullable=False),
    )
    op.create_table(
        "tags",
        of_resource(),
        sa.Column("key", text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "log_streams",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("log_group", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("first_event_at", sa.Double),
        sa.Column("last_event_at", sa.Double),
        sa.UniqueConstraint("log_group", "name", name="log_streams_by_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "log_events",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("stream_seq", number, sa.ForeignKey("log_streams.seq", ondelete="CASCADE"), nullable=False),
        sa.Column("timestamp", sa.Double, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("log_events_by_stream", "log_events", ["stream_seq", "seq"])
