"""Profile: what each input column holds, told from its values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data import dates, numbers, render, written
from pilothouse.data.markers import is_missing

Array = npt.NDArray[Any]
ColumnType = Literal["numeric", "categorical", "text", "datetime", "sequence", "ignored"]

SAMPLE_ROWS = 20_000
NUMBER_SHARE = DATE_SHARE = 0.95
"""Share of the values present that must parse for a column to be numeric, or datetime."""
MARKER_WORDS = 3
"""A column of many numbers may hold up to this many other words ("tbd"), which then count as missing."""
TEXT_WORDS, TEXT_DISTINCT, TEXT_SHARE = 3.0, 30, 0.3
IDENTIFIER_LENGTH = 64

_DATES_TRIED = 2_000


@dataclass(frozen=True)
class Column:
    """An input column. `reason` says why it has its type. `missing` is a share of, and `distinct` a number of
    values among, the `rows` that were looked at."""

    name: str
    type: ColumnType
    reason: str
    missing: float
    distinct: int
    rows: int


@dataclass(frozen=True)
class _Evidence:
    """The distinct values present in a sample, how often each occurs, and how many rows were sampled."""

    texts: list[str]
    counts: list[int]
    rows: int

    @property
    def present(self) -> int:
        return sum(self.counts)

    @property
    def missing(self) -> float:
        return 1 - self.present / max(1, self.rows)

    @property
    def mean_words(self) -> float:
        return sum(len(t.split()) * n for t, n in zip(self.texts, self.counts, strict=True)) / max(1, self.present)


def profile(
    table: pa.Table,
    exclude: Collection[str] = (),
    types: Mapping[str, ColumnType] | None = None,
    only: Collection[str] | None = None,
    total: int | None = None,
) -> list[Column]:
    """The input columns of `table`: all but those in `exclude`, in the table's order.

    `types` (a user's word) overrules the evidence. Columns that are not in `only`, if it is given, are ignored.
    Large tables are judged by `SAMPLE_ROWS` rows spread over them, with a fixed seed. `total` is how many rows there
    are where those of `table` are but some of them, in their order.
    """
    rows = _sampled_rows(table.num_rows)
    total = table.num_rows if total is None else total
    columns = []
    for name in table.column_names:
        if name in exclude:
            continue
        if only is not None and name not in only:
            columns.append(Column(name, "ignored", "not among the requested features", 0.0, 0, 0))
        else:
            columns.append(_profiled(name, table[name], rows, (types or {}).get(name), total))
    return columns


def _sampled_rows(total: int) -> Array | None:
    if total <= 2 * SAMPLE_ROWS:
        return None
    return np.sort(np.random.default_rng(0).choice(total, SAMPLE_ROWS, replace=False))


def _profiled(name: str, values: pa.ChunkedArray, rows: Array | None, given: ColumnType | None, total: int) -> Column:
    if pa.types.is_nested(values.type):
        return Column(name, "ignored", "its values are nested; flatten them into columns to use them", 0.0, 0, 0)
    sample = render.chunk(values if rows is None else values.take(rows))
    evidence = _evidence(sample)
    kind, reason = (given, "given in the feature specification") if given else _judged(sample, evidence, values, total)
    return Column(name, kind, reason, round(evidence.missing, 6), len(evidence.texts), evidence.rows)


def _evidence(sample: pa.Array) -> _Evidence:
    counted = pc.value_counts(render.texts(sample))
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    present = [(text, count) for text, count in pairs if not is_missing(text)]
    return _Evidence([text for text, _ in present], [count for _, count in present], len(sample))


def _judged(sample: pa.Array, evidence: _Evidence, values: pa.ChunkedArray, total: int) -> tuple[ColumnType, str]:
    if len(evidence.texts) < 2:
        useless = _useless(evidence, values)
        if useless is not None:
            return "ignored", useless
    if _share_of(dates.is_in_digits, evidence) >= DATE_SHARE:
        return "datetime", "its values are dates written as numbers"
    if not pa.types.is_string(sample.type):
        return _numeric(values, "stored as numbers", total)
    reason = _number_reason(evidence)
    if reason is not None:
        return _numeric(values, reason, total)
    if _share_of(dates.is_date, evidence) >= DATE_SHARE:
        return "datetime", "its values are dates"
    return _words(evidence)


def _useless(evidence: _Evidence, values: pa.ChunkedArray) -> str | None:
    # The sample may have missed the rare other value, so the whole column is asked before it is given up.
    whole = evidence if evidence.rows == len(values) else _evidence(render.chunk(values))
    if not whole.texts:
        return "all values are missing"
    if len(whole.texts) == 1 and whole.missing == 0:
        return "all values are the same"
    return None


def _number_reason(evidence: _Evidence) -> str | None:
    parsed = list(zip(evidence.texts, written.parse_all(evidence.texts)[0], evidence.counts, strict=True))
    found = [n for _, value, n in parsed if value == value]
    words = [n for text, value, n in parsed if value != value and not numbers.is_infinite(text)]
    share = sum(found) / max(1, sum(found) + sum(words))
    if share >= NUMBER_SHARE:
        return "its values are numbers"
    if share >= 0.5 and len(words) <= MARKER_WORDS and len(found) > 20:
        return "its values are numbers, but for a few words that are taken as missing"
    return None


def _numeric(values: pa.ChunkedArray, reason: str, total: int) -> tuple[ColumnType, str]:
    if _numbers_the_rows(values, total):
        return "ignored", "it only numbers the rows"
    return "numeric", reason


def _numbers_the_rows(values: pa.ChunkedArray, total: int) -> bool:
    """Whether the values are those that a column of row numbers has in some of `total` rows."""
    if len(values) < 3:
        return False
    if not _are_row_numbers(numbers.as_float64(render.chunk(values.slice(0, 1000))), total):
        return False
    return _are_row_numbers(numbers.as_float64(render.chunk(values)), total)


def _are_row_numbers(sequence: Array, total: int) -> bool:
    within = sequence[0] >= 0 and sequence[-1] <= total
    return bool(within and (np.diff(sequence) >= 1).all() and (sequence == np.floor(sequence)).all())


def _share_of(fits: Callable[[str], bool], evidence: _Evidence) -> float:
    texts, counts = evidence.texts[:_DATES_TRIED], evidence.counts[:_DATES_TRIED]
    found = sum(count for text, count in zip(texts, counts, strict=True) if fits(text))
    return found / max(1, sum(counts))


def _words(evidence: _Evidence) -> tuple[ColumnType, str]:
    distinct, share = len(evidence.texts), len(evidence.texts) / max(1, evidence.present)
    if evidence.mean_words >= TEXT_WORDS and distinct >= TEXT_DISTINCT and share >= TEXT_SHARE:
        return "text", "its values are mostly different and have several words"
    if share == 1 and distinct >= TEXT_DISTINCT:
        longest = max(map(len, evidence.texts))
        if longest <= IDENTIFIER_LENGTH:
            return "ignored", "every row has a value of its own, like an identifier"
        return "text", "its values are long and all different"
    return "categorical", f"{distinct} different values"
