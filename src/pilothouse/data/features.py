"""Features: what engines train on, numbers and category codes side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_NAMES = "features.json"


@dataclass(frozen=True)
class Features:
    """The feature values of n rows.

    `numeric` is float32 [n, p]; NaN is missing and nothing is infinite.
    `categorical` is int32 [n, q]; 0 is a level that is unseen, too rare, or missing; 1.. are the known levels.
    `cardinalities[j]` counts the levels of categorical column j including 0, so every code is below it.
    """

    numeric: npt.NDArray[np.float32]
    categorical: npt.NDArray[np.int32]
    numeric_names: list[str]
    categorical_names: list[str]
    cardinalities: list[int]

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
        )

    def save(self, directory: Path) -> None:
        """Write numeric.npy, categorical.npy and features.json into `directory`, which is made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "numeric.npy", self.numeric)
        np.save(directory / "categorical.npy", self.categorical)
        names = {
            "numeric": self.numeric_names,
            "categorical": self.categorical_names,
            "cardinalities": self.cardinalities,
        }
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
        )


def load_array(path: Path, mmap: bool = True) -> npt.NDArray[Any]:
    """The array in an .npy file, memory-mapped read-only unless it has no elements or `mmap` is off."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    return array
