"""A predictor in parts, as a tuned candidate has it: its stages, and all of them as one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import REGRESSION
from pilothouse.catalog.pipelines import ALGORITHM, FEATURES, LABELS, PREDICTOR
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import MANIFEST, Prediction, load_predictor, read_manifest
from pilothouse.problems.evaluate import labels

_STAGES = {
    "tabular-features": (FEATURES, "pilothouse.problems.tabular.stages:FeatureStage"),
    "tabular-algorithm": (ALGORITHM, "pilothouse.problems.tabular.stages:AlgorithmStage"),
    "tabular-labels": (LABELS, "pilothouse.problems.tabular.stages:LabelStage"),
}
"""By the problem in an archive's manifest, its role in a model, and what loads it."""


class Features(Protocol):
    """Rows to numbers, which have `names`. Thread-safe."""

    columns: list[str]
    names: list[str]

    def transform(self, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float32]:
        """Float32 [n, names] for rows that hold one text for each of `columns`; `InputError` if they don't."""


class Algorithm(Protocol):
    """Rows of `width` numbers to predictions of `classes_count` classes, 0 for regression. Thread-safe.

    A binary row is of class 1 when its probability is at least `threshold`.
    """

    problem_type: str
    classes_count: int
    width: int
    threshold: float | None

    def predict(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Values float64 [n], or probabilities [n, classes], for float32 [n, width]; `InputError` for others."""


class Labels(Protocol):
    """The labels of the data, by their class numbers."""

    classes: list[str]


class StagedPredictor:
    """A `Predictor` that goes through its stages; without `labels` for regression."""

    def __init__(self, features: Features, algorithm: Algorithm, labels: Labels | None) -> None:
        self.columns = features.columns
        self.problem_type = algorithm.problem_type
        self.classes = None if labels is None else labels.classes
        self._features, self._algorithm = features, algorithm

    def predict(self, rows: Sequence[Sequence[Any]]) -> Prediction:
        """Predict rows; `InputError` if they don't hold one text for each of `columns`."""
        predicted = self._algorithm.predict(self._features.transform(rows))
        if self.classes is None:
            return Prediction(values=predicted)
        numbers = labels(predicted, self._algorithm.threshold)
        return Prediction(labels=[self.classes[number] for number in numbers.tolist()], probabilities=predicted)


def load(directory: Path) -> tuple[str, Any]:
    """The role that an unpacked archive has in a model, and the `Predictor` or the stage that plays it.

    `ConfigurationError` if this release can't serve it, or if a file is not the one that the manifest describes.
    """
    problem = read_manifest(directory).get("problem")
    if problem not in _STAGES:
        return PREDICTOR, load_predictor(directory)
    role, target = _STAGES[problem]
    module, _, name = target.partition(":")
    return role, getattr(importlib.import_module(module), name).load(directory)


def is_staged(directory: Path) -> bool:
    """Whether there are unpacked archives in folders below `directory`."""
    return next(directory.glob(f"*/{MANIFEST}"), None) is not None


def load_staged(directory: Path) -> StagedPredictor:
    """The predictor whose stages are in the folders below `directory`, whatever they are called.

    `ConfigurationError` if a stage is missing, is there twice, or is of another model.
    """
    loaded = [load(path.parent) for path in sorted(directory.glob(f"*/{MANIFEST}"))]
    stages = dict(loaded)
    regression = ALGORITHM in stages and stages[ALGORITHM].problem_type == REGRESSION
    wanted = {FEATURES, ALGORITHM} | (set() if regression else {LABELS})
    if sorted(role for role, _ in loaded) != sorted(wanted):
        found, needed = (", ".join(sorted(roles)) for roles in ([role for role, _ in loaded], wanted))
        raise ConfigurationError(f"{directory} holds the archives {found}. A model in parts is one each of {needed}.")
    features, algorithm, texts = stages[FEATURES], stages[ALGORITHM], stages.get(LABELS)
    check_width(features, algorithm)
    check_classes(algorithm, texts)
    return StagedPredictor(features, algorithm, texts)


def check_width(features: Features, algorithm: Algorithm) -> None:
    """`ConfigurationError` if `algorithm` was not trained on what `features` makes."""
    if len(features.names) != algorithm.width:
        raise ConfigurationError(
            f"There are {len(features.names)} features, and the algorithm takes {algorithm.width}. "
            "They are of different models."
        )


def check_classes(algorithm: Algorithm, labels: Labels | None) -> None:
    """`ConfigurationError` if `labels` are not for what `algorithm` predicts."""
    if labels is not None and algorithm.classes_count != len(labels.classes):
        raise ConfigurationError(
            f"The algorithm predicts {algorithm.classes_count or 'no'} classes, and there are labels for "
            f"{len(labels.classes)}. They are of different models."
        )
