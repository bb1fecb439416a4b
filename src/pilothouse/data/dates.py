"""Dates and times written as text: ISO 8601 and the common national forms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

PARTS = ("epoch", "year", "month", "day", "weekday", "hour")
"""What is made of a moment: seconds since 1970 in UTC, then the written calendar; Monday is 0."""

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        1,
    )
}
_EPOCH = datetime(1970, 1, 1)
_NOTHING = (math.nan,) * len(PARTS)
_TIME = (
    r"(?:(?:T|:|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
_FORMS = tuple(
    re.compile(form + _TIME, re.ASCII)
    for form in (
        r"(?P<year>\d{4})(?P<separator>[-/.])(?P<month>\d{1,2})(?:(?P=separator)(?P<day>\d{1,2}))?",
        r"(?P<first>\d{1,2})(?P<separator>[-/])(?P<second_>\d{1,2})(?P=separator)(?P<year>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4}|\d{2})",
        r"(?:[A-Za-z]{3,9},?\s+)?(?P<day>\d{1,2})(?:\s+|[-/])(?P<name>[A-Za-z]{3,9})\.?(?:,?\s+|[-/])"
        r"(?P<year>\d{4}|\d{2})",
        r"(?:[A-Za-z]{3,9},?\s+)?(?P<name>[A-Za-z]{3,9})\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:\.0)?",
        # Without a day codes look like dates, such as NOVA-1001, but for a month's own name and a likely year.
        r"(?P<name>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
        r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?(?:,?\s+|-)(?P<year>(?:1[89]|20)\d{2})",
    )
)
_DAY_OR_MONTH = _FORMS[1]
_INSTANT = re.compile(r"(?P<whole>\d{9,10}|\d{13})(?:\.\d{1,9})?", re.ASCII)
_IN_DIGITS = re.compile(r"(?:\d{8}|\d{10}|\d{13})(?:\.0)?", re.ASCII)


def parse(text: str, day_first: bool = False) -> tuple[float, ...]:
    """The `PARTS` of the moment that `text` names, all NaN if it names none.

    `day_first` decides 3/4/2020; an impossible month is read as the day whatever it says. Two-digit years lie in
    1969..2068. Bare digits are YYYYMMDD, or seconds (9 or 10 digits) or milliseconds (13) since 1970.
    """
    text = text.strip()
    instant = _INSTANT.fullmatch(text)
    if instant is not None:
        return _parts(_EPOCH + timedelta(seconds=float(text) / (1000 if len(instant["whole"]) == 13 else 1)), 0.0)
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _moment(match.groupdict(), day_first)
    return _NOTHING


def is_date(text: str) -> bool:
    """Whether `text` names a date."""
    return not math.isnan(parse(text)[0])


def is_in_digits(text: str) -> bool:
    """Whether `text` is a number that is likely a date: YYYYMMDD from 1900 to 2099, seconds or milliseconds since 1970
    from September 2001, when they had ten digits, to 2049."""
    text = text.strip()
    if _IN_DIGITS.fullmatch(text) is None:
        return False
    year = parse(text)[1]
    return 1900 <= year < 2100 if len(text.removesuffix(".0")) == 8 else 2001 <= year < 2050


def writes_day_first(texts: Iterable[str]) -> bool:
    """Whether dates such as 13/2/2020 among `texts` show that the day comes before the month."""
    shown = False
    for text in texts:
        match = _DAY_OR_MONTH.fullmatch(text.strip())
        if match is not None:
            if int(match["second_"]) > 12:
                return False
            shown |= int(match["first"]) > 12
    return shown


def _moment(fields: dict[str, str | None], day_first: bool) -> tuple[float, ...]:
    try:
        year, month, day = _calendar(fields, day_first)
        hour = _hour(int(fields["hour"] or 0), fields["half"])
        second, fraction = int(fields["second"] or 0), float(f"0.{fields['fraction'] or 0}")
        written = datetime(year, month, day, hour, int(fields["minute"] or 0), min(second, 59))
        return _parts(written, fraction - _offset(fields["zone"]))
    except (ValueError, OverflowError):
        return _NOTHING


def _calendar(fields: dict[str, str | None], day_first: bool) -> tuple[int, int, int]:
    year = _year(fields["year"] or "")
    if "name" in fields:
        return year, _MONTHS.get((fields["name"] or "")[:3].lower(), 0), int(fields.get("day") or 1)
    if "first" not in fields:
        return year, int(fields["month"] or 0), int(fields["day"] or 1)
    month, day = int(fields["first"] or 0), int(fields["second_"] or 0)
    if (day_first and day <= 12) or month > 12:
        month, day = day, month
    return year, month, day


def _year(text: str) -> int:
    return int(text) if len(text) == 4 else int(text) + (2000 if int(text) < 69 else 1900)


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    return hour % 12 + (12 if half.lower() == "pm" else 0)


def _offset(zone: str | None) -> float:
    if zone is None or zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "")
    return (int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60) * (1 if zone[0] == "+" else -1)


def _parts(written: datetime, shift: float) -> tuple[float, ...]:
    epoch = (written - _EPOCH).total_seconds() + shift
    return (epoch, written.year, written.month, written.day, written.weekday(), written.hour)


class DateEncoder:
    """The parts of a moment as numbers, those that vary in the training rows; NaN where there is no date."""

    def __init__(self, column: str, parts: list[str], day_first: bool) -> None:
        self.parts = parts
        self.day_first = day_first
        self.names = [f"{column}:{part}" for part in parts]
        self.cardinality: int | None = None
        self._positions = [PARTS.index(part) for part in parts]

    @classmethod
    def fit(cls, column: str, distinct: Sequence[str]) -> DateEncoder:
        """Learn the order of day and month, and which parts vary, from the distinct training texts."""
        day_first = writes_day_first(distinct)
        moments = (parse(text, day_first) for text in distinct)
        known = (moment for moment in moments if not math.isnan(moment[0]))
        first, varying = next(known, _NOTHING), set[int]()
        for moment in known:
            varying.update(i for i, part in enumerate(moment) if part != first[i])
            if len(varying) == len(PARTS):
                break
        return cls(column, [PARTS[i] for i in sorted(varying)] or ["epoch"], day_first)

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """The numbers of each text, in the order of `names`."""
        moments = np.array([parse(text, self.day_first) for text in texts], np.float64).reshape(-1, len(PARTS))
        return moments[:, self._positions].astype(np.float32), None

    def read(self, text: str, numbers: list[float], _codes: list[int]) -> None:
        """Append the numbers of one text."""
        moment = parse(text, self.day_first)
        numbers.extend(moment[position] for position in self._positions)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `restore` needs: JSON and arrays."""
        return {"parts": self.parts, "day_first": self.day_first}, {}

    @classmethod
    def restore(cls, column: str, state: dict[str, Any], _arrays: dict[str, npt.NDArray[Any]]) -> DateEncoder:
        """The encoder that `state` described."""
        return cls(column, state["parts"], state["day_first"])
