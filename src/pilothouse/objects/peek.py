"""A look at the head of a data file, reading little of it: what its columns are called."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from pilothouse.errors import DataError
from pilothouse.objects import header as headers
from pilothouse.objects.base import ObjectInfo, Objects
from pilothouse.objects.encoding import Utf8

_FIRST = 1 << 16
_LARGEST_FOOTER = 64 << 20
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 12  # bytes inflated at a time: what is left of them behind a member is copied
_PARQUET = b"PAR1"


def header(objects: Objects, info: ObjectInfo, content_type: str, gzip: bool = False) -> list[str] | None:
    """The columns of a CSV or Parquet object as its header has them, None if it is a blank text; one small read is
    enough unless the header is very long.

    A CSV file may be gzipped though `gzip` does not say so: its first bytes tell. `DataError` if there is no header to
    be found in the object, whatever is wrong with it; also if `gzip` says so and it isn't.
    """
    if "parquet" in content_type:
        return _parquet(objects, info)
    size = _FIRST
    while True:
        content, ended = _start(objects, info, size, gzip)
        found = headers.told(content, ended, info.uri)
        if found is not None:
            return found.fields or None
        if size >= headers.LARGEST:
            raise DataError(f"{info.uri} has no header line in its first {size >> 20} MiB. Is it a CSV file?")
        size = min(size * 8, headers.LARGEST)


def total_size(infos: Iterable[ObjectInfo]) -> int:
    """Bytes in all these objects together."""
    return sum(info.size for info in infos)


def _start(objects: Objects, info: ObjectInfo, size: int, gzip: bool) -> tuple[bytes, bool]:
    """The first bytes of a text file, as UTF-8, and whether they are the whole."""
    with objects.open(info.bucket, info.key, 0, size) as stream:
        raw = stream.read()
    ended = len(raw) >= info.size
    if raw.startswith(_GZIP):
        raw, ended = _inflated(raw, size, ended, info)
    elif gzip:
        raise DataError(f"{info.uri} is declared as Gzip but is not gzip data. Leave out CompressionType.")
    try:
        return Utf8()(raw, ended), ended
    except UnicodeError:
        raise DataError(f"{info.uri} is not UTF-8 text. Save it as UTF-8 CSV, or correct ContentType.") from None


def _inflated(raw: bytes, size: int, ended: bool, info: ObjectInfo) -> tuple[bytes, bool]:
    """The first `size` bytes of what is in `raw`, whose gzip members follow one another, and whether they are all."""
    content, place, inflater = bytearray(), 0, _inflater()
    while place < len(raw) and len(content) < size:
        piece = raw[place : place + _PIECE]
        try:
            content += inflater.decompress(piece, size - len(content))
        except zlib.error:
            raise DataError(
                f"{info.uri} is not valid gzip. Compress it again, or set CompressionType to None."
            ) from None
        place += len(piece) - len(inflater.unconsumed_tail or inflater.unused_data)
        if inflater.eof:
            inflater = _inflater()
            while raw.startswith(b"\0", place):  # padding
                place += 1
    return bytes(content), ended and len(content) < size


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


def _parquet(objects: Objects, info: ObjectInfo) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(pa.BufferReader(_PARQUET + _footer(objects, info))).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{info.uri} is not a valid Parquet file: {error}") from None


def _footer(objects: Objects, info: ObjectInfo) -> bytes:
    """The metadata at the end of a Parquet file, with its length and the closing magic."""
    tail = _last(objects, info, _FIRST)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != _PARQUET or len(tail) < 12 or length > min(info.size, _LARGEST_FOOTER):
        raise DataError(f"{info.uri} is not a valid Parquet file: its footer is missing or damaged.")
    return (tail if length <= len(tail) else _last(objects, info, length))[-length:]


def _last(objects: Objects, info: ObjectInfo, count: int) -> bytes:
    with objects.open(info.bucket, info.key, max(0, info.size - count)) as stream:
        return stream.read()
