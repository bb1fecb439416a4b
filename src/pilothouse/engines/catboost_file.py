"""CatBoost's own file, read as far as predicting one row needs it: symmetric trees on numbers and one-hot levels.

A cbm file is the mark CBM1, a size, and a FlatBuffer. A table of a FlatBuffer finds its fields by a list of offsets; a
vector is its length and then its values (https://flatbuffers.dev/internals). The numbers of the fields here are those
of CatBoost's schema, catboost/libs/model/flatbuffers/model.fbs and features.fbs.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilothouse.engines.base import Array

_MARK, _HEAD, _VERSION = b"CBM1", 8, b"FlabuffersModel_v1"
_FORMAT, _TREES = 0, 1
_OUTPUTS, _SPLITS, _SIZES, _NUMBERS, _ONE_HOT, _STATISTICS, _LEAVES = 0, 1, 2, 5, 6, 7, 8
_UNREAD = (_STATISTICS, 10, 12, 13)  # and trees that aren't symmetric, texts, and what is estimated from them
_NUMBER, _BORDERS, _IF_MISSING = 1, 3, 5
_CATEGORY, _LEVELS = 0, 1
_TRUE = 2
_DEEPEST = 16


@dataclass(frozen=True)
class Trees:
    """Question i is whether number `number[i]` is above `border[i]`. The questions after those are whether category
    `category[j]` has the level at `place[j]` among the category's own. A missing number is above all borders if it is
    in `high_if_missing`, else above none.

    Tree t asks `sizes[t]` of the questions, in the order of `asked`; the i-th answer is bit i of the number of its
    leaf. `leaves`, float64 [leaves, outputs], has those of all trees, one after the other; it lies in the file.
    """

    number: Array
    border: Array
    high_if_missing: Array
    category: Array
    place: Array
    asked: Array
    sizes: Array
    leaves: Array


def read(path: Path) -> Trees | None:
    """The trees in a file; None if they ask other questions too, or it isn't such a file."""
    try:
        with path.open("rb") as file:
            buffer = _Buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        trees = _trees(buffer)
    except (OSError, ValueError, IndexError, struct.error):
        return None
    return trees if trees is not None and _consistent(trees) else None


def _trees(buffer: _Buffer) -> Trees | None:
    trees = buffer.table(buffer.root, _TREES)
    if buffer.text(buffer.root, _FORMAT) != _VERSION or any(buffer.vector(trees, field)[1] for field in _UNREAD):
        return None
    numbers, categories = buffer.tables(trees, _NUMBERS), buffer.tables(trees, _ONE_HOT)
    borders = [buffer.array(table, _BORDERS, "<f4") for table in numbers]
    number = [buffer.scalar(table, _NUMBER, "<i", -1) for table in numbers]
    high = [buffer.scalar(table, _IF_MISSING, "<b", 0) == _TRUE for table in numbers]
    levels = [buffer.vector(table, _LEVELS)[1] for table in categories]
    category = [buffer.scalar(table, _CATEGORY, "<i", -1) for table in categories]
    return Trees(
        number=np.repeat(np.array(number, np.intp), [len(some) for some in borders]),
        border=np.concatenate([np.empty(0, np.float32), *borders]),
        high_if_missing=np.array(number, np.intp)[np.array(high, bool)],
        category=np.repeat(np.array(category, np.intp), levels),
        place=np.concatenate([np.empty(0, np.intp), *map(np.arange, levels)]),
        asked=buffer.array(trees, _SPLITS, "<i4"),
        sizes=buffer.array(trees, _SIZES, "<i4"),
        leaves=buffer.array(trees, _LEAVES, "<f8").reshape(-1, max(1, buffer.scalar(trees, _OUTPUTS, "<i", 1))),
    )


def _consistent(trees: Trees) -> bool:
    """Whether the trees ask questions that are there, and have leaves for all answers."""
    questions, sizes = len(trees.border) + len(trees.place), trees.sizes
    return bool(
        len(sizes)
        and 0 <= sizes.min() <= sizes.max() <= _DEEPEST
        and sizes.sum() == len(trees.asked)
        and ((trees.asked >= 0) & (trees.asked < questions)).all()
        and (trees.number >= 0).all()
        and (trees.category >= 0).all()
        and (1 << sizes.astype(np.int64)).sum() == len(trees.leaves)
    )


class _Buffer:
    """A FlatBuffer's tables by their places, and what is in their fields. Fields that are left out are empty."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        if content[: len(_MARK)] != _MARK:
            raise ValueError("the file doesn't start as CatBoost's do")

    @property
    def root(self) -> int:
        return self._followed(_HEAD)

    def table(self, table: int, field: int) -> int:
        place = self._place(table, field)
        if not place:
            raise ValueError("a table is missing")
        return self._followed(place)

    def tables(self, table: int, field: int) -> list[int]:
        place, count = self.vector(table, field)
        return [self._followed(place + 4 * i) for i in range(count)]

    def array(self, table: int, field: int, kind: str) -> Array:
        place, count = self.vector(table, field)
        return np.frombuffer(self._content, kind, count, place)

    def text(self, table: int, field: int) -> bytes:
        place, count = self.vector(table, field)
        return self._content[place : place + count]

    def scalar(self, table: int, field: int, kind: str, default: int) -> int:
        place = self._place(table, field)
        return self._whole(kind, place) if place else default

    def vector(self, table: int, field: int) -> tuple[int, int]:
        """Where its values are, and how many."""
        place = self._place(table, field)
        if not place:
            return 0, 0
        place = self._followed(place)
        return place + 4, self._whole("<I", place)

    def _place(self, table: int, field: int) -> int:
        offsets = table - self._whole("<i", table)
        at = 4 + 2 * field
        offset = self._whole("<H", offsets + at) if at < self._whole("<H", offsets) else 0
        return table + offset if offset else 0

    def _followed(self, place: int) -> int:
        return place + self._whole("<I", place)

    def _whole(self, kind: str, place: int) -> int:
        if place < 0:
            raise ValueError("an offset leads out of the file")
        return int(struct.unpack_from(kind, self._content, place)[0])
