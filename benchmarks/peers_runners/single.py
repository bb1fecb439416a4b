"""What the single boosters share: columns as they take them, and the fifth of the rows that ends their training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from run import Run

STOP_AFTER = 50
"""Rounds without a better loss on the fifth after which training ends."""


def fifth(rows: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers to fit on, and a random fifth to stop on."""
    order = np.random.default_rng(seed).permutation(rows)
    cut = rows * 4 // 5
    return order[:cut], order[cut:]


def targets(run: Run, column: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Values, or the index of each class."""
    if run.regression:
        return column.astype(np.float64)
    place = {name: i for i, name in enumerate(run.classes)}
    return np.array([place[text] for text in column], np.float64)
