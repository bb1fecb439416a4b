"""Splits: which rows are held out, and in which fold each row is. The same seed gives the same split."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data import grouped

Array = npt.NDArray[Any]


def holdout(
    y: Array, fraction: float, *, stratify: bool, seed: int, groups: Array | None = None
) -> tuple[Array, Array]:
    """Row numbers for training and for validation, each ascending; `fraction` of the rows go to validation.

    Both parts get a row if there are two. With `stratify`, `y` holds classes and each keeps its share in both parts as
    far as whole rows allow; every class has a row in training. A class of one row is never held out.

    Rows of one of `groups` (a number for each row; see `duplicates`) stay together, unless the group is too large.
    """
    rows = len(y)
    wanted = min(max(1, round(rows * fraction)), rows - 1)
    shuffled = np.random.default_rng(seed).permutation(rows)
    if groups is None:
        held = np.sort(_stratified(y, shuffled, wanted) if stratify else shuffled[:wanted])
    else:
        classes = _classes(y, stratify)
        held = np.sort(grouped.held_out(classes, groups, _shares(np.bincount(classes), wanted), seed))
    return np.setdiff1d(np.arange(rows), held, assume_unique=True), held


def folds(y: Array, k: int, *, stratify: bool, seed: int, groups: Array | None = None) -> npt.NDArray[np.int8]:
    """The fold (0..k-1) of each row; folds differ by at most one row, and with `stratify` in each class too.

    Whichever fold is held out, a class of two or more rows has a row in the others. There are never more folds than
    rows. Rows of one of `groups` stay together, unless the group is too large; folds are then as even as groups allow.
    """
    k = min(k, max(1, len(y)))
    if groups is not None:
        return grouped.folds(_classes(y, stratify), groups, k, seed)
    shuffled = np.random.default_rng(seed).permutation(len(y))
    # Dealt out like cards, class after class: sizes stay even, and a class's rows lie in different folds.
    order = shuffled[np.argsort(y[shuffled], kind="stable")] if stratify else shuffled
    numbers = np.empty(len(y), np.int8)
    numbers[order] = np.arange(len(y)) % k
    return numbers


def _classes(y: Array, stratify: bool) -> Array:
    return np.unique(y, return_inverse=True)[1].ravel() if stratify else np.zeros(len(y), np.int64)


def _stratified(y: Array, shuffled: Array, wanted: int) -> Array:
    """`wanted` rows (fewer if classes would run out of training rows), every class in its share."""
    classes, of_row = np.unique(y, return_inverse=True)
    sizes = np.bincount(of_row, minlength=len(classes))
    quotas = _shares(sizes, wanted)
    order = shuffled[np.argsort(of_row[shuffled], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(y)) - np.repeat(starts, sizes)
    return np.asarray(order[rank < np.repeat(quotas, sizes)])


def _shares(sizes: Array, wanted: int) -> Array:
    """`wanted` dealt to the classes by size, largest remainders first, each leaving its class at least one row."""
    exact = sizes * (wanted / sizes.sum())
    quotas = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    while (short := wanted - int(quotas.sum())) > 0:
        open_classes = np.flatnonzero(quotas < sizes - 1)
        if not len(open_classes):
            break
        neediest = open_classes[np.argsort(quotas[open_classes] - exact[open_classes], kind="stable")]
        quotas[neediest[:short]] += 1
    return np.asarray(quotas)
