"""What an AutoML job does in processes of its own: prepare the data, train one candidate, combine candidates.

Each task is a function of (objects, directory, keyword arguments) to a JSON-able result; `training.task` starts it and
takes its result, or the reason why there is none.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.catalog.tabular_jobs import DEFAULT_VALIDATION_FRACTION, Channel, TabularJob
from pilothouse.contract import pack
from pilothouse.errors import DataError, S3Error, ValidationError
from pilothouse.objects import manifest, uri
from pilothouse.objects.base import Objects

if TYPE_CHECKING:
    from pilothouse.data.tables import Listed
    from pilothouse.problems.tabular.specification import FeatureSpecification


def prepare(
    objects: Objects, _directory: Path, *, request: dict[str, Any], min_rows: int, dataset: str
) -> dict[str, Any]:
    """Reads the job's data and writes the dataset folder `dataset`, whole or not at all. Gives its facts."""
    from pilothouse.data import tables
    from pilothouse.problems.tabular import read

    spec = TabularJob.of(request)
    reading = read.Reading(
        target=spec.target,
        problem_type=spec.problem_type,
        metric=spec.metric,
        weight=spec.weight,
        specification=_specification(objects, spec),
        validation_fraction=spec.validation_fraction or DEFAULT_VALIDATION_FRACTION,
        min_rows=min_rows,
    )
    channels = [_listed(objects, channel) for channel in (spec.training, spec.validation) if channel is not None]
    folder = Path(dataset)
    with tables.opened(objects, channels, folder.with_name(f"{folder.name}.spools")) as (training, *validation):
        return read.prepare(training, validation[0] if validation else None, reading, folder).facts


def train(
    objects: Objects,
    directory: Path,
    *,
    trial: dict[str, Any],
    dataset: str,
    model_uri: str,
    seconds: float | None,
    ends_at: float | None,
) -> dict[str, Any]:
    """Trains one candidate and uploads its archive to `model_uri`.

    It has `seconds`, and must have ended at `ends_at` (epoch seconds); None: no limit.
    """
    from pilothouse.problems.tabular import train as tabular
    from pilothouse.problems.tabular.dataset import Dataset

    limits = [limit for limit in (seconds, ends_at and ends_at - time.time()) if limit is not None]
    planned = tabular.Trial(**trial, deadline_seconds=min(limits, default=None))
    result = tabular.run(planned, Dataset.load(Path(dataset)), directory)
    _upload(objects, directory, model_uri)
    return result


def combine(
    objects: Objects,
    directory: Path,
    *,
    trials: list[str],
    dataset: str,
    metric: str,
    model_uri: str,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Weighs the finished trials in the folders `trials` into an ensemble and uploads its archive.

    With few `seconds` it looks for the weights in fewer ways; None: no limit.
    """
    from pilothouse.problems.tabular import ensemble

    result = ensemble.combine(directory, Path(dataset), [Path(trial) for trial in trials], metric, seconds)
    _upload(objects, directory, model_uri)
    return result


def _listed(objects: Objects, channel: Channel) -> Listed:
    from pilothouse.data.tables import Listed

    try:
        infos = manifest.expand(objects, channel.data_type, channel.uri)
    except ValidationError as error:
        raise DataError(error.message) from error
    return Listed(infos, channel.content_type, channel.gzip)


def _specification(objects: Objects, spec: TabularJob) -> FeatureSpecification:
    from pilothouse.problems.tabular.specification import FeatureSpecification

    if spec.feature_specification_uri is None:
        return FeatureSpecification()
    place = uri.parse(spec.feature_specification_uri)
    try:
        return FeatureSpecification.parse(objects.read(place.bucket, place.key))
    except S3Error as error:
        raise DataError(
            f"The feature specification {spec.feature_specification_uri} cannot be read: {error.message}"
        ) from error


def _upload(objects: Objects, directory: Path, model_uri: str) -> None:
    archive = directory / "model.tar.gz"
    pack.pack(directory / "model", archive)
    objects.upload(archive, model_uri)
    archive.unlink()
