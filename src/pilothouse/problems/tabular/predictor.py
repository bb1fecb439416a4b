"""The tabular predictor: a feature pipeline and the members whose votes are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.engines.base import Model
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import InputError, Prediction, inside, read_manifest
from pilothouse.problems.evaluate import labels

BATCH_ROWS = 16_384
"""Rows that are featurised and predicted at a time, which bounds memory."""

_LARGEST_WEIGHT = 1e100


@dataclass(frozen=True)
class TabularPredictor:
    """Answers rows of texts in the order of `columns` (the training columns without target and weight).

    A binary row is positive (class 1) when its probability is at least `threshold`; in multiclass the most probable
    class wins.
    """

    columns: list[str]
    problem_type: str
    classes: list[str] | None
    threshold: float | None
    pipeline: FeaturePipeline
    members: list[tuple[float, Model]]

    @classmethod
    def load(cls, directory: Path) -> TabularPredictor:
        """The predictor for an unpacked model archive."""
        manifest = read_manifest(directory)
        members = manifest["members"]
        shares = _shares(members)
        return cls(
            manifest["columns"],
            manifest["problem_type"],
            manifest["classes"],
            manifest["threshold"],
            FeaturePipeline.load(directory / "pipeline"),
            [(share, _load(directory, member)) for share, member in zip(shares, members, strict=True)],
        )

    def predict(self, rows: Sequence[Sequence[Any]]) -> Prediction:
        """Predict rows; `InputError` if there are none, or one has not as many values as there are columns."""
        if not rows:
            raise InputError("Received no rows. Send at least one row of values, without header and target.")
        for row in rows:
            if len(row) != len(self.columns):
                raise InputError(
                    "Received data of unknown size. "
                    f"Expected number of columns is {len(self.columns)}. "
                    f"Number of columns in the received data is {len(row)}."
                )
        batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
        return self._answer(np.concatenate([self.vote(self.pipeline.transform_rows(batch)) for batch in batches]))

    def vote(self, features: Features) -> npt.NDArray[np.float64]:
        """The weighted mean of the members' predictions: values [n], or probabilities [n, classes]."""
        return np.asarray(sum(weight * model.predict(features) for weight, model in self.members), np.float64)

    def _answer(self, voted: npt.NDArray[np.float64]) -> Prediction:
        if self.problem_type == REGRESSION or self.classes is None:
            return Prediction(values=voted)
        texts = self.classes
        return Prediction(labels=[texts[i] for i in labels(voted, self.threshold).tolist()], probabilities=voted)


def _shares(members: list[dict[str, Any]]) -> list[float]:
    """The members' weights, scaled to sum to 1; `ConfigurationError` unless they are numbers that can be."""
    weights = [member.get("weight") for member in members]
    valid = [float(weight) for weight in weights if isinstance(weight, int | float) and 0 <= weight <= _LARGEST_WEIGHT]
    total = sum(valid)
    if len(valid) < len(weights) or not total:
        raise ConfigurationError(
            f"The model's manifest gives its members the weights {weights}. "
            "They must be numbers that are not negative, and not all 0."
        )
    return [weight / total for weight in valid]


def _load(directory: Path, member: dict[str, Any]) -> Model:
    path, engine = inside(directory, member["path"]), member["engine"]
    if engine not in engines.ENGINES:
        raise ConfigurationError(
            f"The model's manifest names the engine {engine!r}; this release has {', '.join(engines.ENGINES)}."
        )
    return engines.load(path, engine)
