"""XGBoost in place on single rows, with what never changes made once: some 70 instead of 250 microseconds."""

from __future__ import annotations

import ctypes
import json
import threading
from typing import Any

import numpy as np

from pilothouse.engines.base import Array


class OneRow:
    """Predicts with the first `rounds` rounds of a booster, one row of `columns` values at a time. Thread-safe."""

    def __init__(self, booster: Any, rounds: int, columns: int) -> None:
        from xgboost.core import _LIB, _check_call

        self._booster = booster
        self._lock = threading.Lock()
        self._row = np.zeros((1, columns), np.float32)
        self._shape, self._dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        self._answer = ctypes.POINTER(ctypes.c_float)()
        self._arguments = (
            booster.handle,
            json.dumps(_interface(self._row)).encode(),
            json.dumps(_settings(rounds)).encode(),
            ctypes.c_void_p(),
            ctypes.byref(self._shape),
            ctypes.byref(self._dimensions),
            ctypes.byref(self._answer),
        )
        self._call, self._checked = _LIB.XGBoosterPredictFromDense, _check_call

    def predict(self, row: Array) -> Array:
        """The answer for a float32 row [1, columns]: [1], or [1, classes] where there are more than two."""
        with self._lock:
            self._row[:] = row
            self._checked(self._call(*self._arguments))
            shape = self._shape[: self._dimensions.value]
            return np.array(self._answer[: int(np.prod(shape))], np.float32).reshape(shape)


def _interface(row: Array) -> dict[str, Any]:
    """Where the library finds the row, by NumPy's array interface."""
    place = row.__array_interface__
    return {"data": place["data"], "strides": None, "typestr": "<f4", "shape": row.shape, "version": 3}


def _settings(rounds: int) -> dict[str, Any]:
    return {
        "type": 0,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": rounds,
        "missing": float("nan"),
        "strict_shape": False,
        "cache_id": 0,
    }
