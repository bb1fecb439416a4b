"""Resolve: from a target column to a problem type, its classes, and the objective.

The rule, where the request names no problem type (numbers are what `data.written` parses):
  * two different labels: BinaryClassification;
  * at least 95 % numbers: Regression, unless they are at most 20 different integers with 10 or more rows each on
    average: MulticlassClassification;
  * other labels: MulticlassClassification, unless there are so many that they look like free text or a key.
Classes are sorted as numbers if all are, else as text; the later of two is the positive one (0/1, no/yes, False/True).
Spellings of one number are one class, "$1,000" and "1000" say, if all labels are numbers. Beside words numbers may be
codes such as 007 and 1E2, so there only "1" and "1.0" are one.
Words such as NA and None are classes, unless all other labels are numbers, or true and false, or unless the request
wants two classes and there are two others.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.catalog.metrics import BINARY, DEFAULT_OBJECTIVE, MULTICLASS, REGRESSION, objectives
from pilothouse.data import render, written
from pilothouse.data.categories import whole
from pilothouse.data.markers import is_missing
from pilothouse.errors import DataError

NUMBER_SHARE = 0.95
INTEGER_CLASSES, ROWS_A_CLASS = 20, 10
FREE_CLASSES = 100
"""So many text labels are always accepted as classes; more only with `ROWS_A_CLASS` rows each on average."""
MAX_CLASSES, LEAST_ROWS_A_CLASS = 2000, 2
"""More classes, or classes of fewer rows on average, are refused."""

MOST_LABELS, _MOST_LATE = 200_000, 2_000

Meaning = Callable[[str], Any]
"""What labels of one class have in common."""

_BLANK = ("", "nan")
_BOOLEANS = {"false", "true"}
_WHOLE = re.compile("[+-]?[0-9]{1,300}")


@dataclass(frozen=True)
class Resolved:
    """`classes`: label texts in order, None for regression. `index`: the class of each `meaning` that a label has. The
    meaning of a regression target is its number."""

    problem_type: str
    metric: str
    classes: list[str] | None
    index: dict[Any, int]
    meaning: Meaning

    def targets(self, column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
        """The target of each row as float64, a class index or a value; NaN where there is none that is known."""
        distinct = labels(column).dictionary_encode()
        values = np.array([self._target(text) for text in distinct.dictionary.to_pylist()], np.float64)
        rows: npt.NDArray[np.int32] = distinct.indices.to_numpy(zero_copy_only=False)
        return values[rows]

    def _target(self, text: str) -> float:
        meaning = self.meaning(text)
        return float(meaning if self.classes is None else self.index.get(meaning, np.nan))


def labels(column: pa.ChunkedArray) -> pa.Array:
    """The target of each row as text without blanks around it; a missing one is "".

    Only blank, null and NaN are missing in a target: words such as None or NA may well be classes.
    """
    texts = pc.utf8_trim_whitespace(render.texts(render.chunk(column)))
    missing = pc.is_in(pc.ascii_lower(texts), value_set=pa.array(_BLANK))
    return pc.if_else(missing, "", texts)


def resolve(column: pa.ChunkedArray, problem_type: str | None = None, metric: str | None = None) -> Resolved:
    """What the training target asks for. `DataError` says what to change if it can't be learnt, or the metric does not
    fit."""
    return resolve_counts(count([column]), problem_type, metric)


def resolve_counts(counts: Counter[str], problem_type: str | None = None, metric: str | None = None) -> Resolved:
    """The same from how often each label occurs."""
    counts = _without_markers(counts, problem_type)
    if len(counts) < 2:
        held = f"only the value {next(iter(counts))!r}" if counts else "no values"
        raise DataError(f"The target column has {held}. Training needs at least two different ones.")
    kind = problem_type or infer(counts)
    if kind == REGRESSION:
        number = partial(written.parse, comma=_check_numbers(counts))
        return Resolved(kind, _objective(kind, metric), None, {}, number)
    classes, index, meaning = _classes(counts)
    _check_classes(kind, classes, counts)
    return Resolved(kind, _objective(kind, metric), classes, index, meaning)


def infer(counts: Counter[str]) -> str:
    """The problem type for these labels by the rule above; `DataError` asks for ProblemType when unsure."""
    rows = sum(counts.values())
    values = dict(zip(counts, written.parse_all(list(counts))[0], strict=True))
    found = {value for value in values.values() if value == value}
    if len(_classes(counts)[0]) == 2:
        return BINARY
    if sum(counts[text] for text, value in values.items() if value == value) >= NUMBER_SHARE * rows:
        few = len(found) <= INTEGER_CLASSES and rows >= ROWS_A_CLASS * len(found)
        return MULTICLASS if few and all(value.is_integer() for value in found) else REGRESSION
    if len(counts) > FREE_CLASSES and rows < ROWS_A_CLASS * len(counts):
        raise DataError(
            f"The problem type cannot be told from the target column: it has {len(counts)} different labels in "
            f"{rows} rows. Set ProblemType (and its objective metric), or choose another target column."
        )
    return MULTICLASS


def count(columns: Iterable[pa.ChunkedArray]) -> Counter[str]:
    """How often each label occurs in the parts of a target column.

    So many as `MOST_LABELS` are no classes: behind them only labels with commas are counted, which tell where decimals
    come, and not many of them.
    """
    counts: Counter[str] = Counter()
    late = 0
    for column in columns:
        if len(counts) - late > MOST_LABELS:
            found = _with_commas(column)
            late += len(found.keys() - counts.keys())
        else:
            found = _counted(labels(column))
        counts.update(found)
        if late > _MOST_LATE:
            break
    return counts


def _with_commas(column: pa.ChunkedArray) -> Counter[str]:
    if not pa.types.is_string(column.type):
        return Counter()
    return _counted(labels(column.filter(pc.match_substring(column, ","))))


def _counted(texts: pa.Array) -> Counter[str]:
    counted = pc.value_counts(texts)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return Counter({text: number for text, number in pairs if text})


def _without_markers(counts: Counter[str], kind: str | None) -> Counter[str]:
    """The labels without those words that say that there is none, where the others show that they do."""
    rest = Counter({text: number for text, number in counts.items() if not is_missing(text)})
    if len(rest) == len(counts) or len(rest) < 2:
        return counts
    plain = all(value == value for value in written.parse_all(list(rest))[0]) or _are_booleans(rest)
    return rest if plain or (kind == BINARY and len(_classes(rest)[0]) == 2) else counts


def _are_booleans(texts: Iterable[str]) -> bool:
    return all(text.lower() in _BOOLEANS for text in texts)


def _classes(counts: Counter[str]) -> tuple[list[str], dict[Any, int], Meaning]:
    """Labels in order, each as most rows write it; the class of each meaning; and how a label's meaning is told."""
    meaning = _meaning(counts)
    spellings: defaultdict[Any, list[str]] = defaultdict(list)
    for text in counts:
        spellings[meaning(text)].append(text)
    commonest = {value: max(sorted(group), key=counts.__getitem__) for value, group in spellings.items()}
    ordered = sorted(commonest, key=commonest.__getitem__ if meaning is whole else None)
    return [commonest[value] for value in ordered], {value: i for i, value in enumerate(ordered)}, meaning


def _meaning(texts: Collection[str]) -> Meaning:
    """The number that a label is as people write it, if all are; true or false, if all are; else its text."""
    values, comma = written.parse_all(list(texts))
    if all(value == value for value in values):
        return partial(_number, comma=comma)
    return str.lower if _are_booleans(texts) else whole


def _number(text: str, comma: bool) -> float:
    """The number that a text spells: a whole one digit by digit, as keys may be longer than floats are exact."""
    return int(text) if _WHOLE.fullmatch(text) else written.parse(text, comma)


def _check_numbers(counts: Counter[str]) -> bool:
    """Whether their decimals come behind a comma."""
    values, comma = written.parse_all(list(counts))
    parsed = list(zip(values, counts.values(), strict=True))
    share = sum(n for value, n in parsed if value == value) / sum(counts.values())
    if share < 0.5:
        raise DataError(
            f"Regression needs a numeric target, but {1 - share:.0%} of the target values are not numbers. "
            "Choose a classification ProblemType, or another target column."
        )
    if len({value for value, _ in parsed if value == value}) < 2:
        raise DataError("The target column has only one number in it. Training needs at least two different ones.")
    return comma


def _check_classes(kind: str, classes: list[str], counts: Counter[str]) -> None:
    if len(classes) < 2:
        raise DataError(f"The target column has only the class {classes[0]!r}. Training needs at least two classes.")
    if kind == BINARY and len(classes) > 2:
        shown = ", ".join(repr(label) for label in classes[:5])
        raise DataError(
            f"{BINARY} needs exactly two labels in the target column; it has {len(classes)} ({shown}, …). "
            f"Choose {MULTICLASS}, or mend the labels."
        )
    if len(classes) > MAX_CLASSES or sum(counts.values()) < LEAST_ROWS_A_CLASS * len(classes):
        raise DataError(
            f"The target column has {len(classes)} classes in {sum(counts.values())} rows, too many to learn. "
            "Choose Regression if the target is a quantity, or another target column."
        )


def _objective(kind: str, metric: str | None) -> str:
    chosen = metric or DEFAULT_OBJECTIVE[kind]
    if chosen not in objectives(kind):
        raise DataError(
            f"The objective metric {chosen} does not fit {kind}, which is the problem type of this target. "
            f"Choose one of: {', '.join(objectives(kind))}."
        )
    return chosen
