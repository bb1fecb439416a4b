"""Features: what engines train on, numbers and category codes side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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

    def save(self, directory: Path) -> None:
        """Write numeric.npy, categorical.npy and features.json, and sparse_*.npy if there is a sparse part, into
        `directory`, which is made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "numeric.npy", self.numeric)
        np.save(directory / "categorical.npy", self.categorical)
        names = {
            "numeric": self.numeric_names,
            "categorical": self.categorical_names,
            "cardinalities": self.cardinalities,
            "terms": 0 if self.sparse is None else self.sparse.shape[1],
        }
        for part in _SPARSE if self.sparse is not None else ():
            np.save(directory / f"sparse_{part}.npy", getattr(self.sparse, part))
        (directory / _NAMES).write_text(json.dumps(names))

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


def joined(parts: Sequence[Features]) -> Features:
    """The rows of features of the same columns, one part after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    sparse = None
    if first.sparse is not None:
        from scipy.sparse import vstack

        sparse = vstack([part.sparse for part in parts], format="csr")
    numeric, categorical = np.vstack([p.numeric for p in parts]), np.vstack([p.categorical for p in parts])
    return replace(first, numeric=numeric, categorical=categorical, sparse=sparse)


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
