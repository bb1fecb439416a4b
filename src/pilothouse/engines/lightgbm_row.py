"""LightGBM on single rows, by a way that its Python package leaves to C: some 3 instead of 50 microseconds."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.errors import ConfigurationError

_NORMAL, _FLOAT32 = 0, 0


class OneRow:
    """Predicts with the first `rounds` rounds of a booster, one row at a time. Thread-safe.

    The library keeps a predictor ready that reads and writes fixed places in memory.
    """

    def __init__(self, booster: Any, rounds: int, outputs: int) -> None:
        from lightgbm.basic import _LIB, _safe_call

        columns = booster.num_feature()
        self.rounds = rounds
        self._booster = booster  # the configuration below points into it
        self._lock = threading.Lock()
        self._row = np.zeros(columns, np.float32)
        self._outputs = int(booster.num_model_per_iteration())
        self._answer = np.zeros(max(outputs, self._outputs), np.float64)
        configuration = ctypes.c_void_p()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,
                ctypes.c_int(_NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(rounds),
                ctypes.c_int(_FLOAT32),
                ctypes.c_int32(columns),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(configuration),
            )
        )
        weakref.finalize(self, _LIB.LGBM_FastConfigFree, configuration)
        self._arguments = (
            configuration,
            self._row.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(ctypes.c_int64()),
            self._answer.ctypes.data_as(ctypes.c_void_p),
        )
        self._call, self._checked = _LIB.LGBM_BoosterPredictForMatSingleRowFast, _safe_call

    def predict(self, row: Array) -> Array:
        """The answer for a float32 row [1, columns]: [1], or [1, classes] where each has its trees."""
        if row.shape != (1, len(self._row)):
            raise ConfigurationError(
                f"The model takes {len(self._row)} features, but its archive's pipeline gives {row.shape[1]}. "
                "The archive is damaged or was not made by Pilothouse. Fetch it again."
            )
        with self._lock:
            self._row[:] = row[0]
            self._checked(self._call(*self._arguments))
            return self._answer[: self._outputs].copy().reshape((1, -1) if self._outputs > 1 else 1)
