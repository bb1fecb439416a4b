"""XGBoost's matrices of rows that are still on disk: binned block by block, and kept on disk if need be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
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


def streamed(x: Selection, y: Array, w: Array | None, types: list[str], pages: Path | None, how: dict[str, Any]) -> Any:
    """A QuantileDMatrix of the rows, or one whose bins are in files in the folder `pages`.

    `types` are XGBoost's feature types, `how` further arguments.
    """
    import xgboost

    class Blocks(xgboost.DataIter):  # type: ignore[misc]
        def __init__(self) -> None:
            # Pages are named by their prefix alone: two matrices in one folder must not share it.
            prefix = None if pages is None else str(pages / f"{len(list(pages.iterdir()))}-")
            super().__init__(cache_prefix=prefix, release_data=True)
            self.reset()

        def reset(self) -> None:
            self._blocks, self._at = x.blocks(), 0

        def next(self, input_data: Any) -> bool:
            block = next(self._blocks, None)
            if block is None:
                return False
            rows = slice(self._at, self._at + len(block))
            self._at = rows.stop
            weights = None if w is None else w[rows]
            input_data(data=matrix(block, missing=np.nan), label=y[rows], weight=weights, feature_types=types)
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
