"""Many rows go through LightGBM's trees some at a time, and get what the library gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines.base import Task
from pilothouse.engines.lightgbm import LightGBMModel


@pytest.mark.parametrize(("kind", "classes"), [(REGRESSION, 0), (BINARY, 2), (MULTICLASS, 2), (MULTICLASS, 4)])
def test_many_rows_get_what_the_library_gives_them(kind: str, classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    numeric = random.normal(size=(600, 3)).astype(np.float32)
    codes = random.integers(0, 9, (600, 1), np.int32)
    x = Features(numeric, codes, list("abc"), ["d"], [9])
    signal = numeric[:, 0] * numeric[:, 1] + codes[:, 0] % 3
    y = np.digitize(signal, [0.5, 1.0, 2.0][: classes - 1]) if classes else signal.astype(np.float64)
    fitted = engines.engine("lightgbm").fit(x, y, None, Task(kind, classes, "any"), {}, rounds=50)
    fitted.save(tmp_path)
    for model in (fitted, engines.load(tmp_path, "lightgbm")):
        assert isinstance(model, LightGBMModel)
        for rounds in (None, 1, 33, 500):
            known = [model.predict(x.take(slice(at, at + 100)), rounds) for at in range(0, 600, 100)]
            np.testing.assert_allclose(model.predict(x, rounds), np.concatenate(known), rtol=1e-11, atol=1e-14)
