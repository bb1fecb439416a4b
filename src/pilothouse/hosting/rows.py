"""Rows of cells, as a model that starts from the data's columns reads them from a request.

A cell is a text, "" being a missing value, because the model's own feature pipeline reads text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pilothouse.data import render
from pilothouse.hosting import media
from pilothouse.hosting.media import CSV, JSON, JSON_LINES, CodecError
from pilothouse.objects.header import DELIMITERS
from pilothouse.objects.header import names as header_names

Rows = list[list[str]]


def decode(body: bytes, content_type: str | None, columns: Sequence[str]) -> Rows:
    """The rows in a request, each with one cell per column, in the columns' order.

    CSV has no header, unless the content type says header=present; then its columns may be in any order, and more.
    Cells are parted by commas, or by what else a training file may have, if only that makes as many as columns.

    `CodecError`: 415 for another format, 400 for what isn't in that format, is empty, or has other columns.
    """
    name, parameters = media.of_request(content_type, FORMATS)
    text = media.as_text(body, parameters)
    if name == CSV:
        rows = _from_csv(text, columns, parameters.get("header") == "present")
    else:
        rows = _DECODERS[name](text, columns)
    if not rows:
        raise CodecError(400, f"The request holds no rows. Send at least one row of {len(columns)} columns.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise CodecError(400, _column_count(len(columns), len(row), number))
    return rows


def _from_csv(text: str, columns: Sequence[str], announced: bool) -> Rows:
    failed: CodecError | None = None
    for delimiter in DELIMITERS if len(columns) > 1 else DELIMITERS[:1]:
        try:
            rows = _cells(text, columns, delimiter)
            if _fit(rows, columns, announced):
                return _without_header(rows, columns, announced)
        except CodecError as error:
            failed = failed or error
    if failed:
        raise failed
    return _without_header(_cells(text, columns, ","), columns, announced)


def _cells(text: str, columns: Sequence[str], delimiter: str) -> Rows:
    rows = media.csv_rows(text, delimiter)
    return [row for row in rows if len(row) > 1 or len(columns) == 1 or row[0].strip()]


def _fit(rows: Rows, columns: Sequence[str], announced: bool) -> bool:
    if announced:
        return bool(rows) and set(columns) <= set(header_names(rows[0]))
    return all(len(row) == len(columns) for row in rows)


def _without_header(rows: Rows, columns: Sequence[str], announced: bool) -> Rows:
    if not rows:
        return rows
    header = rows[0]
    if announced:
        header = header_names(header)
        _refuse_missing(
            [column for column in columns if column not in header],
            columns,
            "The header",
            "Add them; an empty cell is no value.",
        )
        ragged = next((number for number, row in enumerate(rows) if len(row) != len(header)), None)
        if ragged is not None:
            raise CodecError(400, f"Row {ragged} has {len(rows[ragged])} cells under a header of {len(header)}.")
        places = [header.index(column) for column in columns]
        return [[row[place] for place in places] for row in rows[1:]]
    if len(columns) > 1 and header == list(columns):
        raise CodecError(
            400, "The first row holds the names of the columns. Leave it out, or send it as text/csv; header=present."
        )
    return rows


def _refuse_missing(missing: Sequence[str], columns: Sequence[str], giver: str, advice: str) -> None:
    if missing:
        named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise CodecError(400, f"{giver} lacks {len(missing)} of {len(columns)} columns: {named}. {advice}")


def _column_count(expected: int, received: int, row: int) -> str:
    return (
        f"Received data of unknown size. Expected number of columns is {expected}. "
        f"Number of columns in the received data is {received}. "
        f"(Row {row}; send the training columns in their order, without a header and without the target.)"
    )


def _from_json(text: str, columns: Sequence[str]) -> Rows:
    document = _loads(text)
    if isinstance(document, dict) and isinstance(document.get("instances"), list):
        document = document["instances"]
    if isinstance(document, dict) or (isinstance(document, list) and document and not _holds_rows(document)):
        document = [document]
    if not isinstance(document, list):
        raise CodecError(400, 'Send JSON rows as {"instances": [[…], …]}, as a list of rows, or as one object.')
    return [_row(instance, columns) for instance in document]


def _from_json_lines(text: str, columns: Sequence[str]) -> Rows:
    return [_row(_loads(line), columns) for line in text.split("\n") if line.strip()]


def _holds_rows(document: list[Any]) -> bool:
    return any(isinstance(element, list | dict) for element in document)


def _row(instance: object, columns: Sequence[str]) -> list[str]:
    if isinstance(instance, dict) and instance.keys() == {"features"} and isinstance(instance["features"], list):
        instance = instance["features"]
    if isinstance(instance, list):
        return [_cell(value) for value in instance]
    if not isinstance(instance, dict):
        raise CodecError(400, 'Send each row as a list, as {"features": […]}, or as an object keyed by column name.')
    _refuse_missing(
        [column for column in columns if column not in instance], columns, "A row", "Send null for no value."
    )
    return [_cell(instance[column]) for column in columns]


def _cell(value: object) -> str:
    if isinstance(value, list | dict):
        raise CodecError(400, "A cell must be a string, a number, a boolean or null, not a list or an object.")
    return render.as_text(value)


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError(400, f"The request is not valid JSON: {error}.") from error


_DECODERS: dict[str, Callable[[str, Sequence[str]], Rows]] = {JSON: _from_json, JSON_LINES: _from_json_lines}
FORMATS = (CSV, *_DECODERS)
"""The formats that rows are read in."""
