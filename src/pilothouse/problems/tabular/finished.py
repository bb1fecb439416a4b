"""What a finished trial has left in its folder, for the ensemble and the second layer to use."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import load_array
from pilothouse.problems.tabular.calibration import Calibration

Array = npt.NDArray[Any]

RESULT = "result.json"


@dataclass(frozen=True)
class Finished:
    """A finished trial: its folder, its engine, and its predictions for the training and the validation rows.

    The predictions are the models' own, before any calibration, unless `calibrated` has made others of them; `applied`
    is the map that did. They are mapped from the files that were saved: values float64, probabilities float32.
    Trials on the same k folds have the same `folds`.
    `familiar`, for data with copies of rows: the training rows as later rows like them will be met, those that have
    copies predicted by a model that saw one. In the second layer that model meets it with what
    its feeders, too, predict of a row they know. No metric is computed on it.
    `inputs` are the folders of the trials that feed it, if it is of the second layer. `latency` is one row's, in
    seconds.
    """

    directory: Path
    name: str
    algorithm: str
    oof: Array
    validation: Array
    folds: str = ""
    k: int = 0
    inputs: list[Path] = field(default_factory=list)
    latency: float = 0.0
    familiar: Array | None = None
    calibration: Calibration | None = None
    applied: Calibration | None = None

    @classmethod
    def load(cls, directory: Path) -> Finished:
        """The trial that `train.run` has finished in `directory`."""
        result = json.loads((directory / RESULT).read_text())
        return cls(
            directory,
            result["name"],
            result["algorithm"],
            predictions(directory, "oof"),
            predictions(directory, "validation"),
            result.get("folds_digest", ""),
            int(result.get("folds", 0)),
            [Path(path) for path in result.get("inputs", [])],
            float(result.get("latency", 0.0)),
            predictions(directory, "familiar") if (directory / "familiar.npy").exists() else None,
            _calibration(result.get("calibration")),
        )

    @property
    def expected(self) -> Array:
        """The training rows' predictions to choose weights by."""
        return self.oof if self.familiar is None else self.familiar

    def calibrated(self) -> Finished:
        """The trial with calibrated predictions; itself if its verdict has found no calibration.

        The training rows' are those that the verdict judged; where they have copies, all are mapped by the one map.
        """
        if self.calibration is None:
            return self
        return replace(
            self,
            oof=predictions(self.directory, "calibrated"),
            validation=_mapped(self.calibration, self.validation),
            familiar=None if self.familiar is None else _mapped(self.calibration, self.familiar),
            applied=self.calibration,
        )

    @property
    def layer(self) -> int:
        """1, or 2 if other trials feed it."""
        return 2 if self.inputs else 1


def save_predictions(
    directory: Path, oof: Array, validation: Array, familiar: Array | None = None, calibrated: Array | None = None
) -> None:
    """oof.npy, validation.npy and perhaps familiar.npy and calibrated.npy (the out-of-fold predictions as they were
    judged): values as float64, probabilities as float32.
    """
    parts = {"oof": oof, "validation": validation, "familiar": familiar, "calibrated": calibrated}
    for name, prediction in parts.items():
        if prediction is None:
            (directory / f"{name}.npy").unlink(missing_ok=True)
            continue
        np.save(directory / f"{name}.npy", prediction if prediction.ndim == 1 else prediction.astype(np.float32))


def predictions(directory: Path, part: str) -> Array:
    """A read-only map of what `save_predictions` wrote for `part`: the name of its file."""
    return load_array(directory / f"{part}.npy")


def _mapped(calibration: Calibration, probabilities: Array) -> Array:
    return calibration(probabilities.astype(np.float64)).astype(np.float32)


def _calibration(document: dict[str, Any] | None) -> Calibration | None:
    return None if document is None else Calibration(float(document["scale"]), [float(b) for b in document["bias"]])
