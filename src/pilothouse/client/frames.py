"""Tables in the forms people have them, as the two that the program reads: a file, or rows of text."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pilothouse.data.decompress import DataStream
from pilothouse.data.utf8 import Utf8Stream
from pilothouse.errors import DataError
from pilothouse.objects import header

BATCH = 10_000
"""Rows that are held at a time when a file is predicted."""

Rows = list[list[str]]


def as_file(data: Any, scratch: Path) -> Path:
    """The file that holds `data`: `data` itself if it is a path, else a CSV file with a header written to `scratch`."""
    if isinstance(data, str | Path):
        return _existing(Path(data))
    path = scratch / "data.csv"
    if hasattr(data, "to_csv"):
        data.to_csv(path, index=False)
    elif hasattr(data, "write_csv"):
        data.write_csv(path)
    elif type(data).__module__.split(".")[0] == "pyarrow":
        _write_arrow(data, path)
    elif isinstance(data, Sequence) and data and all(isinstance(row, dict) for row in data):
        _write_records(data, path)
    else:
        raise DataError(
            f"A {type(data).__name__} is not a table. "
            "Give a path, a DataFrame, an Arrow table, or a list of dictionaries."
        )
    return path


def batches(source: Path | IO[str], columns: Sequence[str], size: int = BATCH) -> Iterator[Rows]:
    """The rows of a CSV or Parquet file, as text in the order of `columns`, `size` at a time.

    The file's own columns may be in any order and more than these. `DataError` if one is missing or a row is ragged.
    """
    if isinstance(source, Path) and _starts(source) == b"PAR1":
        yield from _parquet_batches(source, columns, size)
        return
    with _text(source) as (stream, delimiter):
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        fields = _header(reader, str(getattr(source, "name", source)))
        chosen = positions(header.names(fields), columns)
        rows = _picked(reader, len(fields), chosen)
        while batch := list(islice(rows, size)):
            yield batch


def positions(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where each of `columns` is in `names`. `DataError` names those that are missing."""
    index = {name: place for place, name in reversed(list(enumerate(names)))}
    missing = [name for name in columns if name not in index]
    if missing:
        raise DataError(
            f"The rows lack {len(missing)} of the {len(columns)} columns that the model was trained on: "
            f"{', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}. The first line must name the columns."
        )
    return [index[name] for name in columns]


def column(source: Path, name: str) -> Iterator[str]:
    """The values of one column as text, without the empty ones."""
    for batch in batches(source, [name]):
        yield from (row[0] for row in batch if row[0] != "")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is not a file.")
    return path


def _starts(path: Path) -> bytes:
    with _existing(path).open("rb") as file:
        return file.read(4)


@contextmanager
def _text(source: Path | IO[str]) -> Iterator[tuple[IO[str], str]]:
    """The text of a CSV file, read as it is for training, and its delimiter."""
    if not isinstance(source, Path):
        yield source, header.DELIMITERS[0]
        return
    uri = str(_existing(source))
    with source.open("rb") as raw:
        stream = Utf8Stream(DataStream(raw, uri, declared=False, limit=sys.maxsize), uri)
        content, found = stream.start(lambda content, ended: header.told(content, ended, uri))
        buffered = io.BufferedReader(stream.after(content))
        yield io.TextIOWrapper(buffered, encoding="utf-8", newline=""), found.delimiter


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        return next(reader)
    except StopIteration:
        raise DataError(f"{name} is empty. Its first line must name the columns.") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} cannot be read as CSV: {error}.") from error


def _picked(reader: Any, width: int, chosen: list[int]) -> Iterator[list[str]]:
    try:
        for row in reader:
            if len(row) != width and row:
                raise DataError(f"Line {reader.line_num} has {len(row)} fields; the first line names {width} columns.")
            if row:
                yield [row[place] for place in chosen]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The rows cannot be read as CSV after line {reader.line_num}: {error}.") from error


def _parquet_batches(path: Path, columns: Sequence[str], size: int) -> Iterator[Rows]:
    import pyarrow as pa
    from pyarrow import parquet

    from pilothouse.data.parquet import plain

    try:
        file = parquet.ParquetFile(_existing(path))
        positions(file.schema_arrow.names, columns)
        for batch in file.iter_batches(size, columns=list(columns)):
            table = pa.Table.from_batches([batch]).select(list(columns))
            texts = (_rendered(values) for values in plain(table, str(path)).columns)
            yield [list(row) for row in zip(*texts, strict=True)]
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error


def _rendered(values: Any) -> list[str]:
    """The texts that a model was trained on where a file like this one was its data; nested values are no feature."""
    import pyarrow as pa

    from pilothouse.data import render

    if pa.types.is_nested(values.type):
        return [""] * len(values)
    return list(render.texts(render.chunk(values)).to_pylist())


def _write_arrow(table: Any, path: Path) -> None:
    from pyarrow import csv as arrow_csv

    arrow_csv.write_csv(table, path)


def _write_records(records: Sequence[dict[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(name for record in records for name in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(records)
