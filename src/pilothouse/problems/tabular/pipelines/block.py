"""What a pipeline is made of: blocks, each of which makes some columns of the matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pilothouse.problems.base import inside

if TYPE_CHECKING:
    from pilothouse.data.features import Features

Array = npt.NDArray[Any]
State = tuple[dict[str, Any], dict[str, Array]]
"""JSON and arrays."""


class Block(Protocol):
    """Learnt from the features of training rows, and, but for `Effects`, not from the target. A row's columns depend on
    that row alone.
    """

    kind: ClassVar[str]

    @property
    def names(self) -> list[str]:
        """The columns that it makes."""

    def transform(self, x: Features) -> Array:
        """float32 [n, len(names)]; NaN where a value is missing and the block leaves that to the algorithm."""

    def state(self) -> State:
        """JSON and arrays from which the class's `restore` makes the block again."""


def save_arrays(directory: Path, prefix: str, arrays: dict[str, Array]) -> None:
    """One .npy file for each array."""
    for name, array in arrays.items():
        np.save(directory / f"{prefix}.{name}.npy", np.ascontiguousarray(array))


def load_arrays(directory: Path, prefix: str, names: list[str]) -> dict[str, Array]:
    """What `save_arrays` wrote."""
    paths = {name: inside(directory, f"{prefix}.{name}.npy") for name in names}
    return {name: np.load(path, allow_pickle=False) for name, path in paths.items()}
