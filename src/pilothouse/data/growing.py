"""An .npy file that is written a block at a time, its number of rows known only in the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_ROOM = 128
"""Bytes of a header: NumPy pads the first size, so that it may grow."""


class GrowingArray:
    """Appends arrays of one type, and one shape but for the first size, to the file at `path`.

    The file is what `np.save` makes of all of them together; it is whole once the block that opened it ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = 0
        self._first: npt.NDArray[Any] | None = None
        self._file: BinaryIO

    def __enter__(self) -> GrowingArray:
        self._file = self.path.open("wb")
        self._file.seek(_ROOM)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_header()
        self._file.close()

    def __len__(self) -> int:
        return self._rows

    def append(self, array: npt.NDArray[Any]) -> None:
        """Write the rows of `array` behind those that are there."""
        self._first = array[:0] if self._first is None else self._first
        self._rows += len(array)
        self._file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")

    def _write_header(self) -> None:
        if self._first is None:
            return
        self._file.seek(0)
        described = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(self._first))
        np.lib.format.write_array_header_1_0(self._file, described | {"shape": (self._rows, *self._first.shape[1:])})
        if self._file.tell() != _ROOM:
            raise ValueError(f"NumPy's header for {self.path.name} takes {self._file.tell()} bytes, not {_ROOM}")
