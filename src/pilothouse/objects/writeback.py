"""Having the kernel begin to bring a file's bytes to the disk, so that the `fsync` at its end finds little left."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_WRITE = 2
"""SYNC_FILE_RANGE_WRITE of Linux: begin, wait for nothing. It promises nothing, and drops nothing from the cache."""


def _found() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, TypeError, AttributeError):  # another system's library
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


_sync_file_range = _found()


def begin(descriptor: int, start: int) -> None:
    """Begin with what lies from `start` to the file's end. A file or a system that can't does without."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, start, 0, _WRITE)
