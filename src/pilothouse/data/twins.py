"""Twins: columns to which the header of a file gives one name. In a table each has a name of its own, and its field
remembers what the header says.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pilothouse.objects import header

_SAID = b"header"


def schema(fields: Sequence[str], types: Sequence[pa.DataType]) -> pa.Schema:
    """The columns of a header, of these types, named as `header.names` does."""
    return pa.schema(
        pa.field(name, kind, metadata=None if name == field else {_SAID: field})
        for name, field, kind in zip(header.names(fields), fields, types, strict=True)
    )


def header_of(columns: pa.Schema) -> list[str]:
    """The header that the columns came from, as it stands in its file."""
    return [_said(field) for field in columns]


def count(columns: pa.Schema, name: str) -> int:
    """How often `name` is in the header that the columns came from."""
    return header_of(columns).count(name)


def _said(field: pa.Field) -> str:
    said: bytes | None = (field.metadata or {}).get(_SAID)
    return str(field.name) if said is None else said.decode()
