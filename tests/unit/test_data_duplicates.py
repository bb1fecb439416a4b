"""Copies of rows: how they are found, and that no split parts them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.data import duplicates, split

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=80)


def _table(**columns: object) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def test_rows_of_equal_cells_and_target_are_a_group() -> None:
    table = _table(a=["x", "x", "y", "x", None, None], b=[1.5, 1.5, 2.5, 2.5, None, None])
    groups = duplicates.groups(table, np.array([0, 0, 1, 0, 1, 1]))
    assert groups is not None
    assert groups[0] == groups[1]
    assert groups[4] == groups[5]
    assert len(set(groups)) == 4


def test_data_without_copies_have_no_groups() -> None:
    assert duplicates.groups(_table(a=["x", "y", "x"]), np.array([0.5, 0.5, 1.5])) is None


def test_cells_that_repeat_with_other_targets_are_the_datas_nature() -> None:
    rng = np.random.default_rng(0)
    table = _table(a=rng.integers(0, 5, 1000).astype(str), b=rng.integers(0, 5, 1000))
    assert duplicates.groups(table, rng.integers(0, 2, 1000)) is None
    assert duplicates.groups(table, rng.normal(size=1000)) is None


def test_copies_are_found_among_rows_that_differ_in_many_columns() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 4))
    rows = np.concatenate([np.arange(500), rng.integers(0, 500, 100)])
    table = pa.table({f"c{j}": [f"{v:.6f}" for v in values[rows, j]] for j in range(4)})
    groups = duplicates.groups(table, (values[rows, 0] > 0).astype(np.int64))
    assert groups is not None
    assert all((groups == groups[i]).sum() == (rows == row).sum() for i, row in enumerate(rows))


def test_a_block_of_rows_that_look_alike_leaves_the_copies_of_others_together() -> None:
    records = np.tile(np.arange(2000), 2)
    cells = np.concatenate([records, np.full(600, -1)])
    y = np.concatenate([records % 2, np.arange(600) % 2])
    groups = duplicates.groups(_table(a=cells), y)
    assert groups is not None
    sizes = np.bincount(groups)[groups]
    assert (sizes == np.repeat([2, 1], [4000, 600])).all()
    assert (groups[:2000] == groups[2000:4000]).all()


def test_rows_that_look_alike_are_no_group_where_their_targets_differ() -> None:
    cells = np.repeat(np.arange(12), [8, 8, *[10] * 10])
    y = np.concatenate([[0] * 8, [0] * 7 + [1], np.arange(100) // 50])
    groups = duplicates.groups(_table(a=cells), y)
    assert groups is not None
    assert np.bincount(groups)[groups].tolist() == [8] * 8 + [1] * 8 + [10] * 100


def _grouped(drawn: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and groups that lie within a class."""
    y, names = np.array([c for c, _ in drawn]), np.array([c * 100 + g for c, g in drawn])
    return y, np.unique(names, return_inverse=True)[1]


@settings(max_examples=200, deadline=None)
@given(LABELS, st.integers(2, 6), st.integers(0, 5), st.booleans())
def test_folds_part_no_group_that_is_small_enough(
    drawn: list[tuple[int, int]], k: int, seed: int, stratify: bool
) -> None:
    y, groups = _grouped(drawn)
    numbers = split.folds(y, k, stratify=stratify, seed=seed, groups=groups)
    k = min(k, len(y))
    assert ((numbers >= 0) & (numbers < k)).all()
    classes = y if stratify else np.zeros(len(y), int)
    for group in set(groups):
        mine = groups == group
        if mine.sum() <= min(len(y) // (2 * k), (classes == classes[mine][0]).sum() // 2):
            assert len(set(numbers[mine])) == 1
    for c in set(classes):
        own = classes == c
        largest = max(np.bincount(groups[own]).max(), 1)
        counts = np.bincount(numbers[own], minlength=k)
        assert counts.max() - counts.min() <= largest
        if own.sum() >= 2:
            assert counts.max() < own.sum()


@settings(max_examples=200, deadline=None)
@given(LABELS, st.floats(0.05, 0.9), st.integers(0, 5), st.booleans())
def test_a_holdout_parts_no_group_that_is_small_enough(
    drawn: list[tuple[int, int]], fraction: float, seed: int, stratify: bool
) -> None:
    y, groups = _grouped(drawn)
    train, held = split.holdout(y, fraction, stratify=stratify, seed=seed, groups=groups)
    assert sorted([*train, *held]) == list(range(len(y)))
    assert len(train)
    assert not stratify or set(y[train]) == set(y)
    assert len(held) <= max(1, round(len(y) * fraction))
    whole, out = np.bincount(groups), np.zeros(len(y), bool)
    out[held] = True
    parted = [g for g in set(groups) if 0 < out[groups == g].sum() < whole[g]]
    quota = len(held) if not stratify else None
    for group in parted:
        own = (y == y[groups == group][0]) if stratify else np.ones(len(y), bool)
        limit = min(quota if quota is not None else np.ceil(own.sum() * fraction) + 1, own.sum() // 2)
        assert whole[group] > min(limit, own.sum() * fraction / 2)


def test_classes_keep_their_shares_beside_groups() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [700, 250, 50])
    groups = np.arange(1000)
    groups[:300] = groups[:300] // 3 * 3
    groups[700:760] = 700
    order = rng.permutation(1000)
    numbers = split.folds(y[order], 5, stratify=True, seed=1, groups=groups[order])
    for c, (least, most) in enumerate([(140, 140), (47, 60), (10, 10)]):
        counts = np.bincount(numbers[y[order] == c], minlength=5)
        assert least <= counts.min() <= counts.max() <= most
    _, held = split.holdout(y[order], 0.2, stratify=True, seed=1, groups=groups[order])
    assert np.bincount(y[order][held]).tolist() == [140, 50, 10]


def test_one_row_many_times_over_can_be_split() -> None:
    y, groups = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [90, 10])
    numbers = split.folds(y, 5, stratify=True, seed=0, groups=groups)
    assert np.bincount(numbers).tolist() == [20] * 5
    train, held = split.holdout(y, 0.2, stratify=True, seed=0, groups=groups)
    assert np.bincount(y[held]).tolist() == [18, 2]
    assert np.bincount(y[train]).tolist() == [72, 8]


def test_a_seed_gives_the_same_grouped_split_again() -> None:
    y, groups = np.arange(600) % 2, np.arange(600) // 4 * 2 + np.arange(600) % 2
    splits = [split.folds(y, 4, stratify=True, seed=seed, groups=groups) for seed in (1, 1, 2)]
    assert (splits[0] == splits[1]).all()
    assert (splits[0] != splits[2]).any()


def test_half_a_million_rows_are_grouped_and_split() -> None:
    rows = np.random.default_rng(0).integers(0, 300_000, 500_000)
    groups = duplicates.groups(_table(a=rows.astype(str), b=rows), rows % 3)
    assert groups is not None
    numbers = split.folds(rows % 3, 5, stratify=True, seed=0, groups=groups)
    assert np.ptp(np.bincount(numbers)) <= 60
    fold_of = np.full(int(groups.max()) + 1, -1)
    fold_of[groups] = numbers
    assert (fold_of[groups] == numbers).all()
