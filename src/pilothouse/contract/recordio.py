"""Tables of numbers as RecordIO of protobuf Records, the binary format that SageMaker's algorithms read and write.

A frame is a magic word, the length of its content, the content, and zeros up to a multiple of four bytes; words are
little-endian. The content is a message Record: `features` (1) and `label` (2) map the name "values" to a tensor, which
has `values` (1) and, if it is sparse, the `keys` (2) of those values and the `shape` (3) of the whole.
Sources: the SageMaker developer guide on common data formats (the message), the protobuf encoding guide, MXNet's
RecordIO (the frame).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pilothouse.errors import PilothouseError

MEDIA_TYPE = "application/x-recordio-protobuf"
MOST_CELLS = 1 << 25
"""Most cells of a table that is read: a sparse record of a few bytes may stand for any number of them."""

_MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")
_LONGEST = (1 << 29) - 1  # the length's upper three bits mark a record that goes on in the next frame
_NAME = b"values"
_FEATURES, _LABEL = 1, 2
_KEY, _VALUE = 1, 2
_VALUES, _KEYS, _SHAPE = 1, 2, 3
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FLOAT32 = 2
_TENSORS = {_FLOAT32: "<f4", 3: "<f8", 7: "int32"}
_LONGEST_VARINT = 10

Array = npt.NDArray[Any]


class RecordError(PilothouseError):
    """The bytes are not RecordIO of protobuf Records."""


@dataclass(frozen=True)
class Table:
    """`features` float32 [n, d], and `labels` float32 [n], or None if the records have none."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32] | None = None


def write(table: Table) -> bytes:
    """A dense record for each row."""
    count, width = table.features.shape
    blocks = [_head(_FEATURES, 4 * width), _as_bytes(table.features)]
    if table.labels is not None:
        blocks += [_head(_LABEL, 4), _as_bytes(table.labels.reshape(-1, 1))]
    length = sum(block.shape[1] for block in blocks)
    head, tail = frame(length)
    whole = [_row(head), *blocks, _row(tail)]
    return np.hstack([np.broadcast_to(block, (count, block.shape[1])) for block in whole]).tobytes()


def frame(size: int) -> tuple[bytes, bytes]:
    """What precedes and what follows a content of `size` bytes as one record; `RecordError` if that is too much."""
    if size > _LONGEST:
        raise RecordError(f"{size} bytes are more than a record holds, which is {_LONGEST}.")
    return _FRAME.pack(_MAGIC, size), bytes(-size % 4)


def read(body: bytes) -> Table:
    """The table in `body`: dense or sparse records, of float32, float64 or int32 tensors.

    `RecordError` says what is wrong and where: other bytes, records of unequal width, more than `MOST_CELLS` cells,
    labels in some records only.
    """
    made = _Rows()
    for content in _frames(io.BytesIO(body)):
        made.add(content, MOST_CELLS // (made.count + 1))
    return made.taken()


def tables(stream: BinaryIO, cells: int) -> Iterator[Table]:
    """The tables that the records of a file make, some `cells` cells at a time; errors as those of `read`."""
    made = _Rows()
    for content in _frames(stream):
        made.add(content, MOST_CELLS)
        if made.cells >= cells:
            yield made.taken()
    if made.cells:
        yield made.taken()


class _Rows:
    """The rows of a table to be, and how many have been read in all."""

    def __init__(self) -> None:
        self.count = self.cells = 0
        self._width: int | None = None
        self._rows: list[Array] = []
        self._labels: list[Array] = []

    def add(self, content: memoryview, most: int) -> None:
        """Reads one record, of at most `most` features."""
        self.count += 1
        try:
            row, label = _record(content, most)
            self._width = len(row) if self._width is None else self._width
            if len(row) != self._width:
                raise RecordError(f"it has {len(row)} values, and the first has {self._width}.")
            if label is not None and len(label) != 1:
                raise RecordError(f"its label has {len(label)} values, and must have one.")
        except RecordError as error:
            raise RecordError(f"Record {self.count} cannot be read: {error.message}") from error
        self._rows.append(row)
        self._labels += [] if label is None else [label]
        self.cells += len(row)

    def taken(self) -> Table:
        """The table of the rows since the last one."""
        rows, labels = self._rows, self._labels
        if labels and len(labels) != len(rows):
            raise RecordError(f"{len(labels)} of {len(rows)} records have a label. Give all of them one, or none.")
        self._rows, self._labels, self.cells = [], [], 0
        return Table(
            np.stack(rows) if rows else np.empty((0, 0), np.float32), np.concatenate(labels) if labels else None
        )


def _frames(stream: BinaryIO) -> Iterator[memoryview]:
    place = 0
    while head := stream.read(_FRAME.size):
        if len(head) < _FRAME.size:
            raise RecordError(f"The bytes end within a frame, at {place}.")
        magic, length = _FRAME.unpack(head)
        if magic != _MAGIC:
            raise RecordError(f"There is no RecordIO frame at byte {place}.")
        if length > _LONGEST:
            raise RecordError(f"The record at byte {place} is in several frames. Write each record as one.")
        content = stream.read(length)
        if length > len(content):
            raise RecordError(f"The record at byte {place + _FRAME.size} is longer than what is there.")
        yield memoryview(content)
        padding = -length % 4
        stream.read(padding)
        place += _FRAME.size + length + padding


def _record(content: memoryview, most: int) -> tuple[Array, Array | None]:
    """Features and label of a Record; the features have at most `most` values."""
    found: dict[int, Array] = {}
    for number, value in _fields(content):
        if number in (_FEATURES, _LABEL):
            name, tensor = _entry(_message(value))
            if name == _NAME:
                found[number] = _tensor(tensor, most)
    if _FEATURES not in found:
        raise RecordError('it has no feature called "values".')
    return found[_FEATURES], found.get(_LABEL)


def _entry(content: memoryview) -> tuple[bytes, memoryview]:
    """A map's entry: its key, and its value, a message Value."""
    entry = {number: _message(value) for number, value in _fields(content) if number in (_KEY, _VALUE)}
    return bytes(entry.get(_KEY, b"")), entry.get(_VALUE, memoryview(b""))


def _tensor(content: memoryview, most: int) -> Array:
    kinds = [(number, value) for number, value in _fields(content) if number in _TENSORS]
    if not kinds:
        raise RecordError("it holds no tensor of numbers.")
    number, tensor = kinds[-1]
    parts: dict[int, list[Array]] = {_VALUES: [], _KEYS: [], _SHAPE: []}
    for field, value in _fields(_message(tensor)):
        if field in parts:
            parts[field].append(_numbers(value, _TENSORS[number] if field == _VALUES else "uint64"))
    values, keys, shape = (np.concatenate(part) if part else np.empty(0) for part in parts.values())
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    sparse = bool(len(keys)) or not len(values)
    if len(keys) and not len(shape):
        raise RecordError("it is sparse and has no shape.")
    width = _product(shape, most) if sparse and len(shape) else len(values)
    if width > most:
        raise RecordError(f"the table would have more than {MOST_CELLS} cells. Send fewer rows at a time.")
    return _spread(values, keys, width) if sparse else values


def _spread(values: Array, keys: Array, width: int) -> Array:
    """The dense form of a sparse tensor."""
    if len(keys) != len(values):
        raise RecordError(f"it has {len(keys)} keys for {len(values)} values.")
    if len(keys) and int(keys.max()) >= width:
        raise RecordError(f"it has the key {int(keys.max())}, and a shape of {width}.")
    row = np.zeros(width, np.float32)
    row[keys.astype(np.int64)] = values
    return row


def _product(shape: Array, most: int) -> int:
    """The number of cells of `shape`, or a number above `most`."""
    cells = 1
    for size in shape.tolist():
        cells = min(cells * size, most + 1)
    return int(cells)


def _numbers(value: int | memoryview, kind: str) -> Array:
    """The numbers of a repeated field: packed, or one of them."""
    if kind in ("<f4", "<f8"):
        size = np.dtype(kind).itemsize
        raw = _message(value)
        if len(raw) % size:
            raise RecordError(f"its {len(raw)} bytes of values are no numbers of {size} bytes.")
        return np.frombuffer(raw, kind)
    numbers = np.array([value], np.uint64) if isinstance(value, int) else _varints(value)
    return numbers.view(np.int64).astype(np.int32) if kind == "int32" else numbers


def _varints(packed: memoryview) -> Array:
    raw = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not len(raw):
        return np.empty(0, np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts[: len(ends)] + 1
    if raw[-1] >= 0x80 or lengths.max() > _LONGEST_VARINT:
        raise RecordError("it has a number without an end.")
    shifts = 7 * (np.arange(len(raw)) - np.repeat(starts, lengths))
    return np.bitwise_or.reduceat((raw & 0x7F).astype(np.uint64) << shifts.astype(np.uint64), starts)


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: an int for a varint, else bytes."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(content, place)
        elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
            length = 4 if wire == _FOUR_BYTES else 8
        else:
            raise RecordError(f"field {number} is in a form that protobuf does not have.")
        if length > len(content) - place:
            raise RecordError(f"field {number} is longer than what holds it.")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if place == len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise RecordError("it has a number without an end.")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise RecordError("it has a number where there should be bytes.")
    return value


def _head(field: int, size: int) -> Array:
    """What precedes the `size` bytes of float32 values of `features` or `label` in a Record."""
    tensor = _tagged(_VALUES, size)
    value = _tagged(_FLOAT32, len(tensor) + size) + tensor
    entry = _tagged(_KEY, len(_NAME)) + _NAME + _tagged(_VALUE, len(value) + size) + value
    return _row(_tagged(field, len(entry) + size) + entry)


def _tagged(number: int, length: int) -> bytes:
    """Tag and length of a field of bytes."""
    encoded = bytearray([number << 3 | _BYTES])
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*encoded, length])


def _as_bytes(numbers: Array) -> Array:
    return np.ascontiguousarray(numbers, "<f4").view(np.uint8)


def _row(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8).reshape(1, -1)
