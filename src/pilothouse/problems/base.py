"""A problem: a family of tasks with its own reading, planning, training and serving. Here: what serving asks of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from pilothouse.errors import ConfigurationError

FORMAT, VERSION = "pilothouse-model", 1
MANIFEST = "manifest.json"

_PREDICTORS = {"tabular": "pilothouse.problems.tabular.predictor:TabularPredictor"}


class InputError(ValueError):
    """The rows to predict are not what the model takes; the message is for whoever sent them."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of n rows.

    Classification: `labels` (texts as in the training data) and `probabilities` float64 [n, classes] in class order.
    Regression: `values` float64 [n]. What does not apply is None.
    """

    labels: list[str] | None = None
    values: npt.NDArray[np.float64] | None = None
    probabilities: npt.NDArray[np.float64] | None = None


class Predictor(Protocol):
    """A model ready to answer. Thread-safe."""

    columns: list[str]
    problem_type: str
    classes: list[str] | None

    def predict(self, rows: Sequence[Sequence[Any]]) -> Prediction:
        """Predict rows that hold one text for each of `columns`, in that order; `InputError` if they don't."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of an unpacked model archive; `ConfigurationError` if this release can't read such a model."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        kind = (manifest["format"], manifest["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{directory} holds no model of Pilothouse: its {MANIFEST} is missing or unreadable. "
            "Use the model.tar.gz of a candidate as it was written."
        ) from error
    if kind != (FORMAT, VERSION):
        raise ConfigurationError(
            f"The model has format {kind[0]!r} version {kind[1]!r}; this release reads {FORMAT!r} version {VERSION}. "
            "Use the release of Pilothouse that made it, or train it again."
        )
    return cast(dict[str, Any], manifest)


def load_predictor(directory: Path) -> Predictor:
    """The predictor for an unpacked model archive, whichever problem it solves."""
    problem = read_manifest(directory).get("problem")
    if problem not in _PREDICTORS:
        known = ", ".join(sorted(_PREDICTORS))
        raise ConfigurationError(f"The model is for the problem {problem!r}; this release serves {known}.")
    module, _, name = _PREDICTORS[problem].partition(":")
    return cast(Predictor, getattr(importlib.import_module(module), name).load(directory))
