"""The header of a delimited text file, and its delimiter, told from its first bytes."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pilothouse.errors import DataError

DELIMITERS = ",\t;|"
"""The first is the one of files that do not show another."""

LARGEST = 8 << 20
"""Bytes of a header; a longer one is taken for a file that is not CSV."""

_SAMPLED = 20
"""Rows below the header that must have as many cells."""


def _record(delimiter: str) -> re.Pattern[bytes]:
    """A record with its line end: one inside quotes does not count. It never backtracks, so time grows with length."""
    cell = rf'(?:"(?:[^"]++|"")*+"|(?!"))[^{re.escape(delimiter)}\r\n]*+'
    return re.compile(rf"(?:{cell}{re.escape(delimiter)})*+{cell}(?:\r\n?|\n)".encode())


_RECORDS = {delimiter: _record(delimiter) for delimiter in DELIMITERS}


@dataclass(frozen=True)
class Header:
    """The first record that is not blank: its cells as they stand, none in a blank file. At `end` the rest begins."""

    fields: list[str]
    delimiter: str
    end: int


def told(content: bytes, ended: bool, uri: str, delimiter: str | None = None) -> Header | None:
    """The header of a file that begins with `content`, in UTF-8, and is that if `ended`; None if it is too little.

    The delimiter, unless given, is the one that makes most cells of the header and as many of the rows below.
    `DataError` for what is no CSV text.
    """
    begin = len(content) - len(content.lstrip(b"\r\n"))
    if delimiter is None:
        delimiter = _delimiter(content[begin:].decode("utf-8", "replace"), ended)
    record = _RECORDS[delimiter].match(content, begin)
    if record is None and not ended:
        return None
    end = len(content) if record is None else record.end()
    return Header(_fields(content[begin:end], delimiter, uri), delimiter, end)


def names(fields: Sequence[str]) -> list[str]:
    """A name of its own for each column of a header, such as pandas gives: a column without one is "Unnamed: 0" by its
    position, the second "a" is "a.1"."""
    given, taken, used = set(fields), set[str](), Counter[str]()
    made = []
    for position, field in enumerate(fields):
        name = base = field if field.strip() else f"Unnamed: {position}"
        while name in taken or (name != field and name in given):
            used[base] += 1
            name = f"{base}.{used[base]}"
        taken.add(name)
        made.append(name)
    return made


def _delimiter(text: str, ended: bool) -> str:
    return max(DELIMITERS, key=lambda delimiter: _fit(text, delimiter, ended))


def _fit(text: str, delimiter: str, ended: bool) -> tuple[bool, int]:
    """Whether header and first rows have equally many cells, more than one; and how many the header has."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = list(islice(reader, _SAMPLED + 1))
    except csv.Error:
        return False, 0
    if not ended and len(rows) <= _SAMPLED:
        rows = rows[:-1]  # it may be cut off
    widths = [len(row) for row in rows if row]
    return (len(set(widths)) == 1 and widths[0] > 1), max(widths[:1], default=0)


def _fields(record: bytes, delimiter: str, uri: str) -> list[str]:
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{uri} is not UTF-8 text. Save it as UTF-8 CSV, or correct ContentType.") from error
    if "\x00" in text:
        raise DataError(f"{uri} is not a CSV text file. Save it as UTF-8 CSV, or correct ContentType.")
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(
            f"The first line of {uri} can't be read as CSV ({error}). "
            "Give the file a header line, and close every quote."
        ) from error
