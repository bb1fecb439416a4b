"""Who may load what: the front answers requests without machine learning or ciphers in its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "catboost",
    "cryptography",
    "joblib",
    "lightgbm",
    "matplotlib",
    "numpy",
    "optuna",
    "pandas",
    "polars",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "xgboost",
]
BACK = ["automl", "contract", "data", "engines", "hosting", "launch", "problems", "training", "tuning", "work"]


def loaded_by(module: str) -> set[str]:
    """The modules that a fresh interpreter holds after importing `module`."""
    program = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What the API brings with it."""
    return loaded_by("pilothouse.api.app")


@pytest.mark.parametrize("library", HEAVY)
def test_the_api_loads_nothing_that_few_requests_need(loaded: set[str], library: str) -> None:
    assert library not in loaded


@pytest.mark.parametrize("room", BACK)
def test_the_api_enters_no_room_of_the_back(loaded: set[str], room: str) -> None:
    assert not {name for name in loaded if f"{name}.".startswith(f"pilothouse.{room}.")}
