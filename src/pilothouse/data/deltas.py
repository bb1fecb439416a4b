"""The time between two dates of a row, in days: what trees and networks can't tell from the two moments alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt

from pilothouse.data.dates import DateEncoder, parse

MOST_COLUMNS = 5
"""Of so many date columns, the first ones, each two have a delta."""

_DAY = 86_400.0


@dataclass(frozen=True)
class Delta:
    """From the date in column `first` to that in column `second`, both positions, each with its own order of day and
    month. `name` is the feature's.
    """

    name: str
    first: int
    second: int
    day_first: tuple[bool, bool]

    def days(self, first: str, second: str) -> float:
        """Days, of one row's two texts."""
        begun, ended = (parse(text, order)[0] for text, order in zip((first, second), self.day_first, strict=True))
        return (ended - begun) / _DAY


def between(dates: Sequence[tuple[int, str, DateEncoder]]) -> list[Delta]:
    """The deltas of date columns, each given by its position, name and encoder."""
    return [
        Delta(f"{one[1]}..{other[1]}:days", one[0], other[0], (one[2].day_first, other[2].day_first))
        for one, other in combinations(dates[:MOST_COLUMNS], 2)
    ]


def days(found: Sequence[Delta], texts: Callable[[int], Sequence[str]]) -> npt.NDArray[np.float32]:
    """The days of each delta [rows, deltas], NaN where one of two is no date; `texts` are those of the column at a
    position, whose dates are read once, in however many deltas it is."""
    ends = [zip((delta.first, delta.second), delta.day_first, strict=True) for delta in found]
    orders = dict(chain.from_iterable(ends))
    epochs = {position: _epochs(texts(position), order) for position, order in orders.items()}
    return np.stack([(epochs[delta.second] - epochs[delta.first]) / _DAY for delta in found], axis=1).astype(np.float32)


def _epochs(texts: Sequence[str], day_first: bool) -> npt.NDArray[np.float64]:
    known = {text: parse(text, day_first)[0] for text in set(texts)}
    return np.array([known[text] for text in texts], np.float64)


def varies(values: npt.NDArray[np.float32]) -> bool:
    """Whether a delta tells rows apart."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() < known.max())
