"""CatBoost's own file, read as far as predicting one row needs it: symmetric trees on numbers and one-hot levels. All
trees, and the tables of target statistics, are looked through, since the library follows any number in them.

A cbm file is the mark CBM1, a size, and a FlatBuffer, and if there are target statistics, how many tables these have,
and of each its size and another FlatBuffer. A table of a FlatBuffer finds its fields by a list of offsets; a
vector is its length and then its values (https://flatbuffers.dev/internals). The numbers of the fields here are those
of CatBoost's schema, catboost/libs/model/flatbuffers/model.fbs, features.fbs and ctr_data.fbs.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.errors import ConfigurationError

_MARK, _HEAD, _VERSION = b"CBM1", 8, b"FlabuffersModel_v1"
_FORMAT, _TREES, _PARTS = 0, 1, 3
_TABLES_OF_STATISTICS = b"static_provider_v1"
_OUTPUTS, _SPLITS, _SIZES, _STARTS, _CATEGORIES, _NUMBERS, _ONE_HOT, _STATISTICS, _LEAVES = 0, 1, 2, 3, 4, 5, 6, 7, 8
_STEPS, _LEAF_OF_NODE = 10, 11  # of trees that aren't symmetric
_NEVER_MADE = (12, 13, 18)  # texts, what is estimated from them, and embeddings
_NUMBER, _PLACE_OF_NUMBER, _BORDERS, _IF_MISSING = 1, 2, 3, 5
_CATEGORY, _PLACE_OF_CATEGORY, _LEVELS = 0, 1, 1
_STATISTIC, _BORDERS_OF_STATISTICS = 0, 1
_BASE, _CLASS = 0, 1
_COMBINATION, _KIND = 0, 1
_COMBINED = ((0, "<i4"), (1, "<i8"), (2, "<i8"))
_INDEX, _VALUES, _CLASSES = 1, 2, 4
_BUCKET, _EMPTY = "<u8,<u4", 2**64 - 1
_BY_BORDERS, _BY_CLASSES = 0, 1
_BYTES_OF_OTHERS = {2: 8, 3: 8, 4: 4, 5: 4}
"""Of statistics that are means or counts, by their kind, what each combination of levels has in the table."""

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
    """The trees in a file; None if they aren't symmetric or ask other questions too. `ConfigurationError` if it isn't
    such a file, or trees ask questions or have leaves that aren't there.
    """
    with path.open("rb") as file:
        try:
            buffer = _Buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            table = buffer.table(buffer.root, _TREES)
            consistent = buffer.text(buffer.root, _FORMAT) == _VERSION and _consistent(buffer, table)
        except (ValueError, IndexError, struct.error):
            consistent = False
    if not consistent:
        raise ConfigurationError(
            "The model's model.cbm can't be trusted: its trees ask questions or have leaves that are not there. "
            "The archive is damaged or was not made by Pilothouse. Fetch it again."
        )
    unread = any(buffer.vector(table, field)[1] for field in (_STATISTICS, _STEPS))
    return None if unread else _trees(buffer, table)


def _trees(buffer: _Buffer, trees: int) -> Trees:
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


def _consistent(buffer: _Buffer, trees: int) -> bool:
    """Whether the trees ask questions that are there, of columns in order, and have leaves for all answers."""
    numbers, one_hot = buffer.tables(trees, _NUMBERS), buffer.tables(trees, _ONE_HOT)
    borders = [len(buffer.array(table, _BORDERS, "<f4")) for table in numbers]
    levels = [len(buffer.array(table, _LEVELS, "<i4")) for table in one_hot]
    of_statistics = [
        len(buffer.array(table, _BORDERS_OF_STATISTICS, "<f4")) for table in buffer.tables(trees, _STATISTICS)
    ]
    asked, sizes = buffer.array(trees, _SPLITS, "<i4"), buffer.array(trees, _SIZES, "<i4").astype(np.int64)
    # Trees that aren't symmetric ask question 0 at their leaves, even if there is none.
    steps = buffer.array(trees, _STEPS, "<u2,<u2")
    questions = max(sum(borders) + sum(levels) + sum(of_statistics), int(len(steps) > 0))
    starts = buffer.array(trees, _STARTS, "<i4")
    return bool(
        not any(buffer.vector(trees, field)[1] for field in _NEVER_MADE)
        and len(sizes)
        and sizes.min() >= 0
        and sizes.sum() == len(asked)
        and np.array_equal(starts, np.cumsum(sizes) - sizes)
        and ((asked >= 0) & (asked < questions)).all()
        and 4 * questions <= len(buffer)  # each has a number of its own, or few of them would stand for any memory
        and _in_order(buffer, trees)
        and _finds_statistics(buffer, trees)
        and _leads_to_leaves(buffer, trees, sizes, steps)
    )


def _in_order(buffer: _Buffer, trees: int) -> bool:
    """Whether numbers and then categories are counted through, and lie in a row in that order."""
    numbers, categories = buffer.tables(trees, _NUMBERS), buffer.tables(trees, _CATEGORIES)
    counted = [buffer.scalar(table, _NUMBER, "<i", -1) for table in numbers]
    counted += [len(numbers) + buffer.scalar(table, _CATEGORY, "<i", -1) for table in categories]
    places = [buffer.scalar(table, _PLACE_OF_NUMBER, "<i", -1) for table in numbers]
    places += [buffer.scalar(table, _PLACE_OF_CATEGORY, "<i", -1) for table in categories]
    one_hot = [buffer.scalar(table, _CATEGORY, "<i", -1) for table in buffer.tables(trees, _ONE_HOT)]
    return counted == places == list(range(len(places))) and all(0 <= one < len(categories) for one in one_hot)


def _finds_statistics(buffer: _Buffer, trees: int) -> bool:
    """Whether all target statistics have a table, and its index of hashes leads to what is there."""
    statistics = [buffer.table(table, _STATISTIC) for table in buffer.tables(trees, _STATISTICS)]
    parts = [buffer.string(place) for place in buffer.tables(buffer.root, _PARTS)]
    if not statistics and not parts:
        return True
    tables = list(buffer.followers())
    classes = {_base(table, table.root): _classes(table) for table in tables}
    asked = [(_base(buffer, one), buffer.scalar(one, _CLASS, "<i", 0)) for one in statistics]
    known = parts == [_TABLES_OF_STATISTICS] and len(classes) == len(tables)
    return known and all(0 <= of < classes.get(base, 0) for base, of in asked)


def _base(buffer: _Buffer, table: int) -> tuple[int, tuple[bytes, ...]]:
    """The kind of a statistic, or of a table of one, and what it is of."""
    base = buffer.table(table, _BASE)
    combination = buffer.table(base, _COMBINATION)
    of = tuple(buffer.array(combination, field, each).tobytes() for field, each in _COMBINED)
    return buffer.scalar(base, _KIND, "<b", 0), of


def _classes(table: _Buffer) -> int:
    """From how many classes a statistic may choose; `ValueError` for a table that leads beside it, or in circles."""
    kind, classes = _base(table, table.root)[0], table.scalar(table.root, _CLASSES, "<i", 0)
    buckets = np.frombuffer(table.array(table.root, _INDEX, "u1"), _BUCKET)
    counted = kind in (_BY_BORDERS, _BY_CLASSES)
    each = 4 * max(classes, 2 if kind == _BY_BORDERS else 1) if counted else _BYTES_OF_OTHERS.get(kind, 0)
    known = each and (classes > 0 or not counted) and len(buckets).bit_count() == 1
    if not known or not (buckets["f0"] == _EMPTY).any():
        raise ValueError("a table of statistics has no end")
    if int(buckets["f1"].max()) >= len(table.array(table.root, _VALUES, "u1")) // each:
        raise ValueError("a table of statistics leads beside it")
    return classes if counted else 1


def _leads_to_leaves(buffer: _Buffer, trees: int, sizes: Array, steps: Array) -> bool:
    outputs = buffer.scalar(trees, _OUTPUTS, "<i", 0)
    leaves, leaf = len(buffer.array(trees, _LEAVES, "<f8")), buffer.array(trees, _LEAF_OF_NODE, "<u4")
    if outputs < 1:
        return False
    if not len(steps):
        return bool(not len(leaf) and sizes.max() <= _DEEPEST and (1 << sizes).sum() * outputs == leaves)
    if not (sizes.min() > 0 and sizes.sum() == len(steps) == len(leaf)):
        return False
    left, right = (steps[side].astype(np.int64) for side in ("f0", "f1"))
    left_over = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(steps))
    ends = (left == 0) | (right == 0)
    return bool((np.maximum(left, right) < left_over).all() and (leaf[ends].astype(np.int64) + outputs <= leaves).all())


class _Buffer:
    """A FlatBuffer's tables by their places, and what is in their fields. Fields that are left out are empty."""

    def __init__(self, content: mmap.mmap | bytes, head: int = _HEAD) -> None:
        self._content, self._head = content, head
        if head and content[: len(_MARK)] != _MARK:
            raise ValueError("the file doesn't start as CatBoost's do")

    def __len__(self) -> int:
        return len(self._content)

    @property
    def root(self) -> int:
        return self._followed(self._head)

    def followers(self) -> Iterator[_Buffer]:
        """The buffers behind this one, up to the end of the file."""
        at = _HEAD + self._whole("<I", len(_MARK))
        count, at = self._whole("<I", at), at + 4
        for _ in range(count):
            start, at = at + 4, at + 4 + self._whole("<I", at)
            yield _Buffer(self._content[start:at], head=0)
        if at != len(self._content):
            raise ValueError("the file doesn't end where its tables do")

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
        return self.string(self.table(table, field))

    def string(self, place: int) -> bytes:
        return self._content[place + 4 : place + 4 + self._whole("<I", place)]

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
