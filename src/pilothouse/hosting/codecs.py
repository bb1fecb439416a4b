"""Rows in, predictions out: the formats that a model server reads and writes.

Requests are text/csv, application/json and application/jsonlines; answers too. A cell travels as text, "" being a
missing value, because the model's own feature pipeline reads text.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import Message
from typing import Any, Protocol

from pilothouse.catalog import hosting
from pilothouse.data import render
from pilothouse.errors import ConfigurationError, PilothouseError

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
_ALIASES = {"application/x-jsonlines": JSON_LINES, "application/x-ndjson": JSON_LINES, "application/x-json": JSON}
_REGRESSION_OUTPUTS = ("predicted_label", "score")

Rows = list[list[str]]


class Predicted(Protocol):
    """Predictions for n rows: `labels` and `probabilities` [n, classes] of a classifier, or `values` [n]."""

    @property
    def labels(self) -> Sequence[str] | None: ...
    @property
    def values(self) -> Any: ...
    @property
    def probabilities(self) -> Any: ...


class CodecError(PilothouseError):
    """The request can't be read, or the answer can't be written; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def outputs(environment: Mapping[str, str], classification: bool) -> list[str]:
    """The members of an answer, in order, as the container's environment asks (SAGEMAKER_INFERENCE_OUTPUT).

    `ConfigurationError` names a member that this model can't give, or that SAGEMAKER_INFERENCE_SUPPORTED leaves out.
    """
    if not classification:
        _refuse_unknown(_listed(environment, "SAGEMAKER_INFERENCE_OUTPUT"), _REGRESSION_OUTPUTS, "a regression model")
        return ["score"]
    asked = _listed(environment, "SAGEMAKER_INFERENCE_OUTPUT") or ["predicted_label"]
    _refuse_unknown(asked, hosting.OUTPUTS, "a classification model")
    supported = _listed(environment, "SAGEMAKER_INFERENCE_SUPPORTED") or hosting.OUTPUTS
    _refuse_unknown(asked, supported, "a container with this SAGEMAKER_INFERENCE_SUPPORTED")
    return asked


def default_accept(environment: Mapping[str, str]) -> str:
    """The format of answers to requests that ask for none; `ConfigurationError` if it can't be written."""
    name = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip() or CSV
    try:
        return accepted(name, CSV)
    except CodecError as error:
        raise ConfigurationError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error.message}") from error


def accepted(accept: str | None, default: str) -> str:
    """The format that an Accept header asks for: the first one, by its own weights, that can be written; else 406."""
    if accept is None or not accept.strip():
        return default
    wishes = sorted((_media_type(part) for part in accept.split(",")), key=lambda wish: -_weight(wish[1]))
    for name, _ in wishes:
        if name in ("*/*", "application/*", "text/*"):
            return default if name == "*/*" else {"application/*": JSON, "text/*": CSV}[name]
        if name in _ENCODERS:
            return name
    raise CodecError(406, f"Accept type '{accept}' is not supported. Supported: {', '.join(_ENCODERS)}.")


def decode(body: bytes, content_type: str | None, columns: Sequence[str]) -> Rows:
    """The rows in a request, each with one cell per column, in the columns' order.

    CSV has no header, unless the content type says header=present; then its columns may be in any order, and more.

    `CodecError`: 415 for another format, 400 for what isn't in that format, is empty, or has other columns.
    """
    name, parameters = _media_type(content_type or CSV)
    if name not in _DECODERS:
        supported = ", ".join(_DECODERS)
        raise CodecError(415, f"Content type '{content_type}' is not supported. Supported: {supported}.")
    rows = _DECODERS[name](_text(body, parameters.get("charset", "utf-8")), columns)
    if name == CSV and rows:
        rows = _without_header(rows, columns, parameters.get("header") == "present")
    if not rows:
        raise CodecError(400, f"The request holds no rows. Send at least one row of {len(columns)} columns.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise CodecError(400, _column_count(len(columns), len(row), number))
    return rows


def encode(predicted: Predicted, members: Sequence[str], classes: Sequence[str] | None, accept: str) -> bytes:
    """The answer in the format that `accepted` gave, with the members of each row that `outputs` gave."""
    if predicted.labels is None:
        return _ENCODERS[accept](members, [[float(value)] for value in predicted.values])
    return _ENCODERS[accept](members, list(_cells(predicted, members, list(classes or []))))


def _without_header(rows: Rows, columns: Sequence[str], announced: bool) -> Rows:
    header = rows[0]
    if announced:
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


def _cells(predicted: Predicted, members: Sequence[str], classes: list[str]) -> Iterable[list[Any]]:
    index = {label: i for i, label in enumerate(classes)}
    for label, row in zip(predicted.labels or (), predicted.probabilities.tolist(), strict=True):
        answer = {"predicted_label": label, "probability": row[index[label]], "probabilities": row, "labels": classes}
        yield [answer[member] for member in members]


def _to_csv(members: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:  # noqa: ARG001
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def _to_json(members: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    return _dumps({"predictions": [_object(members, row) for row in rows]})


def _to_json_lines(members: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    return b"".join(_dumps(_object(members, row)) + b"\n" for row in rows)


def _object(members: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    finite = (None if isinstance(value, float) and not math.isfinite(value) else value for value in row)
    return dict(zip(members, finite, strict=True))


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _from_csv(text: str, columns: Sequence[str]) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise CodecError(400, f"The request is not valid CSV: {error} (line {reader.line_num}).") from error
    return [row for row in rows if row and (len(row) > 1 or len(columns) == 1 or row[0].strip())]


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


def _text(body: bytes, charset: str) -> str:
    encoding = "utf-8-sig" if charset.lower() in ("utf-8", "utf8") else charset
    try:
        return body.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise CodecError(400, f"The request is not {charset} text: {error}.") from error


def _media_type(header: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = header.strip()
    parameters = {str(key).lower(): str(value) for key, value in message.get_params(failobj=[])[1:]}
    name = header.split(";", 1)[0].strip().lower()
    return _ALIASES.get(name, name), parameters


def _weight(parameters: Mapping[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


def _listed(environment: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in environment.get(name, "").split(",") if part.strip()]


def _refuse_unknown(asked: Iterable[str], known: Sequence[str], giver: str) -> None:
    for member in asked:
        if member not in known:
            raise ConfigurationError(
                f"SAGEMAKER_INFERENCE_OUTPUT asks for {member!r}, which {giver} does not give. "
                f"It gives {', '.join(known)}."
            )


_DECODERS: dict[str, Callable[[str, Sequence[str]], Rows]] = {
    CSV: _from_csv,
    JSON: _from_json,
    JSON_LINES: _from_json_lines,
}
_ENCODERS: dict[str, Callable[[Sequence[str], Sequence[Sequence[Any]]], bytes]] = {
    CSV: _to_csv,
    JSON: _to_json,
    JSON_LINES: _to_json_lines,
}
