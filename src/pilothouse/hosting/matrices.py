"""Features between containers: a matrix of float32 as RecordIO-protobuf or as CSV, with the same numbers in both."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.contract import recordio
from pilothouse.contract.recordio import RecordError, Table
from pilothouse.hosting import media
from pilothouse.hosting.media import CSV, RECORDIO, CodecError

FORMATS = (RECORDIO, CSV)
"""The formats that a matrix is read and written in."""

Matrix = npt.NDArray[np.float32]


def encode(matrix: Matrix, accept: str) -> bytes:
    """The matrix in one of `FORMATS`; in CSV every digit of a number is written, so that it is the same when read."""
    if accept == RECORDIO:
        return recordio.write(Table(matrix))
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(matrix.astype(np.float64).tolist())
    return stream.getvalue().encode()


def decode(body: bytes, content_type: str | None) -> Matrix:
    """Float32 [n, d], NaN for an empty cell of CSV, which has no header; labels in RecordIO are left out.

    `CodecError`: 415 for another format, 400 for what isn't in that format, isn't a number, or is empty or ragged.
    """
    name, parameters = media.of_request(content_type, FORMATS)
    matrix = _from_records(body) if name == RECORDIO else _from_csv(media.as_text(body, parameters))
    if not len(matrix):
        raise CodecError(400, "The request holds no rows. Send at least one row of numbers.")
    return matrix


def _from_records(body: bytes) -> Matrix:
    try:
        return recordio.read(body).features
    except RecordError as error:
        raise CodecError(400, f"The request is not {RECORDIO}: {error.message}") from error


def _from_csv(text: str) -> Matrix:
    rows = media.csv_rows(text)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise CodecError(400, f"Row {number} has {len(row)} numbers, and the first row {len(rows[0])}.")
    with np.errstate(over="ignore"):
        return np.array([_numbers(row, number) for number, row in enumerate(rows, start=1)], np.float64).astype(
            np.float32
        )


def _numbers(row: list[str], number: int) -> list[Any]:
    try:
        return [float(cell) if cell.strip() else np.nan for cell in row]
    except ValueError as error:
        raise CodecError(400, f"Row {number} does not consist of numbers: {error}.") from error
