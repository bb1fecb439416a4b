"""What DataProcessing does with lines, or with whole documents: a filter before the model, the join behind it, and a
filter of the result. Then each gets the inference id that DataCaptureConfig asks for.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pilothouse.catalog.json_path import JsonPath
from pilothouse.catalog.transform_jobs import CSV, JSON, TransformJob
from pilothouse.errors import DataError
from pilothouse.hosting import media

_INPUT, _OUTPUT = "SageMakerInput", "SageMakerOutput"
_UTF8 = "utf-8"
_ID, _TIME = "SageMakerInferenceId", "SageMakerInferenceTime"


class Processing:
    """The filters and the join of a job, on the records of one request and those of its answer.

    `started` is the time of the job's start in epoch seconds, which goes with inference ids.
    """

    def __init__(self, job: TransformJob, started: float = 0.0) -> None:
        self._input, self._output = JsonPath.parse(job.input_filter), JsonPath.parse(job.output_filter)
        self._rows_in, self._rows_out = job.rows_in, job.rows_out
        self._charset = job.charset
        self._join = job.join
        self._with_ids = job.with_ids
        self._started = f"{datetime.fromtimestamp(started, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def request(self, records: Sequence[bytes]) -> bytes:
        """The body that the model gets for `records`."""
        if self._input.everything:
            return b"".join(records)
        found = (_found(self._input, self._asked(record)) for record in records)
        return _written(found, self._rows_in, self._charset or _UTF8)

    def answer(self, records: Sequence[bytes], answer: bytes) -> bytes:
        """What is kept of the model's `answer` to `records`; `DataError` if it has not a line for each of them."""
        if not self._output.everything or self._join:
            documents = self._processed(records, answer)
        elif self._with_ids:
            documents = self._documents(answer)
        else:
            return answer
        if self._with_ids:
            documents = map(self._identified, documents)
        return _written(documents, self._rows_out)

    def _documents(self, answer: bytes) -> Iterator[Any]:
        """The rows or documents of an answer, however many there are."""
        if self._rows_out == CSV:
            yield from filter(None, csv.reader(io.StringIO(answer.decode(), newline="")))
        else:
            lines = [answer] if self._rows_out == JSON else filter(bytes.strip, answer.split(b"\n"))
            yield from (_parsed(line, self._rows_out) for line in lines)

    def _identified(self, document: Any) -> Any:
        added = {_ID: str(uuid.uuid4()), _TIME: self._started}
        if self._rows_out == CSV:
            return [*(document if isinstance(document, list) else [document]), *added.values()]
        return {**(document if isinstance(document, dict) else {_OUTPUT: document}), **added}

    def _processed(self, records: Sequence[bytes], answer: bytes) -> Iterator[Any]:
        """The filtered and joined documents, one for each record."""
        answers = list(self._documents(answer))
        if len(answers) != len(records):
            raise DataError(
                f"The model answered {len(answers)} lines to {len(records)} records, and they can only be joined or "
                "filtered line by line."
            )
        for record, given in zip(records, answers, strict=True):
            yield _found(self._output, self._kept(record, given))

    def _kept(self, record: bytes, given: Any) -> Any:
        if not self._join:
            return given
        asked = self._asked(record)
        if self._rows_in == CSV:
            return [*asked, *given]
        return {**asked, _OUTPUT: given} if isinstance(asked, dict) else {_INPUT: asked, _OUTPUT: given}

    def _asked(self, record: bytes) -> Any:
        return _parsed(record, self._rows_in, self._charset)


def _found(path: JsonPath, document: Any) -> Any:
    try:
        return path.find(document)
    except LookupError as error:
        raise DataError(f"A record does not have what a filter asks for: {error}.") from error


def _parsed(line: bytes, rows: str | None, charset: str | None = _UTF8) -> Any:
    try:
        text = media.decoded(line, charset)
        return next(csv.reader([text], strict=True)) if rows == CSV else json.loads(text)
    except (ValueError, LookupError, csv.Error, RecursionError) as error:
        advice = "" if rows == JSON else " A record must not go over several lines."
        raise DataError(f"A record is not {rows}: {error}.{advice}") from error


def _written(documents: Iterable[Any], rows: str | None, charset: str = _UTF8) -> bytes:
    if rows != CSV:
        escaped = charset != _UTF8  # else only halves of surrogate pairs are, in the form that JSON has for them
        lines = (f"{json.dumps(document, ensure_ascii=escaped)}\n" for document in documents)
        return "".join(lines).encode(charset, "backslashreplace")
    stream = io.StringIO(newline="")
    listed = (document if isinstance(document, list) else [document] for document in documents)
    csv.writer(stream, lineterminator="\n").writerows(listed)
    return stream.getvalue().encode(charset)
