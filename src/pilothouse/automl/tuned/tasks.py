"""What a tuned job does in processes of its own: fit a pipeline, make its matrix, train a candidate on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.contract import pack
from pilothouse.objects.base import Objects

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STAGE, MATRIX_FILE = "model", "matrix.npy"
"""The `FeatureStage` in the folder of a fit, and the matrix in that of a transform."""


def fit(objects: Objects, directory: Path, *, pipeline: dict[str, Any], dataset: str, model_uri: str) -> dict[str, Any]:
    """Fits a pipeline to the training rows, or some of very many, and uploads its stage.

    Effects are learnt from the rows that candidates learn from too where one split judges them.
    """
    from pilothouse.data import sample
    from pilothouse.data.selection import is_large
    from pilothouse.problems.tabular import stages
    from pilothouse.problems.tabular.dataset import TRAIN, Dataset
    from pilothouse.problems.tabular.held_out import learning
    from pilothouse.problems.tabular.pipelines.effects import Lessons
    from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec

    begun, data, spec = time.monotonic(), Dataset.load(Path(dataset)), PipelineSpec(**pipeline)
    rows, seed = data.rows(TRAIN), int(data.facts["seed"])
    if is_large(len(rows), data.features.columns):
        rows = sample.drawn(data.y, rows, seed, sample.LEARNT_ROWS)
    lessons = Lessons.of(data, learning(data, rows)) if spec.effects else None
    fitted = DataPipeline.fit(spec, data.features.take(rows), seed, lessons)
    stages.save_features(directory / STAGE, data, fitted)
    upload(objects, directory / STAGE, directory, model_uri)
    return {"columns": len(fitted.names), "seconds": time.monotonic() - begun}


def transform(objects: Objects, directory: Path, *, stage: str, dataset: str, output: str) -> dict[str, Any]:
    """Makes the matrix of all rows with a fitted pipeline, and uploads its training and its validation rows."""
    from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
    from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline

    begun, data = time.monotonic(), Dataset.load(Path(dataset))
    pipeline = DataPipeline.load(Path(stage) / "blocks")
    partial = directory / f"{MATRIX_FILE}.partial"
    pipeline.write(data.features, partial)
    partial.rename(directory / MATRIX_FILE)
    for part, name in ((TRAIN, "train"), (VALIDATION, "validation")):
        _upload_rows(objects, directory, data.rows(part), f"{output}/{name}/matrix.npy")
    return {"columns": len(pipeline.names), "seconds": time.monotonic() - begun}


def train(
    objects: Objects,
    directory: Path,
    *,
    trial: dict[str, Any],
    dataset: str,
    matrix: str,
    stage: str,
    model_uri: str,
    step: int | None,
    seconds: float | None,
    ends_at: float | None,
) -> dict[str, Any]:
    """Trains one candidate on a pipeline's matrix and uploads its archive to `model_uri`.

    It has `seconds`, and must have ended at `ends_at` (epoch seconds); None: no limit. `step`: see `tuned.run`.
    """
    from pilothouse.problems.tabular import tuned
    from pilothouse.problems.tabular.dataset import Dataset
    from pilothouse.problems.tabular.trial import Trial

    limits = [limit for limit in (seconds, ends_at and ends_at - time.time()) if limit is not None]
    planned = Trial(**trial, deadline_seconds=min(limits, default=None))
    data = tuned.on_matrix(Dataset.load(Path(dataset)), Path(matrix))
    result = tuned.run(planned, data, directory, Path(stage), step)
    upload(objects, directory / "model", directory, model_uri)
    return result


def upload(objects: Objects, content: Path, scratch: Path, uri: str) -> None:
    """Packs a folder and uploads it."""
    archive = scratch / "model.tar.gz"
    pack.pack(content, archive)
    objects.upload(archive, uri)
    archive.unlink()


def _upload_rows(objects: Objects, directory: Path, rows: npt.NDArray[np.intp], uri: str) -> None:
    from pilothouse.data.features import load_array
    from pilothouse.data.growing import GrowingArray
    from pilothouse.data.selection import Selection
    from pilothouse.problems.tabular.stages import as_features

    path = directory / "part.npy"
    with GrowingArray(path) as out:
        for block in Selection(as_features(load_array(directory / MATRIX_FILE)), rows).blocks():
            out.append(block.numeric)
    objects.upload(path, uri)
    path.unlink()
