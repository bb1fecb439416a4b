"""An input object cut into the records that a request to the model may hold, in bounded memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from pilothouse.errors import DataError

_FRAME = struct.Struct("<II")
_MAGIC = 0xCED7230A
_LONGEST_FRAME = (1 << 29) - 1


def batches(stream: BinaryIO, split: str, *, single: bool, limit: int) -> Iterator[list[bytes]]:
    """The records of `stream`, which `split` (None, Line or RecordIO) tells apart, as many to a batch as fit `limit`.

    With `single` it is one; without a split the whole is one. Blank lines are left out. `DataError` for a record that
    is larger than `limit` bytes, or is none.
    """
    batch: list[bytes] = []
    size = 0
    for record in _records(stream, split, limit):
        if batch and (single or size + len(record) > limit):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield batch


def _records(stream: BinaryIO, split: str, limit: int) -> Iterator[bytes]:
    number = 0
    while record := _READERS[split](stream, limit):
        number += 1
        if len(record) > limit:
            what = "The object is" if split == "None" else f"Record {number} is"
            raise DataError(f"{what} larger than MaxPayloadInMB allows, which is {limit} bytes.")
        if split != "Line" or record.strip():
            yield record


def _whole(stream: BinaryIO, limit: int) -> bytes:
    parts, size = [], 0
    while size <= limit and (part := stream.read(limit + 1 - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _line(stream: BinaryIO, limit: int) -> bytes:
    return stream.readline(limit + 1)


def _frame(stream: BinaryIO, limit: int) -> bytes:
    head = stream.read(_FRAME.size)
    if not head:
        return b""
    magic, length = _FRAME.unpack(head) if len(head) == _FRAME.size else (0, 0)
    if magic != _MAGIC or length > _LONGEST_FRAME:
        raise DataError("It is not RecordIO, or ends within a record.")
    padded = length + -length % 4
    content = stream.read(min(padded, limit + 1))
    if len(content) < min(padded, limit + 1):
        raise DataError("It is not RecordIO, or ends within a record.")
    return head + content


_READERS = {"None": _whole, "Line": _line, "RecordIO": _frame}
