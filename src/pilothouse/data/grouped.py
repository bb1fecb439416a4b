"""Grouped splits: rows of a group stay together, and classes keep their shares as well as whole groups allow.

A group that is too large is dealt out row by row: one with more than half of its class, or more than half of a fold, or
more than its class holds out. So every data set can be split, even one that is a single row many times over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Units:
    """What is dealt, whole groups and single rows: the unit of each row, and each unit's class and size."""

    of_row: Array
    classes: Array
    sizes: Array

    @classmethod
    def of(cls, classes: Array, groups: Array, largest: Array) -> _Units:
        """Groups of at most `largest` rows, given for each class, and otherwise rows."""
        sizes = np.bincount(groups)[groups]
        single = sizes > np.minimum(largest, np.bincount(classes) // 2)[classes]
        names = np.where(single, groups.max() + 1 + np.arange(len(groups)), groups)
        _, first, of_row = np.unique(names, return_index=True, return_inverse=True)
        of_row = of_row.ravel()
        return cls(of_row, classes[first], np.bincount(of_row))


def held_out(classes: Array, groups: Array, quotas: Array, seed: int) -> Array:
    """Row numbers, `quotas[c]` of class c; fewer where its groups don't fit and single rows can't fill the gap."""
    units = _Units.of(classes, groups, quotas)
    shuffled = np.random.default_rng(seed).permutation(len(units.sizes))
    order = shuffled[np.argsort(units.classes[shuffled], kind="stable")]
    of_class, sizes = units.classes[order], units.sizes[order]
    chosen = _running(sizes, of_class) <= quotas[of_class]
    gap = quotas - np.bincount(of_class[chosen], weights=sizes[chosen], minlength=len(quotas)).astype(np.int64)
    single = ~chosen & (sizes == 1)
    chosen |= single & (_running(single.astype(np.int64), of_class) <= gap[of_class])
    held = np.zeros(len(order), np.bool_)
    held[order[chosen]] = True
    return np.flatnonzero(held[units.of_row])


def folds(classes: Array, groups: Array, k: int, seed: int) -> npt.NDArray[np.int8]:
    """The fold (0..k-1) of each row."""
    units = _Units.of(classes, groups, np.full(int(classes.max()) + 1, len(classes) // (2 * k)))
    shuffled = np.random.default_rng(seed).permutation(len(units.sizes))
    # Large groups first, back and forth over the folds; single rows then level what they left uneven.
    order = shuffled[np.lexsort((-units.sizes[shuffled], units.classes[shuffled]))]
    of_unit, loads = np.empty(len(order), np.int8), np.zeros(k, np.int64)
    for of_class in np.split(order, np.flatnonzero(np.diff(units.classes[order])) + 1):
        whole = int((units.sizes[of_class] > 1).sum())
        turn = np.arange(whole) % (2 * k)
        of_unit[of_class[:whole]] = np.argsort(loads, kind="stable")[np.minimum(turn, 2 * k - 1 - turn)]
        own = np.bincount(of_unit[of_class[:whole]], weights=units.sizes[of_class[:whole]], minlength=k).astype(
            np.int64
        )
        quotas = _levelling(own, loads + own, len(of_class) - whole)
        of_unit[of_class[whole:]] = np.repeat(np.arange(k), quotas)
        loads += own + quotas
    return np.asarray(of_unit[units.of_row])


def _running(sizes: Array, classes: Array) -> Array:
    """The running total of `sizes` within each run of equal `classes`."""
    total = np.cumsum(sizes)
    first = np.searchsorted(classes, classes)
    return np.asarray(total - (total - sizes)[first])


def _levelling(own: Array, loads: Array, rows: int) -> Array:
    """How many of `rows` single rows each fold gets, so that the class's `own` become even, then all `loads`."""
    order = np.lexsort((loads, own))
    for count in range(len(own), 0, -1):
        lowest = order[:count]
        level, rest = divmod(int(own[lowest].sum()) + rows, count)
        if level >= own[lowest[-1]]:
            break
    quotas = np.zeros(len(own), np.int64)
    quotas[lowest] = level - own[lowest]
    quotas[lowest[np.argsort(loads[lowest], kind="stable")[:rest]]] += 1
    return quotas
