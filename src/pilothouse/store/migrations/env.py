"""Run by Alembic: apply the migrations on the connection, and within the transaction, that `schema.migrate` opened."""

from __future__ import annotations

from alembic import context

from pilothouse.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
