"""The metadata: resources, leases, steps, tags and logs, in SQLite or PostgreSQL."""
