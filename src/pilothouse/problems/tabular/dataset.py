"""The data set that a job's trials share: features, targets and splits in one folder, memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import Features, load_array, write
from pilothouse.data.featurise import FeaturePipeline

FORMAT, VERSION = "pilothouse-dataset", 1
TRAIN, VALIDATION = 0, 1

_FACTS = "dataset.json"


@dataclass(frozen=True)
class Dataset:
    """A prepared data set of n rows; the arrays are read-only maps of files in `directory`.

    `y`: float64 values, or int64 class indices into `facts["classes"]`. `w`: float64 weights, None if all are equal.
    `groups`: int64, equal for rows that are copies of one another and belong on one side of a split; None if none are.
    `part`: int8, 0 for training and 1 for validation. `folds`: int8 fold of each training row, -1 in validation.
    `facts`: the content of dataset.json.
    """

    directory: Path
    facts: dict[str, Any]
    features: Features
    y: npt.NDArray[Any]
    w: npt.NDArray[np.float64] | None
    part: npt.NDArray[np.int8]
    folds: npt.NDArray[np.int8]
    groups: npt.NDArray[np.int64] | None = None

    @classmethod
    def load(cls, directory: Path) -> Dataset:
        """The data set that a finished `Draft` put at `directory`."""
        return cls(
            directory,
            json.loads((directory / _FACTS).read_text(encoding="utf-8")),
            Features.load(directory / "features"),
            load_array(directory / "y.npy"),
            load_array(directory / "w.npy") if (directory / "w.npy").exists() else None,
            load_array(directory / "part.npy"),
            load_array(directory / "folds.npy"),
            load_array(directory / "groups.npy") if (directory / "groups.npy").exists() else None,
        )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def problem_type(self) -> str:
        """BinaryClassification, MulticlassClassification or Regression."""
        return str(self.facts["problem_type"])

    @property
    def metric(self) -> str:
        """The objective, by its catalog name."""
        return str(self.facts["metric"])

    @property
    def classes(self) -> list[str] | None:
        """Label texts in the order of class indices; None for regression."""
        classes: list[str] | None = self.facts["classes"]
        return classes

    @property
    def columns(self) -> list[str]:
        """The input columns in the order of the training data, without target and weight."""
        columns: list[str] = self.facts["columns"]
        return columns

    @property
    def example(self) -> list[str]:
        """The texts of a training row, in the order of `columns`; all missing if the job's first release kept none."""
        return list(self.facts.get("example") or [""] * len(self.columns))

    def rows(self, part: int) -> npt.NDArray[Any]:
        """The numbers of the rows in `TRAIN` or `VALIDATION`."""
        return np.flatnonzero(self.part == part)

    def pipeline(self) -> FeaturePipeline:
        """The pipeline that made the features."""
        return FeaturePipeline.load(self.directory / "pipeline")


class Draft:
    """A data set that is being written beside `directory`, which has it once it is finished, in place of what is there.

    A process that is killed leaves all of it or none. What is not finished when its block ends is removed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._partial = directory.with_name(f"{directory.name}.partial")

    def __enter__(self) -> Draft:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def write_features(self, blocks: Iterable[Features]) -> Features:
        """The features, block after block, as they then are on disk."""
        write(self._partial / "features", blocks)
        return Features.load(self._partial / "features")

    def finish(self, facts: dict[str, Any], pipeline: FeaturePipeline, arrays: dict[str, npt.NDArray[Any]]) -> Dataset:
        """Put the data set in its place. `arrays` are y, part, folds and perhaps w and groups.

        Sizes and SHA-256 digests of all files are added to the facts.
        """
        pipeline.save(self._partial / "pipeline")
        for name, array in arrays.items():
            np.save(self._partial / f"{name}.npy", array)
        document = {"format": FORMAT, "version": VERSION, **facts, "files": _files(self._partial)}
        (self._partial / _FACTS).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        for path in (*self._partial.rglob("*"), self._partial):
            _sync(path)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._partial.rename(self._directory)
        _sync(self._directory.parent)
        return Dataset.load(self._directory)


def _files(directory: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
