"""What a tuning job's create request must satisfy: the rules on the search, and those on its training jobs."""

from __future__ import annotations

from pilothouse.catalog import (
    built_in_training,
    training_images,
    training_jobs,
    tuning_rules,
    tuning_trials,
    warm_start_rules,
)
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.catalog.tuning_jobs import Definition, Document, TuningJob
from pilothouse.catalog.tuning_ranges import CategoricalRange, Range
from pilothouse.catalog.warm_start_rules import Parent
from pilothouse.errors import ValidationError
from pilothouse.operations import training_rules
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource

_RESOURCES = ("ResourceConfig", "HyperParameterTuningResourceConfig")


def check(context: Context, request: Document) -> None:
    """Raises ValidationError for the first rule that the request breaks; reads listings, never whole objects."""
    job = tuning_rules.check(request)
    for definition in job.definitions:
        _definition(context, job, definition)
    if job.warm_start is not None:
        warm_start_rules.check(job, [_parent(context, name) for name in job.warm_start.parents])


def _definition(context: Context, job: TuningJob, definition: Definition) -> None:
    if sum(member in definition.document for member in _RESOURCES) != 1:
        raise ValidationError(
            f"Exactly one of {' and '.join(_RESOURCES)} must be specified for each training job definition."
        )
    sample = {each.name: _sample(each) for each in definition.ranges}
    request = tuning_trials.training_request(job, definition, job.name, sample)
    training_rules.check(context, request)
    _objective(TrainingJob.of(request), definition)


def _objective(training: TrainingJob, definition: Definition) -> None:
    """The rule of an objective that no MetricDefinition names: it must be one of the algorithm's own metrics."""
    metric = definition.objective.metric if definition.objective else ""
    if training.metrics:
        return  # held against the objective by the rules on the search
    own = [name for name, _ in built_in_training.metric_definitions(training_images.mode(training))]
    if not own:
        raise ValidationError(
            f"The objective metric '{metric}' needs a MetricDefinition in AlgorithmSpecification: a Name and a Regex "
            "that finds its value in the log of the training job."
        )
    if metric not in own:
        raise ValidationError(
            f"The objective metric '{metric}' is not one of the metrics that the built-in algorithm emits: "
            f"{', '.join(own)}."
        )


def _sample(each: Range) -> str:
    return each.values[0] if isinstance(each, CategoricalRange) else each.text(each.low)


def _parent(context: Context, name: str) -> Parent:
    row: Resource | None = context.store.get(tuning_trials.KIND, name)
    if row is None:
        raise ValidationError(f"The parent tuning job '{name}' does not exist. Correct its name, or leave it out.")
    launched = context.store.count(training_jobs.KIND, parent=(row.kind, row.name))
    return Parent(TuningJob.of(row.request), row.status, launched)
