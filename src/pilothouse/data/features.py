"""Features: what engines train on, numbers and category codes side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.growing import GrowingArray

_NAMES = "features.json"
_SPARSE = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Features:
    """The feature values of n rows.

    `numeric` is float32 [n, p]; NaN is missing and nothing is infinite.
    `categorical` is int32 [n, q]; 0 is a level that is unseen, too rare, or missing; 1.. are the known levels.
    `sparse` is a float32 CSR matrix [n, t] of n-gram weights, for engines that like many columns; None without text.
    `cardinalities[j]` counts the levels of categorical column j including 0, so every code is below it.
    """

    numeric: npt.NDArray[np.float32]
    categorical: npt.NDArray[np.int32]
    numeric_names: list[str]
    categorical_names: list[str]
    cardinalities: list[int]
    sparse: Any = None

    def __len__(self) -> int:
        return int(self.numeric.shape[0])

    def take(self, rows: npt.NDArray[Any] | slice) -> Features:
        """The rows that an index array, a boolean mask or a slice selects, in that order."""
        return Features(
            np.ascontiguousarray(self.numeric[rows]),
            np.ascontiguousarray(self.categorical[rows]),
            self.numeric_names,
            self.categorical_names,
            self.cardinalities,
            None if self.sparse is None else self.sparse[rows],
        )

    @property
    def columns(self) -> int:
        """How many numeric and categorical columns there are."""
        return len(self.numeric_names) + len(self.categorical_names)

    def codes(self, column: int) -> npt.NDArray[np.int32]:
        """int32 [n]: one categorical column."""
        return self.categorical[:, column]

    def whole(self) -> Features:
        """These features with their arrays in memory, as they are but for a `Selection`."""
        return self

    def save(self, directory: Path) -> None:
        """Write numeric.npy, categorical.npy and features.json, and sparse_*.npy if there is a sparse part, into
        `directory`, which is made if need be."""
        write(directory, [self])

    @classmethod
    def load(cls, directory: Path, mmap: bool = True) -> Features:
        """What `save` wrote; with `mmap` the arrays are read-only maps, shared between processes."""
        names = json.loads((directory / _NAMES).read_text())
        return cls(
            load_array(directory / "numeric.npy", mmap),
            load_array(directory / "categorical.npy", mmap),
            names["numeric"],
            names["categorical"],
            names["cardinalities"],
            _load_sparse(directory, names.get("terms", 0), mmap),
        )


def write(directory: Path, blocks: Iterable[Features]) -> int:
    """Write features of the same columns, one block after the other, as `Features.save` does; the rows written."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_files:
        numeric, categorical, *sparse = (
            open_files.enter_context(GrowingArray(directory / f"{name}.npy"))
            for name in ("numeric", "categorical", "sparse_data", "sparse_indices")
        )
        starts = [np.zeros(1, np.int64)]
        for block in blocks:
            numeric.append(block.numeric)
            categorical.append(block.categorical)
            if block.sparse is not None:
                sparse[0].append(block.sparse.data)
                sparse[1].append(block.sparse.indices)
                starts.append(starts[-1][-1] + block.sparse.indptr[1:])
    if block.sparse is None:
        for part in sparse:
            part.path.unlink()
    else:
        places = np.concatenate(starts)
        narrow = places[-1] <= np.iinfo(block.sparse.indptr.dtype).max
        np.save(directory / "sparse_indptr.npy", places.astype(block.sparse.indptr.dtype) if narrow else places)
    names = {
        "numeric": block.numeric_names,
        "categorical": block.categorical_names,
        "cardinalities": block.cardinalities,
        "terms": 0 if block.sparse is None else block.sparse.shape[1],
    }
    (directory / _NAMES).write_text(json.dumps(names))
    return len(numeric)


def _load_sparse(directory: Path, terms: int, mmap: bool) -> Any:
    if not terms:
        return None
    from scipy.sparse import csr_matrix

    data, indices, indptr = (load_array(directory / f"sparse_{part}.npy", mmap) for part in _SPARSE)
    return csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, terms), copy=False)


def load_array(path: Path, mmap: bool = True) -> npt.NDArray[Any]:
    """The array in an .npy file, memory-mapped read-only unless it has no elements or `mmap` is off."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    return array
