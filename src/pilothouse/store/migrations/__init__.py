"""Migrations: how the tables came to be what `store.tables` says, run by Alembic."""
