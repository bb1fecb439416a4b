"""The stages of a tuned candidate, which its containers hold: rows to a matrix, the matrix to predictions, and labels.

The first stage is the same for all candidates of a data processing pipeline, the third for all of a job.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.engines.base import Model
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import FORMAT, MANIFEST, SECOND_VERSION, InputError, verified_manifest
from pilothouse.problems.tabular import voting
from pilothouse.problems.tabular.archive import Assembly, Member, column_types, digests, versions
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline
from pilothouse.problems.tabular.predictor import calibration_of, check_rows, load_member
from pilothouse.problems.tabular.verdict import Verdict
from pilothouse.problems.tabular.voting import Voter

FEATURES, ALGORITHM, LABELS = "tabular-features", "tabular-algorithm", "tabular-labels"


@dataclass(frozen=True)
class FeatureStage:
    """Turns rows of texts, in the order of `columns` (as in training, without the target), into a matrix."""

    columns: list[str]
    names: list[str]
    features: FeaturePipeline
    pipeline: DataPipeline

    @classmethod
    def load(cls, directory: Path) -> FeatureStage:
        """The stage in an unpacked archive; `ConfigurationError` if that is no such archive, or a file was changed."""
        manifest = verified_manifest(directory, FEATURES)
        features = FeaturePipeline.load(directory / "features")
        pipeline = DataPipeline.load(directory / "blocks")
        features.sparse &= pipeline.reads_sparse
        return cls(manifest["columns"], pipeline.names, features, pipeline)

    def transform(self, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float32]:
        """float32 [n, len(names)], NaN where a value is missing and the algorithm takes that; `InputError` for rows
        that have not one value for each of `columns`.
        """
        check_rows(rows, self.columns)
        return self.pipeline.transform(self.features.transform_rows(rows))


@dataclass(frozen=True)
class AlgorithmStage:
    """Predicts rows of `width` numbers. `threshold`: from which probability on a binary row is of class 1; else None.

    `classes_count` is 0 for regression.
    """

    problem_type: str
    classes_count: int
    width: int
    threshold: float | None
    members: list[Voter]
    calibration: Calibration | None = None

    @classmethod
    def load(cls, directory: Path) -> AlgorithmStage:
        """The stage in an unpacked archive; `ConfigurationError` if that is no such archive, or a file was changed."""
        manifest = verified_manifest(directory, ALGORITHM)
        members = voting.listed(manifest.get("members"))
        if any(member.get("inputs") for member in members):
            raise ConfigurationError("The model's manifest has members that feed others, which no such stage has.")
        zipped = zip(voting.shares(members), members, strict=True)
        return cls(
            manifest["problem_type"],
            manifest["classes_count"],
            manifest["width"],
            manifest["threshold"],
            [Voter(share, load_member(directory, member)) for share, member in zipped],
            calibration_of(manifest, manifest["classes_count"]),
        )

    def predict(self, matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """float64: values [n], or calibrated probabilities [n, classes] in class order.

        `InputError` for a matrix of another width.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            received = matrix.shape[1] if matrix.ndim == 2 else matrix.ndim
            raise InputError(
                "Received data of unknown size. "
                f"Expected number of columns is {self.width}. Number of columns in the received data is {received}."
            )
        voted = voting.vote(self.members, as_features(matrix))
        return voted if self.calibration is None else self.calibration(voted)


@dataclass(frozen=True)
class LabelStage:
    """The label texts in class order."""

    classes: list[str]

    @classmethod
    def load(cls, directory: Path) -> LabelStage:
        """The stage in an unpacked archive; `ConfigurationError` if that is no such archive, or a file was changed."""
        verified_manifest(directory, LABELS)
        return cls(json.loads((directory / "classes.json").read_text(encoding="utf-8")))


def as_features(matrix: npt.NDArray[Any], names: Sequence[str] | None = None) -> Features:
    """A matrix [n, d] as an engine reads it: numbers, and no categories."""
    numeric = np.asanyarray(matrix, dtype=np.float32)  # a map of a file stays one
    codes = np.empty((len(numeric), 0), np.int32)
    return Features(numeric, codes, list(names or map(str, range(numeric.shape[1]))), [], [])


def save_features(directory: Path, data: Dataset, pipeline: DataPipeline) -> Path:
    """Puts a `FeatureStage` at `directory`, whole or not at all."""
    partial = _begun(directory)
    shutil.copytree(data.directory / "pipeline", partial / "features")
    pipeline.save(partial / "blocks")
    facts = {
        "columns": data.columns,
        "column_types": column_types(data.facts),
        "names": pipeline.names,
        "description": pipeline.spec.describe(),
    }
    return _ended(partial, directory, FEATURES, facts)


def save_algorithm(
    directory: Path, models: Sequence[Model], engine: str, data: Dataset, reached: Verdict, objective: str
) -> Path:
    """Puts an `AlgorithmStage` of models that share the vote at `directory`; the features of `data` are the matrix."""
    assembly = Assembly(directory)
    for model in models:
        assembly.add(model, engine, 1.0 / len(models))
    facts = {
        "problem_type": data.problem_type,
        "classes_count": len(data.classes or []),
        "width": data.features.numeric.shape[1],
        "threshold": reached.threshold,
        "objective": objective,
        "metrics": reached.metrics,
        "libraries": versions([engine]),
    }
    if reached.calibration is not None:
        facts["calibration"] = reached.calibration.document()

    def describe(folder: Path, members: list[Member]) -> None:
        _write_manifest(folder, ALGORITHM, {**facts, "members": [member.document() for member in members]})

    return assembly.close(describe)


def save_labels(directory: Path, classes: Sequence[str]) -> Path:
    """Puts a `LabelStage` at `directory`, whole or not at all."""
    partial = _begun(directory)
    (partial / "classes.json").write_text(json.dumps(list(classes), ensure_ascii=False), encoding="utf-8")
    return _ended(partial, directory, LABELS, {})


def _begun(directory: Path) -> Path:
    partial = directory.with_name(f"{directory.name}.partial")
    for folder in (partial, directory):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _ended(partial: Path, directory: Path, problem: str, facts: dict[str, Any]) -> Path:
    _write_manifest(partial, problem, facts)
    partial.rename(directory)
    return directory


def _write_manifest(directory: Path, problem: str, facts: dict[str, Any]) -> None:
    manifest = {"format": FORMAT, "version": SECOND_VERSION, "problem": problem, **facts, "files": digests(directory)}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
