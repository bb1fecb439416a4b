"""Holdouts and folds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.data import split

CLASSES = st.lists(st.integers(0, 5), min_size=2, max_size=60).map(np.array)


@settings(max_examples=100, deadline=None)
@given(CLASSES, st.floats(0.05, 0.9), st.integers(0, 9))
def test_a_stratified_holdout_parts_the_rows_and_keeps_every_class_in_training(
    y: np.ndarray, fraction: float, seed: int
) -> None:
    train, held = split.holdout(y, fraction, stratify=True, seed=seed)
    assert sorted([*train, *held]) == list(range(len(y)))
    assert set(y[train]) == set(y)


@settings(max_examples=100, deadline=None)
@given(CLASSES, st.floats(0.05, 0.9))
def test_a_plain_holdout_has_the_size_asked_for(y: np.ndarray, fraction: float) -> None:
    train, held = split.holdout(y, fraction, stratify=False, seed=0)
    assert len(held) == min(max(1, round(len(y) * fraction)), len(y) - 1)
    assert len(train) + len(held) == len(y)


def test_a_stratified_holdout_keeps_the_shares() -> None:
    y = np.repeat([0, 1, 2], [700, 290, 10])
    _, held = split.holdout(y, 0.2, stratify=True, seed=3)
    assert np.bincount(y[held]).tolist() == [140, 58, 2]


def test_shares_are_kept_whatever_the_order_of_the_rows() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1], [900, 100]))
    _, held = split.holdout(y, 0.25, stratify=True, seed=0)
    assert np.bincount(y[held]).tolist() == [225, 25]


@settings(max_examples=100, deadline=None)
@given(CLASSES, st.integers(2, 6), st.integers(0, 9))
def test_folds_are_even_and_no_class_of_two_rows_is_held_out_whole(y: np.ndarray, k: int, seed: int) -> None:
    numbers = split.folds(y, k, stratify=True, seed=seed)
    sizes = np.bincount(numbers)
    assert sizes.max() - sizes.min() <= 1
    assert numbers.max() < min(k, len(y))
    for fold in range(numbers.max() + 1):
        assert {c for c in y if (y == c).sum() >= 2} <= set(y[numbers != fold])


def test_folds_keep_the_shares_of_classes() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1], [900, 100]))
    numbers = split.folds(y, 5, stratify=True, seed=0)
    assert {int(y[numbers == fold].sum()) for fold in range(5)} == {20}


def test_a_seed_gives_the_same_split_again_and_another_seed_another() -> None:
    y = np.arange(1000) % 3
    for stratify in (True, False):
        first, again, other = (split.holdout(y, 0.2, stratify=stratify, seed=seed)[1] for seed in (1, 1, 2))
        assert (first == again).all()
        assert (first != other).any()
        assert (split.folds(y, 5, stratify=stratify, seed=1) == split.folds(y, 5, stratify=stratify, seed=1)).all()
