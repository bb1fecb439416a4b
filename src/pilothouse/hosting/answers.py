"""Answers: for each row the members that were asked for, as they are written, and as a next container reads them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.errors import ConfigurationError
from pilothouse.hosting import media
from pilothouse.hosting.media import CSV, JSON, JSON_LINES, CodecError

LABEL, PROBABILITY, PROBABILITIES, LABELS = "predicted_label", "probability", "probabilities", "labels"
SCORE = "score"


@dataclass(frozen=True)
class Answers:
    """`members` names the cells of each of `rows`: texts, numbers, and lists of them."""

    members: Sequence[str]
    rows: list[list[Any]]


def outputs(environment: Mapping[str, str], known: Sequence[str], giver: str) -> list[str]:
    """The members of an answer, in order, as the container's environment asks (SAGEMAKER_INFERENCE_OUTPUT).

    `ConfigurationError` names a member that is none of `known`, which `giver` gives, or that
    SAGEMAKER_INFERENCE_SUPPORTED leaves out.
    """
    asked = _listed(environment, "SAGEMAKER_INFERENCE_OUTPUT") or [LABEL]
    _refuse_unknown(asked, known, giver)
    supported = _listed(environment, "SAGEMAKER_INFERENCE_SUPPORTED") or known
    _refuse_unknown(asked, supported, "a container with this SAGEMAKER_INFERENCE_SUPPORTED")
    return asked


def regression_outputs(environment: Mapping[str, str]) -> list[str]:
    """The one member of a regression model's answers; `ConfigurationError` if the environment asks for others."""
    _refuse_unknown(_listed(environment, "SAGEMAKER_INFERENCE_OUTPUT"), (LABEL, SCORE), "a regression model")
    return [SCORE]


def inputs(environment: Mapping[str, str]) -> list[str]:
    """The members that a container receives (SAGEMAKER_INFERENCE_INPUT), in the order of its columns.

    `ConfigurationError` names one that no container hands on.
    """
    received = _listed(environment, "SAGEMAKER_INFERENCE_INPUT") or [LABEL]
    for member in received:
        if member not in HANDED_ON:
            raise ConfigurationError(
                f"SAGEMAKER_INFERENCE_INPUT names {member!r}, which no container hands on. "
                f"They hand on {', '.join(HANDED_ON)}."
            )
    return received


def encode(answers: Answers, accept: str) -> bytes:
    """The answers in one of `FORMATS`."""
    return _ENCODERS[accept](answers)


def decode(body: bytes, content_type: str | None, members: Sequence[str], classes: int) -> Answers:
    """What another container answered of `classes` classes, in CSV: a column for each of `members`.

    `CodecError`: 415 for another format, 400 for other columns, or a cell that isn't what its member is.
    """
    _, parameters = media.of_request(content_type, (CSV,))
    rows = media.csv_rows(media.as_text(body, parameters))
    if not rows:
        raise CodecError(400, "The request holds no rows.")
    return Answers(members, [_cells(row, number, members, classes) for number, row in enumerate(rows, start=1)])


def _cells(row: Sequence[str], number: int, members: Sequence[str], classes: int) -> list[Any]:
    if len(row) != len(members):
        raise CodecError(400, f"Row {number} has {len(row)} columns instead of {len(members)}: {', '.join(members)}.")
    try:
        return [_CELLS[member](text, classes) for member, text in zip(members, row, strict=True)]
    except ValueError as error:
        raise CodecError(400, f"Row {number} is not {', '.join(members)} of {classes} classes: {error}.") from error


def _class_number(text: str, classes: int) -> int:
    number = float(text)
    if number not in range(classes):
        raise ValueError(f"there is no class number {text}")
    return int(number)


def _number(text: str, classes: int) -> float:  # noqa: ARG001
    return float(text)


def _numbers(text: str, classes: int) -> list[float]:
    numbers = [float(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
    if len(numbers) != classes:
        raise ValueError(f"there are {len(numbers)} probabilities")
    return numbers


def _to_csv(answers: Answers) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(answers.rows)
    return stream.getvalue().encode()


def _to_json(answers: Answers) -> bytes:
    return _dumps({"predictions": [_object(answers.members, row) for row in answers.rows]})


def _to_json_lines(answers: Answers) -> bytes:
    return b"".join(_dumps(_object(answers.members, row)) + b"\n" for row in answers.rows)


def _object(members: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    finite = (None if isinstance(value, float) and not math.isfinite(value) else value for value in row)
    return dict(zip(members, finite, strict=True))


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _listed(environment: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in environment.get(name, "").split(",") if part.strip()]


def _refuse_unknown(asked: Iterable[str], known: Sequence[str], giver: str) -> None:
    for member in asked:
        if member not in known:
            raise ConfigurationError(
                f"SAGEMAKER_INFERENCE_OUTPUT asks for {member!r}, which {giver} does not give. "
                f"It gives {', '.join(known)}."
            )


_CELLS: dict[str, Callable[[str, int], Any]] = {
    LABEL: _class_number,
    PROBABILITY: _number,
    PROBABILITIES: _numbers,
}
HANDED_ON = tuple(_CELLS)
"""The members that a container can take from the one before it."""

_ENCODERS: dict[str, Callable[[Answers], bytes]] = {CSV: _to_csv, JSON: _to_json, JSON_LINES: _to_json_lines}
FORMATS = tuple(_ENCODERS)
"""The formats that answers are written in."""
