"""XGBoost's own file, read as far as predicting one row needs it.

The file is UBJSON (https://ubjson.org): marks of one letter, big-endian numbers, and arrays of one kind of number in a
piece. XGBoost's documentation, "Introduction to Model IO", names what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.engines.base import Array

_KINDS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}
_OBJECTIVES = ("reg:squarederror", "reg:absoluteerror", "binary:logistic", "multi:softprob")
_CATEGORICAL = 1


@dataclass(frozen=True)
class Trees:
    """Trees as arrays: node i asks whether value `feature[i]` is above `cut[i]`; if so, it leads to the node behind
    `child[i]`, if not, or if the value is missing, to `child[i]`. A leaf leads to itself, and its `cut` is its answer.

    The values are the row's `columns`, these times -1, one that is always missing, and then for each of the `sets`
    (uint8 [sets, bytes]) the bit that it has for the row's code in column `of[set]`. The roots are the first nodes;
    nodes of the same depth lie together, since all trees are walked at once. Trees take turns with the outputs, which
    start at `base`.
    """

    columns: int
    objective: str
    base: Array
    trees: int
    depth: int
    feature: Array
    cut: Array
    child: Array
    sets: Array
    of: Array


def read(path: Path) -> dict[str, Any] | None:
    """The learner in a file, whose parts have XGBoost's names; None if it is no such file."""
    try:
        return dict(_Document(path.read_bytes()).value()["learner"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def trees(learner: dict[str, Any]) -> Trees | None:
    """The trees of a learner that `xgboost_trees.check` lets pass; None if it is of another kind of booster."""
    try:
        with np.errstate(all="ignore"):
            return _trees(learner)
    except (ValueError, LookupError):
        return None


class _Document:
    """UBJSON, from its start on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def value(self) -> Any:
        """The next value; arrays of numbers as NumPy's."""
        mark = self._taken(1)
        if mark == b"{":
            pairs = list(self._members())
            if len(found := dict(pairs)) < len(pairs):
                raise ValueError("a name comes twice")  # the library would take the other value
            return found
        if mark == b"[":
            return self._array()
        if mark == b"S":
            return self._text()
        return _CONSTANTS[mark] if mark in _CONSTANTS else self._number(mark)

    def _members(self) -> Iterator[tuple[str, Any]]:
        while self._content[self._at : self._at + 1] != b"}":
            yield self._text(), self.value()
        self._at += 1

    def _array(self) -> Any:
        kind = self._taken(1)
        if kind == b"$":
            kind = self._taken(1)
            self._expect(b"#")
            return np.frombuffer(self._content, *self._span(kind, self._number(self._taken(1))))
        if kind != b"#":
            raise ValueError("an array doesn't say how long it is")
        return [self.value() for _ in range(self._number(self._taken(1)))]

    def _span(self, kind: bytes, count: int) -> tuple[str, int, int]:
        start = self._at
        self._taken(count * np.dtype(_KINDS[kind]).itemsize)
        return _KINDS[kind], count, start

    def _text(self) -> str:
        return self._taken(self._number(self._taken(1))).decode()

    def _number(self, kind: bytes) -> Any:
        return np.frombuffer(self._content, *self._span(kind, 1))[0].item()

    def _expect(self, mark: bytes) -> None:
        if self._taken(1) != mark:
            raise ValueError("a mark is missing")

    def _taken(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if not start <= self._at <= len(self._content):
            raise ValueError("the file ends too early")
        return self._content[start : self._at]


def _trees(learner: dict[str, Any]) -> Trees:
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    trees, turns = booster["model"]["trees"], np.asarray(booster["model"]["tree_info"])
    base = np.atleast_1d(np.asarray(json.loads(learner["learner_model_param"]["base_score"]), np.float64))
    outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    columns = int(learner["learner_model_param"]["num_feature"])
    if booster["name"] != "gbtree" or objective not in _OBJECTIVES or (turns != np.arange(len(trees)) % outputs).any():
        raise ValueError("another kind of booster")
    if objective == "binary:logistic":
        base = -np.log(1 / base.astype(np.float32) - 1, dtype=np.float64)
    sizes = [len(tree["left_children"]) for tree in trees]
    roots = np.append(0, np.cumsum(sizes[:-1])).astype(np.int64)
    start = np.repeat(roots, sizes)
    left, right, column, condition, to_left, kind = (
        np.concatenate([tree[name] for tree in trees])
        for name in (
            "left_children", "right_children", "split_indices", "split_conditions", "default_left", "split_type"
        )
    )  # fmt: skip
    inner, falls_left = left >= 0, to_left.astype(bool)
    categorical = np.flatnonzero(inner & (kind == _CATEGORICAL))
    sets = _sets(trees, roots, categorical, falls_left)
    # A value equal to the condition goes right, and a missing one where the node says: to the first child here.
    below = np.nextafter(condition.astype(np.float32), np.float32(-np.inf))
    cut = np.where(falls_left, below, -condition).astype(np.float32)
    feature = np.where(falls_left, column, columns + column).astype(np.int64)
    feature[categorical], cut[categorical] = 2 * columns + 1 + np.arange(len(categorical)), 0.5
    feature[~inner], cut[~inner] = 2 * columns, condition[~inner]
    first, second = (np.where(falls_left == side, left, right) + start for side in (True, False))
    order, place, depth = _by_level(inner, first, second, roots)
    child = np.where(inner, place[first % len(place)], place)[order]
    narrow = np.int16 if 2 * columns + 1 + len(sets) < 1 << 15 else np.int32
    return Trees(
        columns,
        objective,
        np.broadcast_to(base, outputs).astype(np.float32),
        len(trees),
        depth,
        feature[order].astype(narrow),
        cut[order],
        child.astype(np.int32),
        sets,
        column[categorical].astype(np.int64),
    )


def _by_level(inner: Array, first: Array, second: Array, roots: Array) -> tuple[Array, Array, int]:
    """The nodes level by level, siblings side by side; the place of each in that order; and the number of levels
    below the roots."""
    levels = [roots]
    while len(parents := levels[-1][inner[levels[-1]]]):
        levels.append(np.stack([first[parents], second[parents]], axis=1).ravel())
    order = np.concatenate(levels)
    place = np.zeros(len(inner), np.int64)
    place[order] = np.arange(len(order))
    return order, place, len(levels) - 1


def _sets(trees: list[dict[str, Any]], roots: Array, categorical: Array, falls_left: Array) -> Array:
    """For each categorical node whether a code goes where a missing one does not, a bit for each code and the last one
    for all beyond: uint8 [nodes, bytes]. The node's own codes go right."""
    own = {}
    for root, tree in zip(roots.tolist(), trees, strict=True):
        spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        own.update({root + int(node): tree["categories"][at : at + size] for node, at, size in spans})
    codes = max((int(some.max()) for some in own.values() if len(some)), default=0)
    sets = np.zeros((len(categorical), (codes + 9) // 8), np.uint8)
    for number, node in enumerate(categorical.tolist()):
        away = np.full(8 * sets.shape[1], not falls_left[node])
        away[own[node]] ^= True
        away[0] = False
        sets[number] = np.packbits(away, bitorder="little")
    return sets
