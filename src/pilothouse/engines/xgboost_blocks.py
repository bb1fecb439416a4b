"""XGBoost's matrices of rows that are still on disk: binned block by block, and kept on disk if need be."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, matrix

if TYPE_CHECKING:
    from pilothouse.data.features import Features

PAGED = "paged"
"""The parameter of a training whose bins stay on disk."""

Binned = tuple[Any, Array, Array | None]
"""Values, dense or sparse, with their labels and weights."""


def streamed(x: Selection, y: Array, w: Array | None, types: list[str], pages: Path | None, how: dict[str, Any]) -> Any:
    """`binned` rows of features; `types` are XGBoost's feature types."""

    def blocks() -> Iterator[Binned]:
        at = 0
        for block in x.blocks():
            rows = slice(at, at := at + len(block))
            yield matrix(block, missing=np.nan), y[rows], None if w is None else w[rows]

    return binned(blocks, pages, how, types)


def binned(
    blocks: Callable[[], Iterator[Binned]], pages: Path | None, how: dict[str, Any], types: list[str] | None = None
) -> Any:
    """A QuantileDMatrix of rows that come block by block, each time anew, or one whose bins are in files in the folder
    `pages`. `how` are further arguments.
    """
    import xgboost

    class Blocks(xgboost.DataIter):  # type: ignore[misc]
        def __init__(self) -> None:
            # Pages are named by their prefix alone: two matrices in one folder must not share it.
            prefix = None if pages is None else str(pages / f"{len(list(pages.iterdir()))}-")
            super().__init__(cache_prefix=prefix, release_data=True)
            self.reset()

        def reset(self) -> None:
            self._blocks = blocks()

        def next(self, input_data: Any) -> bool:
            block = next(self._blocks, None)
            if block is None:
                return False
            values, labels, weights = block
            input_data(data=values, label=labels, weight=weights, feature_types=types)
            return True

    return (xgboost.QuantileDMatrix if pages is None else xgboost.ExtMemQuantileDMatrix)(Blocks(), **how)


@contextmanager
def page_folder(x: Features, paged: bool) -> Iterator[Path | None]:
    """A folder for pages while the block lasts, beside the data set; None if there is to be none."""
    if not paged or not isinstance(x, Selection):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pages-", dir=x.scratch) as folder:
        yield Path(folder)
