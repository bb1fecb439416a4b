"""The files of a channel, block by block: as tables of numbers, the label first, or as sparse rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.contract import recordio
from pilothouse.data.decompress import DataStream
from pilothouse.data.selection import BLOCK_CELLS
from pilothouse.errors import DataError

LIBSVM = ("text/libsvm", "text/x-libsvm")
CSV = "text/csv"
PARQUET = "application/x-parquet"
RECORDIO = recordio.MEDIA_TYPE

_BLOCK = 8 << 20
_BUFFER = 1 << 20
_LONGEST_LINE = 250 * 10**6
_MOST_BYTES = 100 * 10**9
"""What a compressed file may hold: a small one may stand for any number of bytes."""

_WIDEST = 2**31 - 1
_ILL_CONVERTED = re.compile(r"In CSV column #(\d+):.* conversion error")

Array = Any


def tables(path: Path, kind: str) -> Iterator[Array]:
    """float32 [rows, columns], NaN where a value is missing; `kind` is CSV (without a header), PARQUET or RECORDIO.

    CSV and RECORDIO may be gzipped. `DataError` if the file is something else.
    """
    return {CSV: _csv, PARQUET: _parquet, RECORDIO: _recordio}[kind](path)


def sparse_rows(path: Path) -> Iterator[tuple[Any, Array]]:
    """The rows of a libsvm file, float32 CSR matrices of no certain width, and their labels; it may be gzipped.

    `DataError` as above.
    """
    from sklearn.datasets import load_svmlight_file

    for lines in _lines(path):
        try:
            x, labels = load_svmlight_file(io.BytesIO(lines), n_features=_WIDEST, dtype=np.float32, zero_based=True)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path.name} cannot be read as libsvm: {error}. Set ContentType if it is text/csv."
            ) from error
        if len(labels):
            x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(np.int32)
            yield x, labels


@contextmanager
def _plain(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, without gzip if it has that; no more of a compressed one than `_MOST_BYTES`."""
    with path.open("rb") as raw:
        most = max(_MOST_BYTES, path.stat().st_size)
        yield io.BufferedReader(DataStream(raw, path.name, declared=False, limit=most), _BUFFER)


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines, some 8 MB at a time, to the end of the file."""
    with _plain(path) as stream:
        while block := stream.read(_BLOCK):
            rest = stream.readline(_LONGEST_LINE)
            if len(rest) == _LONGEST_LINE:
                raise DataError(
                    f"A row of {path.name} is longer than {_LONGEST_LINE / 1e6:.0f} MB. Give each row a line."
                )
            yield block + rest


def _csv(path: Path) -> Iterator[Array]:
    import pyarrow as pa
    from pyarrow import csv

    reading = csv.ReadOptions(autogenerate_column_names=True, block_size=_BLOCK, use_threads=False)
    try:
        with _plain(path) as stream:
            if not stream.peek(1):
                return
            with csv.open_csv(stream, read_options=reading) as reader:
                fields = list(reader.schema)
        _check_numbers(fields, path)
        # Numbers that are whole in the first block need not be so later.
        types = {field.name: field.type if pa.types.is_boolean(field.type) else pa.float64() for field in fields}
        converting = csv.ConvertOptions(column_types=types)
        with _plain(path) as stream, csv.open_csv(stream, reading, convert_options=converting) as reader:
            for batch in reader:
                yield _numbers(batch)
    except pa.ArrowInvalid as error:
        text = str(error).splitlines()[0]
        found = _ILL_CONVERTED.match(text)
        raise (
            _text(int(found[1]), path) if found else DataError(f"{path.name} cannot be read as CSV: {text}")
        ) from error


def _parquet(path: Path) -> Iterator[Array]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            fields = list(file.schema_arrow)
            _check_numbers(fields, path)
            for batch in file.iter_batches(batch_size=max(1, BLOCK_CELLS // max(len(fields), 1)), use_threads=False):
                yield _numbers(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _recordio(path: Path) -> Iterator[Array]:
    try:
        with _plain(path) as stream:
            for table in recordio.tables(stream, BLOCK_CELLS):
                if table.labels is None:
                    raise DataError(f"The records of {path.name} have no label. Give each of them one.")
                yield np.column_stack([table.labels, table.features])
    except recordio.RecordError as error:
        raise DataError(f"{path.name} cannot be read as RecordIO-protobuf: {error.message}") from error


def _check_numbers(fields: list[Any], path: Path) -> None:
    import pyarrow.types as types

    for place, field in enumerate(fields):
        kind = field.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)):
            raise _text(place, path)


def _text(place: int, path: Path) -> DataError:
    return DataError(
        f"Column {place + 1} of {path.name} holds text. All columns must be numbers, without a header; encode "
        "categories before."
    )


def _numbers(batch: Any) -> Array:
    import pyarrow as pa

    numbers = np.empty((batch.num_rows, batch.num_columns), dtype=np.float32)
    for place, column in enumerate(batch.columns):
        numbers[:, place] = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return numbers
