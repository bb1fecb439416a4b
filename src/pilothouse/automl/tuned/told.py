"""What the logs of a tuned candidate's training jobs tell: what was trained, how it went, what its process printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec
from pilothouse.training import task
from pilothouse.training.task import Outcome


def of_trial(
    hyperparameters: Mapping[str, str], step: int | None, losses: Sequence[float], outcome: Outcome, directory: Path
) -> Iterator[str]:
    """Of a trial with these hyperparameters, whose process in `directory` reported `losses` each `step` rounds."""
    yield from (f"{name}={value}" for name, value in sorted(hyperparameters.items()))
    yield from (f"[{number * (step or 1)}] loss={loss:.6g}" for number, loss in enumerate(losses, start=1))
    yield from _end(outcome, directory)


def of_pipeline(spec: PipelineSpec, outcome: Outcome, directory: Path) -> Iterator[str]:
    """Of the fit of a pipeline, whose process ran in `directory`."""
    yield f"{spec.name}: {spec.describe()}"
    yield from _end(outcome, directory)


def _end(outcome: Outcome, directory: Path) -> Iterator[str]:
    yield from task.printed(directory)
    result = outcome.result
    if result is None:
        yield outcome.reason
        return
    if "fold_rounds" in result:
        yield f"rounds of each fold: {result['fold_rounds']}, of the model that ships: {result['rounds']}"
    if "columns" in result:
        yield f"columns={result['columns']}"
    for part, values in result.get("metrics", {}).items():
        yield from (f"{part.lower()}:{name}={value:.6g}" for name, value in values.items())
