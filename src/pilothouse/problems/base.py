"""A problem: a family of tasks with its own reading, planning, training and serving. Here: what serving asks of it."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from pilothouse.errors import ConfigurationError

FORMAT, VERSION, SECOND_VERSION, FIRST_VERSION = "pilothouse-model", 3, 2, 1
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
    if kind not in [(FORMAT, version) for version in range(FIRST_VERSION, VERSION + 1)]:
        raise ConfigurationError(
            f"The model has format {kind[0]!r} version {kind[1]!r}; "
            f"this release reads {FORMAT!r} version {FIRST_VERSION} to {VERSION}. "
            "Use the release of Pilothouse that made it, or train it again."
        )
    return cast(dict[str, Any], manifest)


def load_predictor(directory: Path) -> Predictor:
    """The predictor for an unpacked model archive, whichever problem it solves.

    `ConfigurationError` if this release can't serve it, or if a file is not the one that the manifest describes.
    """
    problem = verified_manifest(directory, *_PREDICTORS)["problem"]
    module, _, name = _PREDICTORS[problem].partition(":")
    return cast(Predictor, getattr(importlib.import_module(module), name).load(directory))


def verified_manifest(directory: Path, *problems: str) -> dict[str, Any]:
    """The manifest of an unpacked archive for one of `problems`, all of whose files are those that it describes.

    `ConfigurationError` otherwise.
    """
    manifest = read_manifest(directory)
    if manifest.get("problem") not in problems:
        known = ", ".join(sorted(problems))
        raise ConfigurationError(f"The model is for the problem {manifest.get('problem')!r}; here is served {known}.")
    _check_files(directory, manifest.get("files"))
    return manifest


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(directory: Path, files: Any) -> None:
    if not isinstance(files, dict) or not files:
        raise ConfigurationError("The model's manifest lists no files. Use the model.tar.gz of a candidate as written.")
    for name, expected in files.items():
        path = inside(directory, str(name))
        if not path.is_file() or digest(path) != expected:
            raise ConfigurationError(
                f"The model's file {name!r} is missing or was changed after it was written. Fetch the archive again."
            )


def inside(directory: Path, path: str) -> Path:
    """The place that a manifest, which may be anybody's, names; `ConfigurationError` unless it is in the archive."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ConfigurationError(f"The model's manifest names {path!r}, which is outside of its archive.")
    return directory / path
