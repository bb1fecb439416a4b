"""The time between two dates of a row, in days: what trees and networks can't tell from the two moments alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

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

    def between(self, first: Sequence[str], second: Sequence[str]) -> npt.NDArray[np.float32]:
        """Days, of each row's two texts; NaN where one is no date."""
        epochs = (_epochs(texts, order) for texts, order in zip((first, second), self.day_first, strict=True))
        begun, ended = epochs
        return np.asarray((ended - begun) / _DAY, np.float32)

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


def _epochs(texts: Sequence[str], day_first: bool) -> npt.NDArray[np.float64]:
    known = {text: parse(text, day_first)[0] for text in set(texts)}
    return np.array([known[text] for text in texts], np.float64)


def varies(values: npt.NDArray[np.float32]) -> bool:
    """Whether a delta tells rows apart."""
    known = values[~np.isnan(values)]
    return bool(len(known) and known.min() < known.max())
